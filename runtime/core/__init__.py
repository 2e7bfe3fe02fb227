"""The ground floor: errors, checks of input, poses, cameras, rotations and the SMPL-X skeleton. Imports
nothing of ours."""

from .camera import Camera
from .errors import DinarError, InputError
from .pose import Pose

__all__ = ["Camera", "DinarError", "InputError", "Pose"]
