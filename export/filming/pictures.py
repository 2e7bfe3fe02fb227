"""The chosen frames as pictures of a capture: cut to where the person is, with alpha, colours without background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 0.06  # of the person's reach, around it
FOREIGN = 2.0  # pixels from which an outline's colour is taken from inside


@dataclass(frozen=True)
class Window:
    """The part of every frame that is kept. x, y: its corner and taken (height, width): its size, pixels of the
    frame; size (height, width): of the pictures that are made of it."""

    x: int
    y: int
    taken: tuple[int, int]
    size: tuple[int, int]

    def camera(self, K: np.ndarray) -> np.ndarray:
        """K f64[3,3] of the frame, for the picture."""
        out = np.array(K, np.float64)
        out[:2, 2] -= (self.x, self.y)
        out[0] *= self.size[1] / self.taken[1]
        out[1] *= self.size[0] / self.taken[0]
        return out

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The window of an image [H,W] or [H,W,C] of the frame's size, scaled."""
        inside = image[self.y : self.y + self.taken[0], self.x : self.x + self.taken[1]]
        if self.taken == self.size:
            return np.ascontiguousarray(inside)
        return cv2.resize(inside, self.size[::-1], interpolation=cv2.INTER_AREA)


def window_of(masks: Sequence[np.ndarray], longest: int) -> Window:
    """The window that holds the person in all masks f32[H,W], at most `longest` pixels a side."""
    height, width = masks[0].shape
    marked = np.zeros((height, width), bool)
    for mask in masks:
        marked |= mask > 0.5
    rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    margin = MARGIN * max(np.ptp(rows), np.ptp(columns))
    x0, y0 = (max(int(v[0] - margin), 0) for v in (columns, rows))
    x1, y1 = min(int(columns[-1] + margin) + 1, width), min(int(rows[-1] + margin) + 1, height)
    scale = min(1.0, longest / max(x1 - x0, y1 - y0))
    size = max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))
    return Window(x0, y0, (y1 - y0, x1 - x0), size)


def straight_rgba(rgb: np.ndarray, mask: np.ndarray, window: Window) -> np.ndarray:
    """u8[h,w,4], straight alpha, of a frame u8[H,W,3] and its mask f32[H,W]. Where a pixel is partly background its
    colour is that of the person nearby."""
    colour = rgb.astype(np.float32)
    sure = (mask > 0.98).astype(np.float32)
    share = cv2.GaussianBlur(sure, (0, 0), FOREIGN)
    near = cv2.GaussianBlur(colour * sure[..., None], (0, 0), FOREIGN) / np.maximum(share, 1e-4)[..., None]
    partly = (mask > 0) & (sure == 0) & (share > 1e-3)
    colour = np.where(partly[..., None], near, colour)
    alpha = np.clip(window.cut(np.ascontiguousarray(mask, np.float32)), 0, 1)
    out = np.dstack([window.cut(colour * mask[..., None]), 255 * alpha])
    out[..., :3] /= np.maximum(alpha, 1e-3)[..., None]
    out[alpha < 1 / 510] = 0
    return np.clip(out + 0.5, 0, 255).astype(np.uint8)
