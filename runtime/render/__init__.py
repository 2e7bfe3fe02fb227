"""Poses, cameras and the frame pipeline."""

from .camera import Camera
from .pose import Pose
from .renderer import Frame, Renderer

__all__ = ["Camera", "Frame", "Pose", "Renderer"]
