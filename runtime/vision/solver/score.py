"""How far a fit can be trusted, and what a photographer should do about it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..landmarks import POINT_NAMES, Landmarks
from .anchors import BASE, FRAME
from .body import SolverBody
from .calibration import PointCalibration, calibration
from .camera import USUAL_STATURE
from .hypotheses import bones_cross
from .photo_fit import PhotoFit
from .silhouette import overlap, silhouette

SIDE = 512  # pixels of the longer side at which body and mask are compared
SEEN = 0.5
EDGE = 0.01  # of the picture's longer side: so far out a point may lie
SMALL = 200  # pixels: a person lower than this has no face and no hands to speak of
# Set on 219 frames of eight synthetic people in all sorts of poses: docs/photo.md, "How far to trust the score".
GOOD, USABLE = 0.78, 0.65
FINE = 0.01  # of the stature: points that are off by less cost nothing
_AT = {name: i for i, name in enumerate(POINT_NAMES)}
_PARTS = {
    "head": ("nose", "left_eye", "right_eye"),
    "hands": ("left_wrist", "right_wrist", "left_index", "right_index"),
    "legs": ("left_knee", "right_knee"),
    "feet": ("left_ankle", "right_ankle", "left_foot_index", "right_foot_index"),
}


@dataclass(frozen=True)
class FitScore:
    """overlap: of the body's silhouette with the mask, intersection over union; points: median distance of the
    points that are seen from where the body has them, share of the stature; value 0..1: both together, 1 is
    perfect. A clothed person reaches 0.85 to 0.95. warnings: sentences for the photographer."""

    overlap: float
    points: float
    value: float
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """good, doubtful or wrong."""
        return "good" if self.value >= GOOD else "doubtful" if self.value >= USABLE else "wrong"

    def __str__(self) -> str:
        return (
            f"score {self.value:.2f} ({self.verdict}): the body covers {100 * self.overlap:.0f} % of the mask, "
            f"points are off by {100 * self.points:.1f} % of the stature"
        )


def score(
    landmarks: Landmarks, fit: PhotoFit, body: SolverBody, points: PointCalibration | None = None
) -> FitScore:
    """Of a fit to a picture. Without a mask the points alone count."""
    posed = fit.posed(body)
    error = _point_error(landmarks, fit, body, points or calibration())
    share = 1.0
    if landmarks.mask is not None:
        seen = silhouette(body, posed, fit.pinhole, fit.size, SIDE)[0]
        small = cv2.resize(landmarks.mask, seen.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
        share = overlap(seen, small)
    value = share * min(1.0, FINE / max(error, 1e-6))
    return FitScore(share, error, value, tuple(_warnings(landmarks, value)))


def _point_error(landmarks: Landmarks, fit: PhotoFit, body: SolverBody, points: PointCalibration) -> float:
    posed = fit.posed(body)
    x = body.anchored(posed, BASE, FRAME, points.offset, np.zeros(0, int)).x
    stature = fit.pinhole.stature(-float(posed.joints[0, 2])) * body.height(fit.betas)[0] / USUAL_STATURE
    distance = np.linalg.norm(fit.pinhole.pixels(x)[0] - landmarks.points, axis=1) / stature
    seen = landmarks.visibility > SEEN
    return float(np.median(distance[seen] if seen.any() else distance))


def _warnings(landmarks: Landmarks, value: float) -> list[str]:
    out = []
    if cut := cut_off(landmarks):
        out.append(
            f"{_listed(cut)} {'is' if cut == ['head'] else 'are'} outside the picture, so the body there is a guess: "
            f"step back until there is air above the head and below the feet"
        )
    if hidden := _hidden(landmarks, cut):
        out.append(f"{_listed(hidden)} cannot be seen well: nothing should stand in front of the person")
    if bones_cross(landmarks, ("hip", "knee"), ("knee", "ankle")):
        out.append("the legs are crossed: stand with the feet apart, or the legs may be mixed up")
    if bones_cross(landmarks, ("elbow", "wrist")):
        out.append("the arms are crossed: hold them a little away from the body")
    tall = float(np.ptp(landmarks.points[:, 1]))
    if tall < SMALL:
        out.append(
            f"the person is only {tall:.0f} pixels tall: come nearer, or take a larger picture (600 is good)"
        )
    if value < USABLE:
        out.append(
            "the body does not fit the picture: this is probably wrong; look at the overlay and take another photo"
        )
    elif value < GOOD:
        out.append(
            "the body fits the picture only roughly: look at the overlay (a coat, a skirt or a bag does that too)"
        )
    return out


def cut_off(landmarks: Landmarks) -> list[str]:
    """The parts of the body that lie outside the picture: of head, hands, legs, feet."""
    height, width = landmarks.size
    margin = EDGE * max(height, width)
    low, high = -margin, np.array([width, height]) + margin
    out = np.any((landmarks.points < low) | (landmarks.points > high), axis=1)
    return [part for part, names in _PARTS.items() if out[[_AT[n] for n in names]].any()]


def _hidden(landmarks: Landmarks, cut: list[str]) -> list[str]:
    visibility = landmarks.visibility
    parts = ("legs", "feet")
    return [p for p in parts if p not in cut and visibility[[_AT[n] for n in _PARTS[p]]].max() < SEEN]


def _listed(parts: list[str]) -> str:
    *most, last = [f"the {p}" for p in parts]
    return f"{', '.join(most)} and {last}" if most else last
