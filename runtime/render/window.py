"""Which part of the frame is worth rendering: the box of the body, grown to what the renderer network
needs."""

from __future__ import annotations

import math
from typing import NamedTuple

BUCKET = 64  # a network is compiled per window size, so sizes come in steps of this many pixels


class Window(NamedTuple):
    """Pixels [y0, y0+height) x [x0, x0+width) of the frame; may reach past its right and lower edge where
    the frame is no multiple of the stride."""

    x0: int
    y0: int
    width: int
    height: int


def padded(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """(height, width) rounded up to multiples of the network's stride."""
    return math.ceil(size[0] / stride) * stride, math.ceil(size[1] / stride) * stride


def _axis(lo: float, hi: float, extent: int, margin: int, stride: int, bucket: int) -> tuple[int, int]:
    lo, hi = max(0, math.floor(lo) - margin), min(extent, math.ceil(hi) + margin)
    lo, hi = lo // stride * stride, math.ceil(hi / stride) * stride
    length = min(extent, max(bucket, math.ceil((hi - lo) / bucket) * bucket))
    # what rounding adds goes to both sides, then back inside the frame
    start = lo - (length - (hi - lo)) // 2 // stride * stride
    return min(max(0, start), extent - length), length


def inside(bounds, size: tuple[int, int]) -> bool:
    """Whether x0, y0, x1, y1 in pixels lie within a frame of `size` (height, width)."""
    return bool(bounds[0] >= 0 and bounds[1] >= 0 and bounds[2] <= size[1] and bounds[3] <= size[0])


def fit_window(
    bounds, size: tuple[int, int], *, margin: int = 0, stride: int = 1, bucket: int = BUCKET
) -> Window | None:
    """The window for a body whose vertices project into bounds = (x0, y0, x1, y1) pixels (None = unknown:
    everything) of a frame of `size` (height, width). Starts on multiples of `stride`, has sizes in steps of
    `bucket` (or the whole extent). None when nothing is in view."""
    height, width = padded(size, stride)
    if bounds is None:
        return Window(0, 0, width, height)
    x0, y0, x1, y1 = bounds
    if x1 <= -margin or y1 <= -margin or x0 >= size[1] + margin or y0 >= size[0] + margin:
        return None
    left, w = _axis(max(x0, -margin), min(x1, width + margin), width, margin, stride, bucket)
    top, h = _axis(max(y0, -margin), min(y1, height + margin), height, margin, stride, bucket)
    return Window(left, top, w, h)


def enlarged(window: Window, size: tuple[int, int], frame: tuple[int, int]) -> Window:
    """`window` grown to `size` (height, width), at least its own, and moved back inside of `frame` (height,
    width), all on the stride."""
    return Window(min(window.x0, frame[1] - size[1]), min(window.y0, frame[0] - size[0]), size[1], size[0])
