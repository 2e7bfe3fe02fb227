"""Contacts by height and speed."""

import numpy as np
import pytest

from dinar_live.runtime.motion import foot_contacts as fc

LEG = 0.83


def marks_of(height, x, fps=60):
    """Marks [N,2,2,3] of two feet that go together: heel and ball at a height [N] over the floor, x [N], metres."""
    out = np.zeros((len(height), 2, 2, 3))
    out[..., 0] = np.asarray(x)[:, None, None]
    out[..., 1] = np.asarray(height)[:, None, None] + np.array((0.0, fc.BALL_HEIGHT * LEG))
    return out


def step(n=30):
    """A foot that rests for n frames, goes 0.6 m in an arc of 12 cm, and rests again."""
    s = np.linspace(0, 1, n)
    x = np.concatenate([np.zeros(n), 0.6 * s, np.full(n, 0.6)])
    y = np.concatenate([np.zeros(n), 0.12 * np.sin(np.pi * s), np.zeros(n)])
    return y, x


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_a_step_has_two_contacts_whatever_the_size(scale):
    y, x = step()
    found = fc.contacts(marks_of(y, x) * scale, 60, LEG * scale)
    assert [(c.side, c.mark) for c in found] == [(s, m) for s in (0, 1) for m in (0, 1) for _ in (0, 1)]
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first.first == 0 and abs(first.stop - 30) <= 2
        assert abs(second.first - 59) <= 2 and second.stop == 90


def test_a_foot_that_rests_high_up_is_no_contact_but_a_drifting_floor_is():
    n = 240
    marks = marks_of(np.zeros(n), np.zeros(n))
    marks[:, 0, :, 1] += 0.3  # one foot in the air, still
    assert {c.side for c in fc.contacts(marks, 60, LEG)} == {1}
    drift = marks_of(np.linspace(0, 0.4, n), np.zeros(n))
    assert fc.contact_flags(drift, 60, LEG).all()


def test_hysteresis():
    """A speed between the two thresholds keeps a contact and makes none."""
    between = 0.5 * (fc.SLOW_ON + fc.SLOW_OFF) * LEG / 60
    steps = np.concatenate([np.zeros(20), np.full(5, between), np.full(5, 0.02), np.full(5, between)])
    flags = fc.contact_flags(marks_of(np.zeros(36), np.concatenate([[0], np.cumsum(steps)])), 60, LEG)[
        :, 0, 0
    ]
    assert flags[:26].all() and not flags[27:].any()


def test_a_shuffling_foot_is_cut_in_pieces():
    n = 300
    found = fc.contacts(marks_of(np.zeros(n), np.linspace(0, 0.5, n)), 60, LEG)
    paths = [
        fc.extent(marks_of(np.zeros(n), np.linspace(0, 0.5, n))[c.first : c.stop, c.side, c.mark])
        for c in found
    ]
    assert len(found) == 4 * 7 and max(paths) <= 0.09 * LEG


def test_short_and_empty_clips():
    assert fc.contacts(marks_of([0.0], [0.0]), 60, LEG) == []
    assert fc.contacts(marks_of([0.0, 0.0], [0.0, 0.5]), 60, LEG) == []


def test_lowest_near():
    rng = np.random.default_rng(1)
    values = rng.normal(size=40)
    for reach in (0, 1, 3, 7, 60):
        wanted = [values[max(0, i - reach) : i + reach + 1].min() for i in range(40)]
        np.testing.assert_array_equal(fc.lowest_near(values, reach), wanted)
