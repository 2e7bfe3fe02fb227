"""Landmarker: a picture in, `Landmarks` of the people in it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .body_network import BodyNetwork, BodySeen
from .face_network import FaceNetwork
from .hand_network import HandNetwork
from .landmarks import Landmarks
from .masks import sharp_mask
from .models import ModelFolder
from .people import chosen, distinct, report
from .person_detector import Found, PersonDetector

MOST_PEOPLE = 12
_A_PERSON = 0.5  # the body network's score
_A_PART = 0.5  # a hand's or a face's
_WIDE = 1.25  # length by width of a picture; then people are small in a square around all of it
_ONLY_JUST = 0.2  # the detector's, where it is sure of nobody


@dataclass(frozen=True, eq=False)
class Sight:
    """One person of a picture. landmarks; people: how many were seen; number: which one, 1 is leftmost; report:
    one line on who was seen and taken."""

    landmarks: Landmarks
    people: int
    number: int
    report: str


class Landmarker:
    """All the networks together. body: "full", "lite" or "heavy". threads: of each network, 0 = all cores. hands,
    face: whether to look for them. Raises ModelError where files are wanting. Not for two threads at once."""

    def __init__(
        self,
        models: ModelFolder,
        *,
        body: str = "full",
        threads: int = 1,
        hands: bool = True,
        face: bool = True,
    ):
        self._detector = PersonDetector(models, threads)
        self._body = BodyNetwork(models, body, threads)
        self._hands = HandNetwork(models, threads) if hands else None
        self._face = FaceNetwork(models, threads) if face else None

    def people(self, rgb: np.ndarray) -> list[BodySeen]:
        """Everybody in the picture u8[H,W,3], from left to right."""
        found = self._detector.find(rgb)
        short, long = sorted(rgb.shape[:2])
        if long > _WIDE * short:
            more = self._detector.find_in_parts(rgb, short)
            found += [f for f in more if not any(_near(f, other) for other in found)]
        for parts in (2, 4):
            found = found or self._detector.find_in_parts(rgb, long / parts)
        found = found or self._detector.find(rgb, _ONLY_JUST)
        seen = [self._body.see_again(rgb, f.crop) for f in found[:MOST_PEOPLE]]
        return distinct([s for s in seen if s.score >= _A_PERSON])

    def largest(self, rgb: np.ndarray) -> BodySeen | None:
        """The largest person that the detector sees at one look, for videos; None without."""
        found = self._detector.find(rgb)
        seen = self._body.see_again(rgb, max(found, key=lambda f: f.crop.side).crop) if found else None
        return seen if seen is not None and seen.score >= _A_PERSON else None

    def follow(self, rgb: np.ndarray, before: BodySeen) -> BodySeen | None:
        """The same person in the next frame, without the detector; None if lost."""
        seen = self._body.see(rgb, before.next_crop)
        return seen if seen.score >= _A_PERSON else None

    def look(
        self, rgb: np.ndarray, source: str = "picture", *, person: int | None = None, mask: bool = True
    ) -> Sight:
        """The person who is meant (`people.chosen`), with everything found. source: what errors call the picture.
        Raises InputError where nobody is found, or not as many as `person`."""
        people = self.people(rgb)
        taken = chosen(people, person, source)
        others = [p for i, p in enumerate(people) if i != taken]
        found = self.complete(rgb, people[taken], others=others, mask=mask)
        return Sight(found, len(people), taken + 1, report(people, taken))

    def complete(
        self,
        rgb: np.ndarray,
        seen: BodySeen,
        *,
        others: Sequence[BodySeen] = (),
        mask: bool = True,
        hands: Sequence[str] = ("left", "right"),
        face: bool = True,
    ) -> Landmarks:
        """A person's landmarks with hands, face and mask. others: people whose pixels are not this one's."""
        parts: dict = {}
        if self._hands is not None:
            for side in hands:
                hand = self._hands.see(rgb, seen.points, seen.visibility, side)
                parts[f"{side}_hand"] = hand if hand is not None and hand.score >= _A_PART else None
        if self._face is not None and face:
            found = self._face.see(rgb, seen.points)
            parts["face"] = found if found is not None and found.score >= _A_PART else None
        if mask:
            parts["mask"] = sharp_mask(rgb, seen, others)
        return seen.landmarks(**parts)


def _near(a: Found, b: Found) -> bool:
    """Whether two finds are of one person, as far as their squares tell."""
    gap = np.hypot(a.crop.x - b.crop.x, a.crop.y - b.crop.y)
    return bool(gap < 0.1 * min(a.crop.side, b.crop.side))
