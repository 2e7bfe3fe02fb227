"""PersonFollower: one person from frame to frame; the detector is only asked when nobody is followed."""

from __future__ import annotations

import numpy as np

from .body_network import BodySeen
from .landmarker import Landmarker
from .landmarks import Landmarks
from .people import chosen

_BOTH = ("left", "right")


class PersonFollower:
    """Landmarks of the same person, frame by frame. alternate_hands: the left hand in one frame, the right in the
    next, which costs half. face: whether to look at it. person: which one of the first frame, from the left; by
    default the largest."""

    def __init__(
        self,
        landmarker: Landmarker,
        *,
        alternate_hands: bool = False,
        face: bool = True,
        person: int | None = None,
    ):
        self._landmarker = landmarker
        self._alternate = alternate_hands
        self._face = face
        self._person = person
        self._seen: BodySeen | None = None
        self._frames = 0
        self.losses = 0

    def reset(self) -> None:
        """Forget the person: the next frame is searched."""
        self._seen = None

    def see(self, rgb: np.ndarray, source: str = "video") -> Landmarks | None:
        """The person in the next frame u8[H,W,3], without a mask; None where nobody is. source: what errors call
        it. Raises InputError where `person` is not there at the start."""
        seen = self._landmarker.follow(rgb, self._seen) if self._seen is not None else None
        if seen is None:
            self.losses += self._seen is not None
            seen = self._find(rgb, source)
        self._seen = seen
        if seen is None:
            return None
        self._frames += 1
        hands = (_BOTH[self._frames % 2],) if self._alternate else _BOTH
        return self._landmarker.complete(rgb, seen, mask=False, hands=hands, face=self._face)

    def _find(self, rgb: np.ndarray, source: str) -> BodySeen | None:
        if self._person is None:
            return self._landmarker.largest(rgb)
        people = self._landmarker.people(rgb)
        if not people:
            return None
        seen = people[chosen(people, self._person, source)]
        self._person = None  # from here on it is followed; after a loss the largest is taken
        return seen
