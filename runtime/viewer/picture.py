"""RGBA pictures over a backdrop, as JPEG."""
from __future__ import annotations

import cv2
import numpy as np

QUALITY = 88
BACKDROPS = ("light", "dark", "checker")
# colour in the middle and at the edge, RGB
_GLOW = {"light": ((250, 250, 252), (212, 217, 226)), "dark": ((62, 67, 78), (19, 21, 26))}
_CHECKER = ((236, 238, 242), (206, 210, 217))
_SQUARES = 24       # across the shorter side


def backdrop(name: str, size: tuple[int, int]) -> np.ndarray:
    """A backdrop u8[H,W,3], BGR; `name` one of BACKDROPS, `size` (height, width)."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if name == "checker":
        square = max(1, min(size) // _SQUARES)
        t = ((y // square + x // square) % 2)[..., None]
        inside, outside = _CHECKER
    else:
        radius = np.hypot((x / width - 0.5) * 1.1, y / height - 0.42)
        t = np.clip(radius / 0.72, 0, 1)[..., None]
        t = t * t * (3 - 2 * t)
        inside, outside = _GLOW[name]
    rgb = np.float32(inside) + t * (np.float32(outside) - np.float32(inside))
    if name != "checker":       # half a step of noise, or the slow gradient shows bands
        rgb += np.random.default_rng(0).uniform(-0.5, 0.5, (height, width, 1)).astype(np.float32)
    return np.ascontiguousarray(np.clip(np.rint(rgb), 0, 255).astype(np.uint8)[..., ::-1])


class PictureEncoder:
    """Composites and encodes; keeps its scratch arrays, so use one per thread."""

    def __init__(self):
        self._size = (0, 0)
        self._backdrops: dict[str, np.ndarray] = {}

    def encode(self, rgba: np.ndarray, name: str, *, straight: bool = False) -> bytes:
        """`rgba` u8[H,W,4] (premultiplied, unless `straight`) over the backdrop `name`, as JPEG."""
        size = rgba.shape[:2]
        if size != self._size:
            self._size = size
            self._backdrops.clear()
            self._bgr, self._behind, self._alpha3 = (np.empty((*size, 3), np.uint8) for _ in range(3))
            self._alpha = np.empty(size, np.uint8)
        if name not in self._backdrops:
            self._backdrops[name] = backdrop(name, size)
        cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR, dst=self._bgr)
        cv2.extractChannel(rgba, 3, dst=self._alpha)
        cv2.merge((self._alpha,) * 3, dst=self._alpha3)
        if straight:
            cv2.multiply(self._bgr, self._alpha3, dst=self._bgr, scale=1 / 255)
        cv2.bitwise_not(self._alpha3, dst=self._alpha3)
        cv2.multiply(self._backdrops[name], self._alpha3, dst=self._behind, scale=1 / 255)
        cv2.add(self._bgr, self._behind, dst=self._bgr)
        ok, jpeg = cv2.imencode(".jpg", self._bgr, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
        if not ok:
            raise RuntimeError(f"cv2.imencode refused a {size[1]}x{size[0]} picture")
        return jpeg.tobytes()
