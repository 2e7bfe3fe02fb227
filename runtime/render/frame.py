"""Frame: one rendered image, and what is true of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.core.notebook_png import notebook_png

from .window import Window

RING = 3
"""How many calls a frame outlives before its memory is used again, counting its own."""
MAX_VIEWS = 2
STAGES: tuple[str, ...] = ("lbs", "project", "rasterize", "gather", "network", "compose")
GPU_TIME = "gpu"
"""From the first launch until the frame is in host memory: instead of the stages, where a GPU runs them as
one."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One rendered image. rgba u8[H,W,4], sRGB-encoded, premultiplied unless asked otherwise; it belongs to a ring
    and is valid until two renders later (`copy()` keeps it). depth f32[H,W] metres, 0 where the body is not
    (only with depth=True). timings: milliseconds per stage, and `total`, of the whole call, so the views of
    one call have the same; on a GPU `project` is the fitting of the window, and GPU_TIME the rest. window:
    the part of the frame that was worked on, None where nothing is in view. straight: whether the colour is
    unmultiplied, as asked."""

    rgba: np.ndarray = field(repr=False)
    depth: np.ndarray | None = field(repr=False)
    timings: dict[str, float] = field(default_factory=dict)
    window: Window | None = None
    straight: bool = False

    def __repr__(self) -> str:
        height, width = self.rgba.shape[:2]
        total = f", {self.timings['total']:.1f} ms" if "total" in self.timings else ""
        return f"Frame({width}x{height} px{', depth' if self.depth is not None else ''}{total})"

    def _repr_png_(self) -> bytes:
        """The frame as PNG, by which notebooks show it."""
        return notebook_png(self.rgba, self.straight)

    def copy(self) -> Frame:
        """A frame with arrays of its own."""
        return Frame(
            self.rgba.copy(),
            None if self.depth is None else self.depth.copy(),
            dict(self.timings),
            self.window,
            self.straight,
        )
