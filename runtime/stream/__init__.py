"""Wire protocol, server and client. Knows no 3D."""
from ..errors import AccessError, KeyFileError, StreamTimeout
from .client import Client, Frame
from .keys import KeyFolder, KeyPair
from .messages import Format, RenderRequest
from .rendering import Limits, RenderedFrame
from .server import Server

__all__ = ["AccessError", "Client", "Format", "Frame", "KeyFileError", "KeyFolder", "KeyPair", "Limits", "RenderRequest", "RenderedFrame",
           "Server", "StreamTimeout"]
