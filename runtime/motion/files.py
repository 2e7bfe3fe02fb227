"""Open a motion file of any kind that is known here."""
from __future__ import annotations

from pathlib import Path

from ..errors import MotionError
from .bvh_retarget import load_bvh
from .motion import Motion
from .smplx_npz import load_smplx_npz

_LOADERS = {".npz": load_smplx_npz, ".bvh": load_bvh}


def load_motion(path, *, resample: float | None = None, **options) -> Motion:
    """Read a clip by its extension: .npz (`load_smplx_npz`) or .bvh (`load_bvh`); `options` go to that loader.

    resample: frames per second to resample to (by slerp); without it the file's own rate stays.
    Raises MotionError.
    """
    path = Path(path)
    loader = _LOADERS.get(path.suffix.lower())
    if loader is None:
        raise MotionError(f"{path}: unknown kind of motion file {path.suffix!r}, expected {' or '.join(_LOADERS)}")
    if not path.is_file():
        raise MotionError(f"{path}: no such file")
    motion = loader(path, **options)
    return motion if resample is None else motion.resample(resample)
