"""Video files: the one place where they are written. VideoSink takes frames; an encoder of its own thread and
process makes the file."""

from .opencv import CODECS
from .sink import VideoSink

__all__ = ["CODECS", "VideoSink"]
