"""Network output to 8-bit RGBA and depth."""

import math
from typing import NamedTuple

import numpy as np

from . import _check, _cpu


def compose(
    rgb,
    alpha,
    *,
    mask=None,
    threshold: float = 0.0,
    background=None,
    straight: bool = False,
    samples: int = 1,
    origin=(0, 0),
    out=None,
    depth=None,
    depth_out=None,
    threads: int = 0,
) -> np.ndarray:
    """Write the window at `origin` of `out` u8[Hf,Wf,4], clear the rest, return `out`.

    rgb f32[3,H,W] and alpha f32[H,W] in [0,1] (clamped; NaN counts as 0); rgb is straight, not premultiplied.
    mask f32[H,W]: alpha becomes min(1, alpha + mask), "hardsegm". threshold tau != 0: then alpha becomes
    clip((1 - exp((tau - a)*20)) * (1 + exp((a - tau - 0.2)*70)), 0, 1).
    samples s = 1, 2 or 4: H and W are s times the window; premultiplied colour and alpha are averaged over
    s*s samples. Colour is premultiplied in its sRGB encoding, byte = floor(255*x + 0.5). straight=True
    divides by alpha (0 where alpha is 0). background (r, g, b) in [0,1]: composited over it, alpha is 255
    everywhere, and the rest of `out` gets that colour. origin (x0, y0): where the window's upper left pixel
    goes in `out`, pixels; parts outside `out` are dropped. out=None makes one of the window's size. depth
    f32[H,W], metres, 0 = empty, fills depth_out f32[Hf,Wf]: the nearest covered sample, 0 where there is
    none. Raises TypeError or ValueError. Source: DINAR (arXiv 2303.09375) and its released renderer.
    """
    samples = _check.integer("samples", samples, 1, 4)
    if samples == 3:
        raise ValueError("samples is 3; expected 1, 2 or 4")
    H, W = _check.array("alpha", alpha, np.float32, (None, None)).shape
    if not H or not W or H % samples or W % samples or max(H, W) > 65536:
        raise ValueError(
            f"alpha has shape {alpha.shape}; expected sides from {samples} to 65536 that are multiples of samples={samples}"
        )
    _check.array("rgb", rgb, np.float32, (3, H, W))
    if mask is not None:
        _check.array("mask", mask, np.float32, (H, W))
    where = frame((H // samples, W // samples), (H, W), threshold, background, origin, out, depth, depth_out)
    _cpu.compose(
        rgb,
        alpha,
        mask,
        depth,
        threshold,
        background is not None,
        *where.colour,
        bool(straight),
        samples,
        *where.origin,
        where.out,
        depth_out,
        _check.threads(threads),
    )
    return where.out


class Frame(NamedTuple):
    """Where a window goes, checked."""

    colour: tuple[float, float, float]
    origin: tuple[int, int]
    out: np.ndarray


def frame(window, size, threshold, background, origin, out, depth, depth_out) -> Frame:
    """The arguments that `compose` and `compose_half` share, for a window of (height, width) pixels and depth of
    `size` (height, width). Raises TypeError or ValueError."""
    if not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold!r}; expected a finite number")
    colour = (0.0, 0.0, 0.0) if background is None else _colour(background)
    x0, y0 = _check.pair("origin", origin, -(1 << 20), 1 << 20)
    if out is None:
        if (x0, y0) != (0, 0):
            raise ValueError(f"origin is {origin!r} without out; pass the picture to write into as out")
        out = np.empty((*window, 4), np.uint8)
    _check.output("out", out, np.uint8, (None, None, 4))
    if out.ctypes.data % 4:
        raise ValueError("out does not start at a multiple of four bytes; pass an array made by np.empty")
    if (depth is None) != (depth_out is None):
        raise ValueError("depth and depth_out belong together; pass both or neither")
    if depth is not None:
        _check.array("depth", depth, np.float32, size)
        _check.output("depth_out", depth_out, np.float32, out.shape[:2])
    return Frame(colour, (x0, y0), out)


def _colour(background) -> tuple[float, float, float]:
    try:
        r, g, b = (float(x) for x in background)
    except (TypeError, ValueError):
        raise ValueError(f"background is {background!r}; expected three numbers in [0,1]") from None
    if not all(0.0 <= x <= 1.0 for x in (r, g, b)):
        raise ValueError(f"background is {background!r}; expected three numbers in [0,1]")
    return r, g, b
