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
from .person_detector import PersonDetector

MOST_PEOPLE = 12
_A_PERSON = 0.5  # the body network's score
_A_PART = 0.5  # a hand's or a face's
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
        found = found or self._detector.find_small(rgb)
        found = found or self._detector.find(rgb, _ONLY_JUST)
        seen = [self._body.see_again(rgb, f.crop) for f in found[:MOST_PEOPLE]]
        return distinct([s for s in seen if s.score >= _A_PERSON])

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
