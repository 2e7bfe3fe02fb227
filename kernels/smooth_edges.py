"""Edges within the body and at its outline: colour and mask of a few pixels as averages over samples."""

import numpy as np

from . import _check, _cpu
from .lbs import NEAR
from .rasterize import MAX_ORIGIN

GAP_TEXELS = 1.0
"""Faces whose texture coordinates are further apart than this show different surfaces."""
MAX_SIZE = 8191  # pixels, so that samples fit into 16 bits


class Surface:
    """Triangles with the colour of their texture, validated once.

    faces i32[F,3], uv f32[T,2] in [0,1] (v down), uv_faces i32[F,3], texture f32[Ht,Wt,C]: as gather_uv takes
    them; of the texture the first three channels are kept, as colour. Raises TypeError or ValueError for wrong
    types, shapes and indices.
    """

    def __init__(self, faces, uv, uv_faces, texture):
        self.faces = _check.array("faces", faces, np.int32, (None, 3))
        self.uv = _check.array("uv", uv, np.float32, (None, 2))
        self.uv_faces = _check.array("uv_faces", uv_faces, np.int32, (len(faces), 3))
        h, w, c = _check.array("texture", texture, np.float32, (None, None, None)).shape
        if not (1 <= h <= 32768 and 1 <= w <= 32768 and c >= 3):
            raise ValueError(
                f"texture has shape {texture.shape}; expected sides of 1 to 32768 texels, 3 or more channels"
            )
        if len(uv_faces) and not (0 <= uv_faces.min() and uv_faces.max() < len(uv)):
            raise ValueError("uv_faces refers to a uv that is not there")
        self.colour = np.zeros((h, w, 4), np.float32)
        self.colour[..., :3] = texture[..., :3]
        corners = uv[uv_faces]
        self.uv_boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        self.gap = GAP_TEXELS / max(h, w)


def smooth_edges(
    surface: Surface,
    projective,
    triangle_id,
    colour,
    mask,
    *,
    origin=(0, 0),
    samples: int = 4,
    threads: int = 0,
) -> int:
    """Take colour and mask of pixels that show an edge from samples x samples points of them, in place. Returns
    how many pixels these are.

    projective f32[V,3], origin: as in `rasterize`, which gave triangle_id i32[H,W], sides up to 8191 (back
    faces culled, the usual near plane). colour f32[3,H,W], mask f32[H,W]: planes as gather_uv made them.
    samples: 2 or 4 per axis.
    A pixel shows an edge when it and one of its four neighbours in the window see different surfaces: one is
    empty, or their faces lie more than GAP_TEXELS apart in the texture. There the samples see what the pixels of
    a raster of `samples` times the size see. Each surface seen (the faces that are not apart from its first) gives
    one texture sample, at the middle one of its samples; colour is their mean, empty samples counting as 0 (so it
    is premultiplied), and mask the share that is covered. All other pixels stay. The result does not depend on `threads` (0 = all cores) or on the CPU.
    Raises TypeError or ValueError for wrong types, shapes, indices and NaN or Inf; colour and mask are then
    undefined.
    """
    if not isinstance(surface, Surface):
        raise TypeError(f"surface is a {type(surface).__name__}; expected a Surface")
    _check.array("projective", projective, np.float32, (None, 3))
    H, W = _check.array("triangle_id", triangle_id, np.int32, (None, None)).shape
    if not (1 <= H <= MAX_SIZE and 1 <= W <= MAX_SIZE):
        raise ValueError(f"triangle_id has shape {triangle_id.shape}; expected sides of 1 to {MAX_SIZE}")
    x0, y0 = _check.pair("origin", origin, -MAX_ORIGIN // 4, MAX_ORIGIN // 4)
    if samples not in (2, 4):
        raise ValueError(f"samples is {samples!r}; expected 2 or 4")
    for name, planes, shape in (("colour", colour, (3, H, W)), ("mask", mask, (H, W))):
        _check.array(name, planes, np.float32, shape)
        _check.output(name, planes, np.float32, shape)
    return _cpu.smooth_edges(
        projective,
        surface.faces,
        x0,
        y0,
        True,
        NEAR,
        triangle_id,
        surface.uv,
        surface.uv_faces,
        surface.uv_boxes,
        surface.gap,
        surface.colour,
        samples,
        colour,
        mask,
        _check.threads(threads),
    )
