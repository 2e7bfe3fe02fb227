"""Write a Motion to a file of any kind that is known here: .bvh, .npz or .dmot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from . import reference_body as ref
from .bvh_write import replacing, write_bvh
from .motion import Motion
from .recording import write_recording

_WRITERS = {".bvh": write_bvh, ".npz": lambda motion, path: write_npz(motion, path), ".dmot": write_recording}
WRITTEN = tuple(_WRITERS)


def save_motion(motion: Motion, path) -> None:
    """Write a clip by the extension of `path`: .bvh (`write_bvh`), .npz (`write_npz`) or .dmot
    (`write_recording`). Raises MotionError."""
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise MotionError(f"{path}: got {path.suffix!r}, expected {', '.join(WRITTEN)}")
    writer(motion, path)


def write_npz(motion: Motion, path) -> None:
    """Write a clip as AMASS writes SMPL-X: z up, absolute hands, betas zero, the path scaled to the mean
    body's legs.

    Keys: poses f32[N,165] (and root_orient, pose_body, pose_jaw, pose_eye, pose_hand, the parts of it), trans
    f32[N,3], mocap_frame_rate, mocap_time_length, betas f32[16] zeros, num_betas, gender, surface_model_type;
    expressions f32[N,E] and, if known, expression_names. The file appears whole or not at all. Raises
    MotionError.
    """
    n = motion.frames
    turn = rot.axis_angle_to_quaternion((np.pi / 2, 0.0, 0.0))  # y up to z up
    body = motion.body.copy()
    body[:, 0] = rot.quaternion_to_axis_angle(rot.multiply(turn, motion.quaternions[:, 0]))
    # what turns with the world is the place of the pelvis joint, which is not the origin
    trans = rot.rotate(turn, motion.pelvis * (ref.SMPLX_LEG / motion.leg_length)) - ref.SMPLX_PELVIS
    flat = body.reshape(n, 165)
    arrays = {
        "poses": flat,
        "trans": trans.astype(np.float32),
        "mocap_frame_rate": np.float64(motion.fps),
        "mocap_time_length": np.float64(motion.duration),
        "betas": np.zeros(16, np.float32),
        "num_betas": np.int64(16),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplx"),
        "root_orient": flat[:, :3],
        "pose_body": flat[:, 3:66],
        "pose_jaw": flat[:, 66:69],
        "pose_eye": flat[:, 69:75],
        "pose_hand": flat[:, 75:],
    }
    if motion.expression.shape[1]:
        arrays["expressions"] = motion.expression
        if motion.expression_names is not None:
            arrays["expression_names"] = np.array(motion.expression_names)
    with replacing(path, "wb") as file:
        np.savez_compressed(file, **arrays)
