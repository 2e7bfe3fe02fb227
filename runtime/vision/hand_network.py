"""HandNetwork: 21 points of each hand, found at the body's wrists."""

from __future__ import annotations

import math

import numpy as np

from .landmarks import HAND_POINTS, Crop, HandLandmarks
from .models import ModelFolder
from .network import Network
from .squares import drawn, shifted, square_between, turned_back

# wrist, index and pinky of each hand among the body's points
WRIST_INDEX_PINKY = {"left": (15, 19, 17), "right": (16, 20, 18)}
_VISIBLE = 0.3
_SMALLEST = 8  # pixels a side


class HandNetwork:
    """MediaPipe's hands: a first network puts the square right, a second finds the points."""

    def __init__(self, models: ModelFolder, threads: int = 1):
        self._recrop = Network("hand_recrop", models, threads)
        self._points = Network("hand", models, threads)

    def see(
        self, rgb: np.ndarray, points: np.ndarray, visibility: np.ndarray, side: str
    ) -> HandLandmarks | None:
        """The hand "left" or "right" of a body with these points [33+,2]; None if it is hidden or too small."""
        at = list(WRIST_INDEX_PINKY[side])
        if visibility[at].min() <= _VISIBLE:
            return None
        wrist, index, pinky = points[at]
        crop = self._square(rgb, wrist, (2 * index + pinky) / 3)
        return None if crop is None else self.see_in(rgb, crop)

    def _square(self, rgb: np.ndarray, wrist: np.ndarray, middle: np.ndarray) -> Crop | None:
        d = middle - wrist
        side = 2 * float(np.hypot(*d))
        if side * 2.7 < _SMALLEST:
            return None
        angle = math.radians(90) - math.atan2(-d[1], d[0])
        first = shifted(Crop(float(middle[0]), float(middle[1]), side, angle), 0, -0.1, 2.7)
        n = self._recrop.side
        a, b = self._recrop(drawn(rgb, first, n))["output_crop"].reshape(2, 2).astype(np.float64)
        a, b = first.to_picture(np.stack([a, b]), n)
        crop = square_between(a, b, -90, 1.0, -0.1)
        return crop if _SMALLEST < crop.side < 2 * max(rgb.shape) else None

    def see_in(self, rgb: np.ndarray, crop: Crop) -> HandLandmarks:
        """The hand in a square, its fingers upwards."""
        n = self._points.side
        out = self._points(drawn(rgb, crop, n))
        xy = out["Identity"].reshape(HAND_POINTS, 3)[:, :2].astype(np.float64)
        world = out["Identity_3"].reshape(HAND_POINTS, 3).astype(np.float64)
        score = float(np.clip(out["Identity_1"].ravel()[0], 0, 1))
        return HandLandmarks(crop.to_picture(xy, n), turned_back(world, crop), score)
