"""Files that are not read, called by their name, with what to do instead: .npy of motion data sets, .fbx.

A bare array has no names, and the same shape means different things in different sets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dinar_live.runtime.core.errors import MotionError

_CALL = "np.savez(out, poses=..., trans=..., fps=...) makes an .npz that is read"
_FEATURES = {263: "HumanML3D", 251: "KIT-ML"}


def named_npy(path) -> MotionError:
    """The error for a .npy file, which says what the shape in its header belongs to. Nothing but the header is
    read."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = header(file)
    except OSError as e:
        return MotionError(f"{path}: cannot be read ({e.strerror or e})")
    except Exception as e:  # numpy's parser of headers raises what it likes
        return MotionError(f"{path}: no readable .npy file ({type(e).__name__})")
    return MotionError(f"{path}: a .npy array of {dtype}{list(shape)}: {_told(shape, dtype)}")


def fbx(path) -> MotionError:
    """The error for an .fbx file, with the way round."""
    return MotionError(
        f"{path}: FBX is not read (docs/motion.md says why); export it as glTF (.glb) or BVH, in Blender by "
        "File > Import > FBX, then File > Export > glTF 2.0 with animation"
    )


def _told(shape: tuple[int, ...], dtype: np.dtype) -> str:
    last = shape[-1] if shape else 0
    if dtype.hasobject:
        return (
            "it holds Python objects (a pickle in a .npy), which are not read; save its arrays with np.savez"
        )
    if len(shape) == 2 and last == 322:
        return (
            "Motion-X's SMPL-X clips have 322 columns: root 3, body 63, hands 90, jaw 3, face 150, place 3, "
            "shape 10, at 30 fps. Not read as it is: np.savez(out, root_orient=a[:, :3], pose_body=a[:, 3:66], "
            "pose_hand=a[:, 66:156], pose_jaw=a[:, 156:159], trans=a[:, 309:312], fps=30)"
        )
    if len(shape) == 2 and last in _FEATURES:
        return (
            f"{_FEATURES[last]}'s features have {last} columns. They hold no complete rotations of an SMPL body; "
            "take the AMASS clip that it was made from, or fit SMPL to its joint positions"
        )
    if len(shape) == 3 and last == 3 and shape[1] in (21, 22, 24, 52, 55):
        return (
            f"positions of {shape[1]} joints (HumanML3D's new_joints are such), or poses without a name. Positions "
            f"have no rotations about the bones: fit SMPL to them first. If they are axis-angle poses, {_CALL}"
        )
    if len(shape) == 2 and last in (63, 66, 69, 72, 135, 156, 159, 165):
        return f"poses without names or rate. If they are axis-angle, {_CALL}"
    return f"an array without names, which may be anything. If it holds SMPL poses, {_CALL}"
