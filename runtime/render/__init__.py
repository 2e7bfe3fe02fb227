"""Poses, cameras and the frame pipeline."""

from .camera import Camera
from .frame import Frame
from .pose import Pose
from .renderer import Renderer

__all__ = ["Camera", "Frame", "Pose", "Renderer"]
