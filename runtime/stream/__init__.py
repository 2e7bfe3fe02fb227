"""Wire protocol, server and client. Knows no 3D."""
from ..errors import StreamTimeout
from .client import Client, Frame
from .messages import Format, RenderRequest
from .rendering import Limits, RenderedFrame
from .server import Server

__all__ = ["Client", "Format", "Frame", "Limits", "RenderRequest", "RenderedFrame", "Server", "StreamTimeout"]
