"""What plays an avatar: body and bundle, renderer, streaming, motion, command line. Imports no torch."""

from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.pose import Pose

from .avatar import Avatar, Body
from .render import Frame, Renderer

__all__ = ["Avatar", "Body", "Camera", "DinarError", "Frame", "Pose", "Renderer"]
