"""Landmarks: what the networks see of one person in one picture. The detectors write it, the solver reads it.

Conventions, for every field:

- `xy` and `points`: pixels of the upright picture (EXIF rotation applied), x right, y down, row 0 on top; the
  centre of the pixel in column i, row j is (i + 0.5, j + 0.5). Points may lie outside the picture.
- `world`: metres on the camera's axes (OpenCV: x right, y down, z away from the camera), as if the person were
  looked at straight on, in the middle of the picture. The origin is between the hips (hands: in the hand).
- left and right are the person's own.
- The order of the points is MediaPipe's; POINT_NAMES has the body's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.validate import checked

POINT_NAMES = (
    "nose",
    *("left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
    *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"),
    *("left_foot_index", "right_foot_index"),
)
POINTS = len(POINT_NAMES)
HAND_POINTS = 21
FACE_POINTS = 468


@dataclass(frozen=True)
class Crop:
    """A square of the picture, turned: centre x, y and side in pixels; angle in radians, clockwise as seen."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def __post_init__(self):
        values = (self.x, self.y, self.side, self.angle)
        if not all(math.isfinite(v) for v in values) or self.side <= 0:
            raise InputError(f"Crop: got {values}, expected finite numbers and a side above 0")

    def matrix(self, n: int) -> np.ndarray:
        """f64[2,3]: pixels of the picture to pixels of this square drawn n x n, both with centres at +0.5."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        turn = n / self.side * np.array([[c, s], [-s, c]])
        return np.concatenate([turn, (n / 2 - turn @ [self.x, self.y])[:, None]], axis=1)

    def to_picture(self, xy: np.ndarray, n: int) -> np.ndarray:
        """Points [k,2] of this square drawn n x n, as pixels of the picture."""
        m = self.matrix(n)
        return (xy - m[:, 2]) @ np.linalg.inv(m[:, :2]).T


@dataclass(frozen=True, eq=False)
class HandLandmarks:
    """A hand. xy f32[21,2] pixels; world f32[21,3] metres; score 0..1: how sure it is that this is a hand."""

    xy: np.ndarray
    world: np.ndarray
    score: float

    def __post_init__(self):
        _freeze(self, "xy", (HAND_POINTS, 2), 1e6)
        _freeze(self, "world", (HAND_POINTS, 3), 10.0)
        _unit(self, "score")


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """A face. xyz f32[468,3]: x, y in pixels, z on the same scale, away from the camera; score 0..1: how sure it
    is that this is a face."""

    xyz: np.ndarray
    score: float

    def __post_init__(self):
        _freeze(self, "xyz", (FACE_POINTS, 3), 1e6)
        _unit(self, "score")


@dataclass(frozen=True, eq=False)
class Landmarks:
    """One person in one picture.

    size: (height, width) of the picture, pixels. points f32[33,2], visibility f32[33] in 0..1, world f32[33,3]:
    see above. score 0..1: how sure it is that this is a person. crop: the square that the body's network saw.
    left_hand, right_hand, face: None where none was seen. mask f32[H,W] in 0..1, how much of each pixel is the
    person; None if not asked for.
    """

    size: tuple[int, int]
    points: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    score: float
    crop: Crop
    left_hand: HandLandmarks | None = None
    right_hand: HandLandmarks | None = None
    face: FaceLandmarks | None = None
    mask: np.ndarray | None = None

    def __post_init__(self):
        height, width = self.size
        if min(height, width) < 1:
            raise InputError(f"Landmarks.size: got {self.size}, expected a height and a width above 0")
        object.__setattr__(self, "size", (int(height), int(width)))
        _freeze(self, "points", (POINTS, 2), 1e6)
        _freeze(self, "visibility", (POINTS,), 1.0)
        _freeze(self, "world", (POINTS, 3), 100.0)
        _unit(self, "score")
        if self.mask is not None:
            _freeze(self, "mask", self.size, 1.0)

    @property
    def hands(self) -> dict[str, HandLandmarks]:
        """The hands that were seen, by "left" and "right"."""
        both = {"left": self.left_hand, "right": self.right_hand}
        return {side: hand for side, hand in both.items() if hand is not None}


def _freeze(thing, field: str, shape: tuple[int, ...], limit: float) -> None:
    name = f"{type(thing).__name__}.{field}"
    object.__setattr__(thing, field, checked(name, getattr(thing, field), shape, limit))


def _unit(thing, field: str) -> None:
    value = float(getattr(thing, field))
    if not 0 <= value <= 1:
        raise InputError(f"{type(thing).__name__}.{field}: got {value:g}, expected 0 to 1")
    object.__setattr__(thing, field, value)
