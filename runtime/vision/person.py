"""Photos of one person -> what each shows: landmarks, mask, the body that fits, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError

from .landmarker import Landmarker, Sight
from .landmarks import Landmarks
from .overlay import overlay
from .pictures import Picture
from .solver.body import SolverBody
from .solver.expression import fit_expression
from .solver.photo_fit import FitOptions, PhotoFit, fit_photos, open_solver_body
from .solver.photo_fit import Picture as SolverPicture
from .solver.score import USABLE, FitScore, cut_off, score

LEAST_OVERLAP = 0.35  # of body and mask; below, whatever was fitted is not this person


@dataclass(frozen=True, eq=False)
class PersonPhoto:
    """A photo and what was understood. report: one line on who was seen and taken."""

    picture: Picture
    landmarks: Landmarks
    fit: PhotoFit
    score: FitScore
    report: str

    @property
    def side(self) -> str:
        """From where the person is seen, as the fit has it: the front, behind, the left, the right."""
        x, _, z = self.fit.local[0][:, 2]  # where the pelvis looks: x to the picture's right, z to the camera
        if abs(z) >= abs(x):
            return "the front" if z > 0 else "behind"
        return "the left" if x < 0 else "the right"

    @property
    def mask(self) -> np.ndarray:
        """The person in white, u8[H,W]."""
        if self.landmarks.mask is None:
            raise InputError(f"{self.picture.name}: no mask was made")
        return np.round(255 * self.landmarks.mask).astype(np.uint8)

    def overlay(self, body: SolverBody | None = None) -> np.ndarray:
        """The body over the photo, u8[h,w,3]."""
        return overlay(self.picture.rgb, self.landmarks, self.fit, body or open_solver_body())


def look_at(
    pictures: Sequence[Picture],
    landmarker: Landmarker,
    *,
    masks: Sequence[np.ndarray | None] = (),
    person: int | None = None,
) -> list[Sight]:
    """What the networks see. masks: f32[H,W] in 0..1 of the person, instead of the network's; None: a picture's own
    transparency, else the network's. person: number from the left, for pictures with several people. Raises
    InputError where nobody is found."""
    sights = []
    for i, picture in enumerate(pictures):
        given = masks[i] if i < len(masks) else None
        if given is None and picture.alpha is not None:
            given = picture.alpha.astype(np.float32) / 255
        sight = landmarker.look(picture.rgb, picture.name, person=person, mask=given is None)
        if given is not None:
            sight = replace(sight, landmarks=replace(sight.landmarks, mask=given))
        sights.append(sight)
    return sights


def fit_person(
    pictures: Sequence[Picture],
    sights: Sequence[Sight],
    *,
    body: SolverBody | None = None,
    options: FitOptions | None = None,
) -> list[PersonPhoto]:
    """Fit the body to what was seen: one shape for all pictures. Raises InputError naming a picture whose person is
    cut off at the head or the hips, or whom the body does not fit at all."""
    body = body or open_solver_body()
    for picture, sight in zip(pictures, sights, strict=True):
        _refuse_half_a_person(picture.name, sight.landmarks)
    asked = [SolverPicture(s.landmarks, p.focal_pixels) for p, s in zip(pictures, sights, strict=True)]
    fits = fit_photos(asked, body, options)
    out = []
    for picture, sight, fit in zip(pictures, sights, fits, strict=True):
        fit = replace(fit, expression=fit_expression(sight.landmarks, fit, body))
        found = score(sight.landmarks, fit, body)
        if found.overlap < LEAST_OVERLAP:
            raise InputError(
                f"{picture.name}: the body does not fit what was seen ({found}); expected one person, upright, from "
                f"head to feet, arms a little away from the body"
            )
        out.append(PersonPhoto(picture, sight.landmarks, fit, found, sight.report))
    return out


def _refuse_half_a_person(name: str, landmarks: Landmarks) -> None:
    cut = cut_off(landmarks)
    if "head" in cut or "legs" in cut:
        parts = " and ".join(f"the {p}" for p in cut)
        raise InputError(
            f"{name}: {parts} lie outside the picture; expected the whole person, from head to feet: step back until "
            f"there is air above and below"
        )


def scaled_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask u8[h,w] as f32[H,W] in 0..1 of `size` (height, width)."""
    scaled = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA) if mask.shape != size else mask
    return scaled.astype(np.float32) / 255


__all__ = ["USABLE", "PersonPhoto", "fit_person", "look_at", "scaled_mask"]
