"""Visibility of triangles: ids, barycentrics and depth."""

import math
from typing import NamedTuple

import numpy as np

from . import _check, _cpu
from .lbs import NEAR

MAX_SIZE = 16384
MAX_ORIGIN = 1 << 19


class Raster(NamedTuple):
    """What is seen in each pixel: triangle_id i32[H,W] (-1 = empty), barycentrics f32[H,W,3], depth f32[H,W]
    in metres (0 = empty)."""

    triangle_id: np.ndarray
    barycentrics: np.ndarray
    depth: np.ndarray

    @classmethod
    def empty(cls, height: int, width: int) -> "Raster":
        """Unwritten buffers of this size, to be passed as `out`."""
        return cls(
            np.empty((height, width), np.int32),
            np.empty((height, width, 3), np.float32),
            np.empty((height, width), np.float32),
        )


def rasterize(
    projective,
    faces,
    size,
    *,
    origin=(0, 0),
    cull: bool = True,
    near: float = NEAR,
    out: Raster | None = None,
    threads: int = 0,
) -> Raster:
    """Draw triangles into a window of the image.

    projective f32[V,3]: (px*z, py*z, z), pixels and metres (see `project`). faces i32[F,3]. size (H, W) of
    the window, up to 16384. origin (x0, y0): the window's upper left pixel in the image; a window gives bit
    for bit the same pixels as the whole image.
    cull: leave out back faces (front = counter-clockwise seen from outside). near: metres; nearer parts are
    clipped. The pixel in row i, column j is sampled at (j+0.5, i+0.5). Vertices are snapped to 1/256 pixel;
    coverage is then exact, with the top-left rule: no cracks and no double hits along shared edges. The
    nearest depth wins, on a tie the lower id. Barycentrics are perspective-correct, >= 0 and sum to 1; empty
    pixels have id -1, barycentrics 0, depth 0. The result does not depend on `threads` (0 = all cores) or on
    the CPU. `out` is written in full, also where nothing is seen. Raises TypeError or ValueError for wrong
    types, shapes, indices and NaN or Inf; `out` is then undefined.
    """
    height, width = _check.pair("size", size, 1, MAX_SIZE)
    x0, y0 = _check.pair("origin", origin, -MAX_ORIGIN, MAX_ORIGIN)
    _check.array("projective", projective, np.float32, (None, 3))
    _check.array("faces", faces, np.int32, (None, 3))
    if not (math.isfinite(near) and near >= 1e-6):
        raise ValueError(f"near is {near!r}; expected a distance of at least 1e-6 metres")
    if out is None:
        out = Raster.empty(height, width)
    elif not isinstance(out, Raster):
        raise TypeError(f"out is a {type(out).__name__}; expected a Raster (see Raster.empty)")
    else:
        _check.output("out.triangle_id", out.triangle_id, np.int32, (height, width))
        _check.output("out.barycentrics", out.barycentrics, np.float32, (height, width, 3))
        _check.output("out.depth", out.depth, np.float32, (height, width))
    _cpu.rasterize(projective, faces, x0, y0, bool(cull), near, *out, _check.threads(threads))
    return out
