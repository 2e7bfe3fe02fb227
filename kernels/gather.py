"""The renderer network's input: the texture seen in each pixel, its coordinates, and the mask."""

import numpy as np

from . import _check, _cpu
from .rasterize import Raster

MAX_CHANNELS = 64


def gather_uv(raster: Raster, uv, uv_faces, texture, *, out=None, threads: int = 0) -> np.ndarray:
    """Features f32[C+3,H,W]: C texture channels, u, v, mask.

    raster: see `rasterize`. uv f32[T,2] in [0,1] (v down), uv_faces i32[F,3]: texture corners of the
    rasterized faces. texture f32[Ht,Wt,C], C up to 64: row = v, column = u, sampled bilinearly as
    grid_sample(align_corners=True, padding zeros). u, v are written as 2*uv-1; empty pixels get texture 0, u
    = v = -10, mask 0. out f32[C+3,H,W]: written in full if given. Raises TypeError or ValueError for wrong
    types, shapes and indices. Source: DINAR (arXiv 2303.09375), section 3.1.
    """
    if not isinstance(raster, Raster):
        raise TypeError(f"raster is a {type(raster).__name__}; expected a Raster")
    H, W = _check.array("raster.triangle_id", raster.triangle_id, np.int32, (None, None)).shape
    _check.array("raster.barycentrics", raster.barycentrics, np.float32, (H, W, 3))
    _check.array("uv", uv, np.float32, (None, 2))
    _check.array("uv_faces", uv_faces, np.int32, (None, 3))
    Ht, Wt, C = _check.array("texture", texture, np.float32, (None, None, None)).shape
    if not (1 <= Ht <= 32768 and 1 <= Wt <= 32768 and 1 <= C <= MAX_CHANNELS):
        raise ValueError(
            f"texture has shape {texture.shape}; expected sides of 1 to 32768 texels and 1 to {MAX_CHANNELS} channels"
        )
    out = _check.output("out", out, np.float32, (C + 3, H, W))
    _cpu.gather(raster.triangle_id, raster.barycentrics, uv, uv_faces, texture, out, _check.threads(threads))
    return out
