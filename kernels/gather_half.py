"""The input of a renderer network at half resolution: what the mesh shows in four pixels, and a neural texture."""

import numpy as np

from . import _check, _cpu
from .rasterize import Raster

BLOCK = 16
"""Channels of a block's four pixels."""
MAX_CHANNELS = 48


def gather_half(
    raster: Raster, uv, uv_faces, texture, neural, *, spans=None, out=None, threads: int = 0
) -> np.ndarray:
    """Features f32[H/2,W/2,16+C], a block of 2x2 pixels after the other: red, green, blue and mask (1 or 0) of
    its pixels, row by row, then the C neural channels, seen by its first pixel that shows the body. Zero where
    nothing is.

    raster: see `rasterize`; H and W are even. uv f32[T,2], uv_faces i32[F,3]: see `gather_uv`. texture
    f32|u8[Ht,Wt,4]: colour, the fourth channel is not used. neural [ht,wt,C] of the same type, C up to 48; bytes mean
    value/255. Both are sampled bilinearly as grid_sample(align_corners=True, padding zeros).
    spans i32[H/2,2]: from where to where each row of `out` is not zero. Given, it must be true of `out` as
    handed in, and is true of it as returned, and only what is not zero before or after is touched: hand both
    in again for the next frame. None: `out` is written in full. Raises TypeError or ValueError for wrong types,
    shapes and indices.
    """
    if not isinstance(raster, Raster):
        raise TypeError(f"raster is a {type(raster).__name__}; expected a Raster")
    H, W = _check.array("raster.triangle_id", raster.triangle_id, np.int32, (None, None)).shape
    if H % 2 or W % 2:
        raise ValueError(f"raster has {H} x {W} pixels; expected even numbers")
    _check.array("raster.barycentrics", raster.barycentrics, np.float32, (H, W, 3))
    _check.array("uv", uv, np.float32, (None, 2))
    _check.array("uv_faces", uv_faces, np.int32, (None, 3))
    dtype = np.uint8 if getattr(texture, "dtype", None) == np.uint8 else np.float32
    Ht, Wt, _ = _check.array("texture", texture, dtype, (None, None, 4)).shape
    ht, wt, C = _check.array("neural", neural, dtype, (None, None, None)).shape
    if not all(1 <= side <= 32768 for side in (Ht, Wt, ht, wt)) or C > MAX_CHANNELS:
        raise ValueError(
            f"texture has shape {texture.shape} and neural {neural.shape}; expected sides of 1 to 32768 texels "
            f"and up to {MAX_CHANNELS} neural channels"
        )
    if spans is not None:
        if out is None:
            raise ValueError("spans without out; pass the array whose rows it describes as out")
        _check.output("spans", spans, np.int32, (H // 2, 2))
        if H and ((spans < 0) | (spans > W // 2)).any():
            raise ValueError(f"spans holds {spans.min()} to {spans.max()}; expected 0 to {W // 2}")
    out = _check.output("out", out, np.float32, (H // 2, W // 2, BLOCK + C))
    _cpu.gather_half(
        raster.triangle_id,
        raster.barycentrics,
        uv,
        uv_faces,
        texture,
        neural,
        out,
        spans,
        _check.threads(threads),
    )
    return out
