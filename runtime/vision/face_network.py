"""FaceNetwork: 468 points of the face, found where the body's points say that a head is."""

from __future__ import annotations

import math

import numpy as np

from .landmarks import FACE_POINTS, Crop, FaceLandmarks
from .models import ModelFolder
from .network import Network, sigmoid
from .squares import anchors, drawn, shifted

_HEAD = 11  # the first points of the body are the head's
_RIGHT_EYE, _LEFT_EYE = 5, 2
_EYE_CORNERS = (33, 263)  # of the face's points: the outer ones, right and left
_SURE = 0.5  # of the detector; it also fires on the backs of heads


class FaceNetwork:
    """MediaPipe's face detector and face points."""

    def __init__(self, models: ModelFolder, threads: int = 1):
        self._detector = Network("face_detection", models, threads)
        self._points = Network("face", models, threads)
        self._anchors = anchors(self._detector.side, (8, 16), (2, 6))

    def see(self, rgb: np.ndarray, points: np.ndarray) -> FaceLandmarks | None:
        """The face of a body with these points [33+,2]; None if the detector sees none."""
        crop = self._find(rgb, points[:_HEAD])
        if crop is None:
            return None
        return self.see_in(rgb, square_of(self.see_in(rgb, crop).xyz))

    def _find(self, rgb: np.ndarray, head: np.ndarray) -> Crop | None:
        n = self._detector.side
        window = _around(head, head[_LEFT_EYE] - head[_RIGHT_EYE], 3)
        out = self._detector(drawn(rgb, window, n), -1, 1)
        score = sigmoid(out["classificators"][0, :, 0])
        best = int(score.argmax())
        if score[best] < _SURE:
            return None
        keys = out["regressors"][0, best, 4:].reshape(6, 2) / n + self._anchors[best]
        keys = window.to_picture(keys.astype(np.float64) * n, n)
        return shifted(_around(keys, keys[1] - keys[0], 1), 0, -0.1, 2.0)

    def see_in(self, rgb: np.ndarray, crop: Crop) -> FaceLandmarks:
        """The face in a square, upright."""
        n = self._points.side
        out = self._points(drawn(rgb, crop, n))
        xyz = out["conv2d_21"].reshape(FACE_POINTS, 3).astype(np.float64)
        xy = crop.to_picture(xyz[:, :2], n)
        score = float(sigmoid(out["conv2d_31"].ravel()[0]))
        return FaceLandmarks(np.concatenate([xy, xyz[:, 2:] * crop.side / n], axis=1), score)


def square_of(xyz: np.ndarray) -> Crop:
    """Where to look again, or in the next frame, for a face with these points [468,3]."""
    right, left = xyz[list(_EYE_CORNERS), :2].astype(np.float64)
    angle = math.atan2(left[1] - right[1], left[0] - right[0])
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    turned = xyz[:, :2] @ turn
    low, high = turned.min(0), turned.max(0)
    centre = turn @ ((low + high) / 2)
    return Crop(float(centre[0]), float(centre[1]), 1.5 * max(float((high - low).max()), 1.0), angle)


def _around(points: np.ndarray, right: np.ndarray, scale: float) -> Crop:
    """A square around points, with `right` along its right side."""
    low, high = points.min(0), points.max(0)
    x, y = (low + high) / 2
    side = max(float((high - low).max()), 1.0)
    return Crop(float(x), float(y), scale * side, math.atan2(right[1], right[0]))
