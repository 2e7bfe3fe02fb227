"""Avatar bundles, rigs and body models."""

from .avatar import Avatar, Checks
from .body import Body
from .renderer_spec import RendererSpec, RendererType
from .rig import Rig

__all__ = ["Avatar", "Body", "Checks", "RendererSpec", "RendererType", "Rig"]
