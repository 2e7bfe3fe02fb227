"""Open a motion file of any kind that is known here."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

from dinar_live.runtime.core.errors import MotionError

from .bvh_retarget import load_bvh
from .gltf_motion import SUFFIXES as GLTF
from .gltf_motion import load_gltf
from .motion import Motion
from .recording import SUFFIXES as RECORDINGS
from .recording import load_recording
from .smplx_npz import load_smplx_npz
from .unread_files import fbx, named_npy

_LOADERS = {
    ".npz": load_smplx_npz,
    ".bvh": load_bvh,
    ".dmot": load_recording,
    **dict.fromkeys(GLTF, load_gltf),
}
_OFFLINE = (".pt", ".pth", ".pkl", ".pickle", ".joblib")


def options_of(path) -> set[str]:
    """Which of the options "up", "fps", "map", "take" and "hands_model" the loader of this file takes; those of
    all where the kind is not known, for `load_motion` to say so."""
    known = {"up", "fps", "map", "take", "hands_model"}
    if Path(path).name.lower().endswith(RECORDINGS):
        return set()
    loader = _LOADERS.get(Path(path).suffix.lower())
    return known if loader is None else known & set(signature(loader).parameters)


def load_motion(path, *, resample: float | None = None, **options) -> Motion:
    """Read a clip by its extension: .npz (`load_smplx_npz`), .bvh (`load_bvh`), .glb, .gltf, .vrma or .vrm
    (`load_gltf`) or .dmot (`load_recording`); `options` go to that loader.

    resample: frames per second to resample to (by slerp); without it the file's own rate stays.
    Raises MotionError.
    """
    path = Path(path)
    recording = path.name.lower().endswith(RECORDINGS)
    loader = load_recording if recording else _LOADERS.get(path.suffix.lower())
    if loader is None and path.suffix.lower() == ".npy" and path.is_file():
        raise named_npy(path)
    if path.suffix.lower() == ".fbx" and path.is_file():
        raise fbx(path)
    if loader is None and (path.suffix.lower() in _OFFLINE or path.is_dir()):
        raise MotionError(f"{path}: this kind is converted first: dinar convert {path} out.npz")
    if loader is None:
        raise MotionError(
            f"{path}: unknown kind of motion file {path.suffix!r}, expected {', '.join(_LOADERS)}"
        )
    if not path.is_file():
        raise MotionError(f"{path}: no such file")
    try:
        motion = loader(path, **options)
    except MotionError as e:  # limits of Motion itself do not know the file
        raise e if str(path) in str(e) else MotionError(f"{path}: {e}") from None
    return motion if resample is None else motion.resample(resample)
