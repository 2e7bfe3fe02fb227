"""PersonFollower: one person from frame to frame; the detector is only asked when nobody is followed."""

from __future__ import annotations

import numpy as np

from .body_network import BodySeen
from .landmarker import Landmarker
from .landmarks import Landmarks
from .people import chosen

_BOTH = ("left", "right")
_TURNS = (("left",), (), ("right",))  # hands of each frame; the face where there is none


class PersonFollower:
    """Landmarks of the same person, frame by frame. turns: a frame shows the left hand, the next the face, the next the
    right hand, for those in a hurry; else all of them each time. person: which one of the first frame, from the left;
    by default the largest. losses: how often the person was lost."""

    def __init__(
        self,
        landmarker: Landmarker,
        *,
        turns: bool = False,
        person: int | None = None,
    ):
        self._landmarker = landmarker
        self._turns = turns
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
        hands = _TURNS[self._frames % len(_TURNS)] if self._turns else _BOTH
        face = not (self._turns and hands)
        return self._landmarker.complete(rgb, seen, mask=False, hands=hands, face=face)

    def _find(self, rgb: np.ndarray, source: str) -> BodySeen | None:
        if self._person is None:
            return self._landmarker.largest(rgb)
        people = self._landmarker.people(rgb)
        if not people:
            return None
        seen = people[chosen(people, self._person, source)]
        self._person = None  # from here on it is followed; after a loss the largest is taken
        return seen
