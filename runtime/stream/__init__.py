"""Wire protocol, server and client. Knows no 3D."""

from dinar_live.runtime.core.errors import AccessError, KeyFileError, StreamTimeout
from dinar_live.runtime.stream.auth.keys import KeyFolder, KeyPair
from dinar_live.runtime.stream.protocol.frame_format import FrameFormat
from dinar_live.runtime.stream.protocol.messages import (
    CameraView,
    Format,
    OpenXRView,
    RenderRequest,
    SourceChoice,
)

from .client import Client
from .clock import ClockSync
from .received_frame import ReceivedFrame
from .rendering import Limits, Refused, RenderedFrame
from .server import Server
from .spectator import Spectator

Frame = ReceivedFrame
"""Its name in 0.1."""

__all__ = [
    "AccessError",
    "CameraView",
    "Client",
    "ClockSync",
    "Format",
    "Frame",
    "ReceivedFrame",
    "FrameFormat",
    "KeyFileError",
    "KeyFolder",
    "KeyPair",
    "Limits",
    "OpenXRView",
    "Refused",
    "RenderRequest",
    "RenderedFrame",
    "Server",
    "SourceChoice",
    "Spectator",
    "StreamTimeout",
]
