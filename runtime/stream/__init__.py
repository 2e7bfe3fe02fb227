"""Wire protocol, server and client. Knows no 3D."""
from ..errors import AccessError, KeyFileError, StreamTimeout
from .client import Client
from .clock import ClockSync
from .frame import Frame
from .frame_format import FrameFormat
from .keys import KeyFolder, KeyPair
from .messages import CameraView, Format, OpenXRView, RenderRequest, SourceChoice
from .rendering import Limits, Refused, RenderedFrame
from .server import Server
from .spectator import Spectator

__all__ = ["AccessError", "CameraView", "Client", "ClockSync", "Format", "Frame", "FrameFormat", "KeyFileError", "KeyFolder", "KeyPair",
           "Limits", "OpenXRView", "Refused", "RenderRequest", "RenderedFrame", "Server", "SourceChoice", "Spectator", "StreamTimeout"]
