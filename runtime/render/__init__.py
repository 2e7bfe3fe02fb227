"""Poses, cameras and the frame pipeline."""

from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose

from .frame import Frame
from .renderer import Renderer

__all__ = ["Camera", "Frame", "Pose", "Renderer"]
