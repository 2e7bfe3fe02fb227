"""What the mesh shows and a network's correction at half resolution to 8-bit RGBA and depth, in one pass."""

import numpy as np

from . import _check, _cpu
from .compose import frame
from .gather_half import BLOCK, MAX_CHANNELS


def compose_half(
    features,
    correction,
    *,
    spans=None,
    hardsegm: bool = False,
    threshold: float = 0.0,
    background=None,
    straight: bool = False,
    origin=(0, 0),
    out=None,
    depth=None,
    depth_out=None,
    threads: int = 0,
) -> np.ndarray:
    """Write the window at `origin` of `out` u8[Hf,Wf,4], clear the rest, return `out`.

    features f32[h,w,16+C] of `gather_half` and its spans i32[h,2] (None: all rows are read in full). correction
    f32[h,w,16] of the network: what is added to red, green, blue and alpha of each pixel of a block, row by row.
    A pixel of the window of 2h x 2w is, with means over the 3x3 pixels around it and zero beyond the window,

        alpha = clip(mean(mask) + correction)
        rgb = clip(colour + (1 - mask) * mean(colour) / max(mean(mask), 1/9) + correction)

    (NaN counts as 0). hardsegm: alpha becomes min(1, alpha + mask). depth f32[2h,2w]. All others as in
    `compose`. Raises TypeError or ValueError.
    """
    h, w, planes = _check.array("features", features, np.float32, (None, None, None)).shape
    if not h or not w or max(h, w) > 32768 or not BLOCK <= planes <= BLOCK + MAX_CHANNELS:
        raise ValueError(
            f"features has shape {features.shape}; expected sides from 1 to 32768 and {BLOCK} to {BLOCK + MAX_CHANNELS} channels"
        )
    _check.array("correction", correction, np.float32, (h, w, BLOCK))
    if spans is not None:
        _check.array("spans", spans, np.int32, (h, 2))
        if ((spans < 0) | (spans > w)).any():
            raise ValueError(f"spans holds {spans.min()} to {spans.max()}; expected 0 to {w}")
    size = 2 * h, 2 * w
    where = frame(size, size, threshold, background, origin, out, depth, depth_out)
    _cpu.compose_half(
        features,
        correction,
        spans,
        depth,
        bool(hardsegm),
        threshold,
        background is not None,
        *where.colour,
        bool(straight),
        *where.origin,
        where.out,
        depth_out,
        _check.threads(threads),
    )
    return where.out
