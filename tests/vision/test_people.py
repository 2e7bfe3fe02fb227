"""Who is in a picture, and which one is meant."""

import dataclasses

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.people import chosen, described, distinct, hidden, outside, report, whole


def test_a_whole_person(stick):
    one = stick()
    assert whole(one) and described(one).startswith("whole, 3")


@pytest.mark.parametrize(
    "y, height, parts",
    [(20, 420, ("feet",)), (20, 560, ("knees", "feet")), (-40, 400, ("head",)), (-900, 400, None)],
)
def test_cut_off(stick, y, height, parts):
    one = stick(y=float(y), height=float(height))
    assert not whole(one)
    assert outside(one) == parts if parts else len(outside(one)) == 5
    assert "outside the picture" in described(one)


def test_hidden_behind_something(stick):
    one = stick()
    covered = dataclasses.replace(one, visibility=np.where(np.arange(33) >= 25, 0.1, 1.0).astype(np.float32))
    assert hidden(covered) == ("knees", "feet") and not whole(covered)
    assert "partly hidden (knees, feet)" in described(covered)


def test_the_same_person_counts_once(stick):
    a, b = stick(x=90, height=300, score=0.7), stick(x=93, y=22, height=300, score=0.9)
    c = stick(x=210, height=300)
    assert distinct([c, b, a]) == [b, c] and distinct([a, b, c]) == [a, c]


def test_who_is_meant(stick):
    size = (400, 600)
    cut = stick(size, 100, -200, 600.0)
    small, large = stick(size, 300, 100, 200.0), stick(size, 450, 20, 360.0)
    people = distinct([large, small, cut])
    assert chosen(people, None, "x") == 2 and chosen(people, 2, "x") == 1
    assert chosen([cut], None, "x") == 0  # nobody is whole
    text = report(people, 2)
    assert "saw 3 people" in text and "1 cut off" in text and "took 3" in text and "--person N" in text
    assert report([small], 0).startswith("saw 1 person: whole")


@pytest.mark.parametrize("person", [0, 3, -1])
def test_nobody_or_not_as_many(stick, person):
    with pytest.raises(InputError, match=r"me\.jpg: no person found"):
        chosen([], None, "me.jpg")
    with pytest.raises(InputError, match=rf"me\.jpg: --person {person}: saw 2 people, expected 1 to 2"):
        chosen([stick(), stick()], person, "me.jpg")
