"""PersonDetector: where in a picture people are, as squares for the body's network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .landmarks import Crop
from .models import ModelFolder
from .network import Network, sigmoid
from .squares import anchors, drawn, square_between

_SAME = 0.3  # overlap of two boxes, intersection over union, of one person
_MOST = 400  # boxes looked at


@dataclass(frozen=True)
class Found:
    """A person: the square to look at, and how sure, 0..1."""

    crop: Crop
    score: float


class PersonDetector:
    """MediaPipe's pose detector: boxes of heads, with the hips and the reach of the whole body."""

    def __init__(self, models: ModelFolder, threads: int = 1):
        self._network = Network("pose_detection", models, threads)
        self._anchors = anchors(self._network.side, (8, 16, 32), (2, 2, 6))

    def find(self, rgb: np.ndarray, threshold: float = 0.5) -> list[Found]:
        """Everybody in the picture u8[H,W,3], the surest first."""
        height, width = rgb.shape[:2]
        return self._find(rgb, Crop(width / 2, height / 2, max(height, width)), threshold)

    def find_in_parts(self, rgb: np.ndarray, side: float, threshold: float = 0.5) -> list[Found]:
        """As `find`, in overlapping squares of that side, pixels: for people who are small in the picture."""
        height, width = rgb.shape[:2]
        found: list[Found] = []
        for y in _centres(height, side):
            for x in _centres(width, side):
                found += self._find(rgb, Crop(x, y, side), threshold)
        return sorted(found, key=lambda f: -f.score)

    def _find(self, rgb: np.ndarray, window: Crop, threshold: float) -> list[Found]:
        n = self._network.side
        out = self._network(drawn(rgb, window, n), -1, 1)
        raw, score = out["Identity"][0], sigmoid(out["Identity_1"][0, :, 0])
        keep = np.flatnonzero(score >= threshold)
        keep = keep[np.argsort(-score[keep], kind="stable")][:_MOST]
        centre = raw[:, :2] / n + self._anchors
        size = raw[:, 2:4] / n
        points = raw[:, 4:].reshape(-1, 4, 2) / n + self._anchors[:, None]
        people = []
        while len(keep):
            same = _overlaps(centre[keep], size[keep])
            weight = score[keep[same]]
            hips, reach = window.to_picture(np.average(points[keep[same], :2], axis=0, weights=weight) * n, n)
            people.append(Found(square_between(hips, reach, 90, 1.25), float(score[keep[0]])))
            keep = keep[~same]
        return people


def _centres(length: float, side: float) -> list[float]:
    if length <= side:
        return [length / 2]
    count = int(np.ceil((length - side) / (0.7 * side))) + 1
    return list(np.linspace(side / 2, length - side / 2, count))


def _overlaps(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Which boxes are of the same person as the first: bool[k]."""
    low, high = centre - size / 2, centre + size / 2
    inside = np.prod(np.clip(np.minimum(high, high[0]) - np.maximum(low, low[0]), 0, None), axis=1)
    union = np.prod(size, axis=1) + np.prod(size[0]) - inside
    same = inside > _SAME * union
    same[0] = True
    return same
