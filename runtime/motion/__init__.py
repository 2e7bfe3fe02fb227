"""Motion files, retargeting, filters, authored clips."""

from .authored import demo_motion, idle_motion
from .bvh_retarget import load_bvh
from .bvh_write import write_bvh
from .convert import save_motion, write_npz
from .files import load_motion
from .filters import OneEuro, Predictor, smooth
from .floor import snap_to_floor
from .foot_lock import lock_feet
from .foot_lock_live import FootLock
from .foot_metrics import FootReport, foot_report
from .motion import AvatarMotion, Motion
from .recording import Recorder, load_recording
from .smplx_npz import load_smplx_npz

__all__ = [
    "AvatarMotion",
    "FootLock",
    "FootReport",
    "Motion",
    "OneEuro",
    "Predictor",
    "Recorder",
    "demo_motion",
    "foot_report",
    "idle_motion",
    "load_bvh",
    "load_motion",
    "load_recording",
    "load_smplx_npz",
    "lock_feet",
    "save_motion",
    "smooth",
    "snap_to_floor",
    "write_bvh",
    "write_npz",
]
