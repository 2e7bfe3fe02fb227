"""What plays an avatar: body and bundle, renderer, streaming, motion, command line. Imports no torch."""
from .avatar import Avatar, Body
from .errors import DinarError
from .render import Camera, Frame, Pose, Renderer

__all__ = ["Avatar", "Body", "Camera", "DinarError", "Frame", "Pose", "Renderer"]
