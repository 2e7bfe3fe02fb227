"""Frames of a film together: one shape and one focal length, smooth in time."""

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.solver.film_fit import between, fit_film
from dinar_live.runtime.vision.solver.photo_fit import FitOptions, Picture
from dinar_live.runtime.vision.solver.problem import Own
from dinar_live.runtime.vision.solver.so3 import log


def test_between_is_half_way():
    a = Own(axis_angle_to_matrix(np.zeros((55, 3))), np.zeros(3))
    b = Own(axis_angle_to_matrix(np.full((55, 3), 0.4)), np.ones(3))
    middle = between(a, b, 0.5)
    np.testing.assert_allclose(log(middle.local), 0.2, atol=1e-9)
    np.testing.assert_allclose(middle.transl, 0.5)


def test_a_turning_person_is_found_again(body, actor):
    turns = np.linspace(0, 2 * np.pi, 9)[:-1]
    pictures, truth = [], []
    rng = np.random.default_rng(0)
    for turn in turns:
        one = replace(actor, local=actor.local.copy())
        one.local[0] = axis_angle_to_matrix(np.array([0, turn, 0]))
        marks = one.landmarks(body)
        noisy = marks.points + rng.normal(0, 2.0, marks.points.shape)
        pictures.append(
            Picture(
                type(marks)(marks.size, noisy, marks.visibility, marks.world, 1.0, marks.crop),
                one.pinhole.focal,
            )
        )
        truth.append(one)
    fits = fit_film(pictures, turns.tolist(), body, FitOptions(kind="any", outline=False))
    assert all(np.array_equal(f.betas, fits[0].betas) for f in fits)
    for fit, one in zip(fits, truth, strict=True):
        turned = np.linalg.norm(log(one.local[0].T @ fit.local[0]))
        assert turned < np.radians(8)
        got, true = fit.posed(body).joints[:22], one.posed(body).joints[:22]
        assert np.linalg.norm((got - got[0]) - (true - true[0]), axis=1).mean() < 0.05


def test_too_few_frames_are_refused(body, actor):
    picture = Picture(actor.landmarks(body))
    with pytest.raises(InputError, match="at least 3"):
        fit_film([picture, picture], [0, 1], body)
