"""LBS, rasterization, UV gather and compositing on the CPU."""

from .compose import compose
from .gather import gather_uv
from .lbs import NEAR, BodyModel, lbs, project
from .rasterize import Raster, rasterize
from .smooth_edges import Surface, smooth_edges

__all__ = [
    "NEAR",
    "BodyModel",
    "Raster",
    "Surface",
    "compose",
    "gather_uv",
    "lbs",
    "project",
    "rasterize",
    "smooth_edges",
]
