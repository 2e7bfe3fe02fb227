"""Avatar bundles, rigs and body models."""

from .avatar import Avatar, Checks, RendererSpec
from .body import Body
from .rig import Rig

__all__ = ["Avatar", "Body", "Checks", "RendererSpec", "Rig"]
