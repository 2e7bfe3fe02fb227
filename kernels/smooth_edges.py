"""Edges within the body and at its outline: colour and mask of a few pixels as averages over samples."""

import numpy as np

from . import _check, _cpu
from .gather_half import BLOCK
from .lbs import NEAR
from .rasterize import MAX_ORIGIN, Raster

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
    raster: Raster,
    colour,
    mask,
    *,
    straight: bool = False,
    origin=(0, 0),
    samples: int = 2,
    threads: int = 0,
) -> int:
    """Take colour and mask of pixels that show an edge from samples x samples points of them, in place. Returns
    how many pixels these are.

    projective f32[V,3], origin: as in `rasterize`, which gave the raster, sides up to 8191 (back faces culled, the
    usual near plane). Its depth gets that of the nearest surface where a pixel is covered in part and was empty.
    colour f32[3,H,W], mask f32[H,W]: planes as gather_uv made them.
    samples: 2 or 4 per axis.
    A pixel shows an edge when it and one of its four neighbours in the window see different surfaces: one is
    empty, or their faces lie more than GAP_TEXELS apart in the texture. There the samples see what the pixels of
    a raster of `samples` times the size see. Each surface seen (the faces that are not apart from its first) gives
    one texture sample, at the middle one of its samples; colour is their mean, empty samples counting as 0 (so it
    is premultiplied; straight=True divides it by the mask), and mask the share that is covered. All other pixels
    stay. The result does not depend on `threads` (0 = all cores) or on the CPU. Raises TypeError or ValueError
    for wrong types, shapes, indices and NaN or Inf; colour and mask are then undefined.
    """
    H, W = _shape(raster)
    for name, planes, shape in (("colour", colour, (3, H, W)), ("mask", mask, (H, W))):
        _check.array(name, planes, np.float32, shape)
        _check.output(name, planes, np.float32, shape)
    targets = bool(straight), colour, mask, None
    return _run(surface, projective, raster, targets, origin, samples, threads)


def smooth_edges_half(
    surface: Surface,
    projective,
    raster: Raster,
    features,
    *,
    spans=None,
    origin=(0, 0),
    samples: int = 2,
    threads: int = 0,
) -> int:
    """The same for features f32[H/2,W/2,16+C] of gather_half: colour and mask of their pixels, the neural
    channels stay. spans i32[H/2,2]: those of `features`, widened by the neighbouring blocks, which may not be
    zero any more."""
    H, W = _shape(raster)
    if H % 2 or W % 2:
        raise ValueError(f"raster has {H} x {W} pixels; expected even numbers")
    _check.array("features", features, np.float32, (H // 2, W // 2, None))
    _check.output("features", features, np.float32, features.shape)
    if features.shape[2] < BLOCK:
        raise ValueError(f"features has {features.shape[2]} channels; expected {BLOCK} or more")
    if spans is not None:
        _check.array("spans", spans, np.int32, (H // 2, 2))
    marked = _run(surface, projective, raster, (False, None, None, features), origin, samples, threads)
    if spans is not None and marked:
        _widen(spans, W // 2)
    return marked


def _shape(raster: Raster) -> tuple[int, int]:
    if not isinstance(raster, Raster):
        raise TypeError(f"raster is a {type(raster).__name__}; expected a Raster")
    H, W = _check.array("raster.triangle_id", raster.triangle_id, np.int32, (None, None)).shape
    if not (1 <= H <= MAX_SIZE and 1 <= W <= MAX_SIZE):
        raise ValueError(f"raster has {H} x {W} pixels; expected sides of 1 to {MAX_SIZE}")
    _check.array("raster.depth", raster.depth, np.float32, (H, W))
    _check.output("raster.depth", raster.depth, np.float32, (H, W))
    return H, W


def _widen(spans: np.ndarray, width: int) -> None:
    """Each row's span with those of the rows above and below, and a block more on both sides."""
    empty = spans[:, 0] >= spans[:, 1]
    first, last = np.where(empty, width, spans[:, 0]), np.where(empty, 0, spans[:, 1])
    for out, of, choose in ((spans[:, 0], first, np.minimum), (spans[:, 1], last, np.maximum)):
        out[:] = of
        choose(out[1:], of[:-1], out=out[1:])
        choose(out[:-1], of[1:], out=out[:-1])
    filled = spans[:, 0] < spans[:, 1]
    spans[:, 0] = np.where(filled, np.maximum(spans[:, 0] - 1, 0), 0)
    spans[:, 1] = np.where(filled, np.minimum(spans[:, 1] + 1, width), 0)


def _run(surface: Surface, projective, raster: Raster, targets, origin, samples, threads) -> int:
    if not isinstance(surface, Surface):
        raise TypeError(f"surface is a {type(surface).__name__}; expected a Surface")
    _check.array("projective", projective, np.float32, (None, 3))
    x0, y0 = _check.pair("origin", origin, -MAX_ORIGIN // 4, MAX_ORIGIN // 4)
    if samples not in (2, 4):
        raise ValueError(f"samples is {samples!r}; expected 2 or 4")
    straight, colour, mask, blocks = targets
    return _cpu.smooth_edges(
        projective,
        surface.faces,
        x0,
        y0,
        True,
        NEAR,
        raster.triangle_id,
        surface.uv,
        surface.uv_faces,
        surface.uv_boxes,
        surface.gap,
        surface.colour,
        samples,
        straight,
        colour,
        mask,
        blocks,
        raster.depth,
        _check.threads(threads),
    )
