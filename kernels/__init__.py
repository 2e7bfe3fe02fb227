"""LBS, rasterization, UV gather and compositing on the CPU."""

from .compose import compose
from .compose_half import compose_half
from .gather import gather_uv
from .gather_half import gather_half
from .lbs import NEAR, BodyModel, lbs, project
from .rasterize import Raster, rasterize
from .smooth_edges import Surface, smooth_edges, smooth_edges_half

__all__ = [
    "NEAR",
    "BodyModel",
    "Raster",
    "Surface",
    "compose",
    "compose_half",
    "gather_half",
    "gather_uv",
    "lbs",
    "project",
    "rasterize",
    "smooth_edges",
    "smooth_edges_half",
]
