"""Other readings of the same points: networks mix up left and right, of the legs under a skirt, or of a whole person
whom they take for seen from behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..landmarks import POINT_NAMES, FaceLandmarks, Landmarks
from .anchors import MIRROR

SURE_OF_A_FACE = 0.9
_AT = {name: i for i, name in enumerate(POINT_NAMES)}
_LEGS = np.array(
    [_AT[f"{s}_{p}"] for p in ("knee", "ankle", "heel", "foot_index") for s in ("left", "right")]
)
_RIGHT_EYE, _LEFT_EYE = 33, 263  # outer corners among the 468 points of the face


def readings(landmarks: Landmarks) -> list[Landmarks]:
    """The landmarks as they should be read, first the likeliest: all of them are to be tried."""
    if _seems_turned_round(landmarks):
        landmarks = _with_sides_swapped(landmarks)
    if landmarks.face is not None and _mirrored(landmarks.face, landmarks):
        landmarks = replace(landmarks, face=None)
    out = [landmarks]
    if bones_cross(landmarks, ("hip", "knee"), ("knee", "ankle")):
        order = np.arange(len(POINT_NAMES))
        order[_LEGS] = MIRROR[_LEGS]
        out.append(_reordered(landmarks, order))
    return out


def bones_cross(landmarks: Landmarks, *bones: tuple[str, str]) -> bool:
    """Whether a left bone crosses a right one in the picture. bones: names of their two ends."""
    xy = landmarks.points.astype(np.float64)
    sides = [
        [(xy[_AT[f"{side}_{a}"]], xy[_AT[f"{side}_{b}"]]) for a, b in bones] for side in ("left", "right")
    ]
    return any(_cross(*p, *q) for p in sides[0] for q in sides[1])


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    side = lambda p, q, r: (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])  # noqa: E731
    return bool(side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0)


def _across(landmarks: Landmarks) -> np.ndarray:
    """From the right to the left shoulder in the picture: to the right for somebody seen from the front, if the
    head is up."""
    across = landmarks.points[_AT["left_shoulder"]] - landmarks.points[_AT["right_shoulder"]]
    up = landmarks.points[[_AT["left_shoulder"], _AT["right_shoulder"]]].mean(0) - landmarks.points[
        [_AT["left_hip"], _AT["right_hip"]]
    ].mean(0)
    return across if up[1] <= 0 else -across


def _seems_turned_round(landmarks: Landmarks) -> bool:
    """A face is seen, but the shoulders are those of somebody seen from behind."""
    face = landmarks.face
    return face is not None and face.score >= SURE_OF_A_FACE and bool(_across(landmarks)[0] < 0)


def _mirrored(face: FaceLandmarks, landmarks: Landmarks) -> bool:
    """Whether the face's eyes lie the other way round than the shoulders."""
    eyes = face.xyz[_LEFT_EYE, :2] - face.xyz[_RIGHT_EYE, :2]
    return bool(eyes @ _across(landmarks) < 0)


def _with_sides_swapped(landmarks: Landmarks) -> Landmarks:
    swapped = _reordered(landmarks, MIRROR)
    return replace(swapped, left_hand=landmarks.right_hand, right_hand=landmarks.left_hand)


def _reordered(landmarks: Landmarks, order: np.ndarray) -> Landmarks:
    return replace(
        landmarks,
        points=landmarks.points[order],
        visibility=landmarks.visibility[order],
        world=landmarks.world[order],
    )
