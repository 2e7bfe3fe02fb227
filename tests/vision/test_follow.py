"""One person from frame to frame, with a landmarker that notes what it is asked."""

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.follow import PersonFollower

FRAME = np.zeros((400, 300, 3), np.uint8)


class Noted:
    """A landmarker that sees `people`; follow loses them where `lost`."""

    def __init__(self, *people):
        self.seen, self.lost, self.asked = list(people), False, []

    def largest(self, rgb):
        self.asked.append("detector")
        return self.seen[0] if self.seen else None

    def people(self, rgb):
        self.asked.append("everybody")
        return self.seen

    def follow(self, rgb, before):
        self.asked.append("follow")
        return None if self.lost else before

    def complete(self, rgb, seen, *, mask, hands, face):
        self.asked.append((*hands, "face") if face else hands)
        return seen.landmarks()


def test_the_detector_is_asked_when_nobody_is_followed(stick):
    noted = Noted(stick())
    follower = PersonFollower(noted)
    for _ in range(3):
        assert follower.see(FRAME) is not None
    assert [a for a in noted.asked if isinstance(a, str)] == ["detector", "follow", "follow"]
    noted.lost, noted.seen = True, []
    assert follower.see(FRAME) is None and follower.see(FRAME) is None
    assert noted.asked[-3:] == ["follow", "detector", "detector"] and follower.losses == 1
    noted.lost, noted.seen = False, [stick()]
    assert follower.see(FRAME) is not None and follower.losses == 1


def test_hands_and_face_take_turns(stick):
    noted = Noted(stick())
    follower = PersonFollower(noted, turns=True)
    for _ in range(6):
        follower.see(FRAME)
    parts = [a for a in noted.asked if isinstance(a, tuple)]
    assert sorted(parts[:3]) == [("face",), ("left",), ("right",)] and parts[:3] == parts[3:]
    follower = PersonFollower(noted)
    follower.see(FRAME)
    assert noted.asked[-1] == ("left", "right", "face")


def test_a_number_from_the_left(stick):
    left, right = stick(x=80.0), stick(x=220.0)
    follower = PersonFollower(Noted(left, right), person=2)
    found = follower.see(FRAME)
    assert found is not None and found.points[0, 0] == pytest.approx(220)
    with pytest.raises(InputError, match="film: --person 3: saw 2 people"):
        PersonFollower(Noted(left, right), person=3).see(FRAME, "film")
