"""Motion files, retargeting, authored clips."""
from .authored import demo_motion, idle_motion
from .bvh_retarget import load_bvh
from .files import load_motion
from .motion import AvatarMotion, Motion
from .smplx_npz import load_smplx_npz

__all__ = ["AvatarMotion", "Motion", "demo_motion", "idle_motion", "load_bvh", "load_motion", "load_smplx_npz"]
