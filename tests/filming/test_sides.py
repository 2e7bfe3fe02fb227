"""Front and back are told apart by how the person turns."""

import numpy as np

from dinar_live.export.filming.sides import mixed_up, steadied, turned_over, wrapped
from dinar_live.runtime.vision.solver.start import root_turn


def turn(n=150, direction=1):
    time = np.linspace(0, 10, n)
    yaw = direction * 2 * np.pi * time / 10 + np.random.default_rng(0).normal(0, 0.05, n)
    return wrapped(yaw), time


def test_a_steady_turn_is_left_alone():
    for direction in (1, -1):
        assert not mixed_up(*turn(direction=direction)).any()


def test_frames_from_behind_that_were_read_as_the_front_are_found():
    for direction in (1, -1):
        yaw, time = turn(direction=direction)
        wrong = np.zeros(len(yaw), bool)
        wrong[[54, 55, 56, 70, 71, 72, 73, 90]] = True
        read = np.where(wrong, wrapped(np.pi - yaw), yaw)
        np.testing.assert_array_equal(mixed_up(read, time), wrong)


def test_somebody_who_stands_still_is_left_alone():
    assert not mixed_up(np.full(50, 0.1), np.arange(50) / 15).any()
    assert not mixed_up(np.array([0.1, 3.0]), np.array([0.0, 1.0])).any()


def test_turned_over_is_the_other_reading(seen):
    for yaw in (0.3, 1.2, 2.8, -0.7):
        forward = root_turn(turned_over(seen(yaw=yaw)).world * [1, -1, -1])[:, 2]
        assert abs(wrapped(np.arctan2(forward[0], forward[2]) - (np.pi - yaw))) < 1e-6
    assert (turned_over(turned_over(seen(yaw=1.0))).world == seen(yaw=1.0).world).all()


def test_looks_are_steadied(film):
    good = film()
    flipped = film(
        yaw=lambda i: float(wrapped(np.pi - good.looks[i].yaw)) if 60 <= i < 66 else good.looks[i].yaw
    )
    np.testing.assert_allclose(
        [k.yaw for k in steadied(flipped.looks)], [k.yaw for k in good.looks], atol=1e-9
    )
