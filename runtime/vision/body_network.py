"""BodyNetwork: 33 points of a person in 2D and 3D, and a coarse mask, from one square of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .landmarks import POINTS, Crop, Landmarks
from .models import ModelFolder
from .network import Network, sigmoid
from .squares import drawn, square_between, to_cv, turned_back

SIZES = ("full", "lite", "heavy")
_ALL = 39  # 33 of the body, two that say where to look next, four unused
_CELL = 4  # pixels of the square per cell of the heat maps
_AROUND = 3  # cells to each side


@dataclass(frozen=True, eq=False)
class BodySeen:
    """What the network said of one square. points f64[39,2] pixels of the picture; visibility f32[33] 0..1; world
    f64[33,3] as in `Landmarks`; score 0..1; probability f32[256,256]: the person within the square, 0..1."""

    size: tuple[int, int]
    crop: Crop
    points: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    score: float
    probability: np.ndarray

    @property
    def next_crop(self) -> Crop:
        """Where to look again, or in the next frame: by the two auxiliary points."""
        return square_between(self.points[33], self.points[34], 90, 1.25)

    def mask(self) -> np.ndarray:
        """The coarse mask over the whole picture, f32[H,W] in 0..1."""
        m = to_cv(self.crop.matrix(len(self.probability)))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.probability, m, self.size[::-1], flags=flags)

    def landmarks(self, **parts) -> Landmarks:
        """As the data class; parts: hands, face, mask."""
        return Landmarks(
            self.size, self.points[:POINTS], self.visibility, self.world, self.score, self.crop, **parts
        )


class BodyNetwork:
    """MediaPipe's pose landmarks. kind: one of SIZES."""

    def __init__(self, models: ModelFolder, kind: str = "full", threads: int = 1):
        self._network = Network(kind, models, threads)

    def see(self, rgb: np.ndarray, crop: Crop) -> BodySeen:
        """The person within a square of the picture u8[H,W,3]."""
        n = self._network.side
        out = self._network(drawn(rgb, crop, n))
        raw = out["Identity"].reshape(_ALL, 5)
        points = refined(raw[:, :2].astype(np.float64), sigmoid(out["Identity_3"][0]))
        world = out["Identity_4"].reshape(_ALL, 3)[:POINTS].astype(np.float64)
        return BodySeen(
            (rgb.shape[0], rgb.shape[1]),
            crop,
            crop.to_picture(points, n),
            sigmoid(raw[:POINTS, 3]),
            turned_back(world, crop),
            float(np.clip(out["Identity_1"].ravel()[0], 0, 1)),
            sigmoid(out["Identity_2"][0, ..., 0]),
        )

    def see_again(self, rgb: np.ndarray, crop: Crop, times: int = 1) -> BodySeen:
        """As `see`, then again with the square that the points themselves ask for."""
        seen = self.see(rgb, crop)
        for _ in range(times):
            seen = self.see(rgb, seen.next_crop)
        return seen


def refined(xy: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Points [39,2] of the square moved to the centre of mass of their heat maps [h,w,39] nearby, where those say
    anything at all."""
    rows, columns = heat.shape[:2]
    out = xy.copy()
    for k, (x, y) in enumerate(xy):
        c, r = int(x // _CELL), int(y // _CELL)
        if not (0 <= c < columns and 0 <= r < rows):
            continue
        r0, r1 = max(r - _AROUND, 0), min(r + _AROUND + 1, rows)
        c0, c1 = max(c - _AROUND, 0), min(c + _AROUND + 1, columns)
        near = heat[r0:r1, c0:c1, k]
        if near.max() >= 0.5:
            total = near.sum()
            out[k, 0] = _CELL * (near.sum(0) @ np.arange(c0, c1)) / total
            out[k, 1] = _CELL * (near.sum(1) @ np.arange(r0, r1)) / total
    return out
