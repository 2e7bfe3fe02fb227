"""The score and what a photographer is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.solver.photo_fit import Picture, fit_photos
from dinar_live.runtime.vision.solver.score import cut_off, score

MIDDLE = np.array([240, 320])


@pytest.fixture
def fitted(body, actor):
    landmarks = actor.landmarks(body, mask=True)
    return landmarks, fit_photos([Picture(landmarks, actor.pinhole.focal)], body)[0]


def test_a_good_fit_scores_well_and_warns_of_nothing(body, fitted):
    found = score(*fitted, body)
    assert found.value > 0.9 and found.verdict == "good" and found.warnings == ()
    assert str(found).startswith("score 0.9")


def test_a_body_elsewhere_scores_badly(body, fitted):
    landmarks, fit = fitted
    found = score(landmarks, replace(fit, transl=fit.transl + (0.4, 0, 0)), body)
    assert found.verdict == "wrong" and found.points > 0.1
    assert any("probably wrong" in w for w in found.warnings)


def test_a_body_turned_about_the_line_of_sight_scores_worse(body, fitted):
    landmarks, fit = fitted
    local = fit.local.copy()
    local[16] = local[16] @ axis_angle_to_matrix([0, 0, 0.9])
    assert score(landmarks, replace(fit, local=local), body).value < score(landmarks, fit, body).value - 0.02


@pytest.mark.parametrize(
    "points, parts",
    [([27, 28], ["feet"]), ([25, 26, 27, 28, 31, 32], ["legs", "feet"]), ([0], ["head"]), ([15], ["hands"])],
)
def test_what_is_cut_off_is_named(body, fitted, points, parts):
    landmarks, fit = fitted
    moved = landmarks.points.copy()
    moved[points] = MIDDLE + (0, 700)
    cut = replace(landmarks, points=moved)
    assert cut_off(cut) == parts
    [first, *_] = score(cut, fit, body).warnings
    assert first.startswith(f"the {parts[0]}") and "outside the picture" in first and "step back" in first


def test_crossed_limbs_are_named(body, fitted):
    landmarks, fit = fitted
    points = landmarks.points.copy()
    points[[27, 28]] = points[[28, 27]]
    assert any("legs are crossed" in w for w in score(replace(landmarks, points=points), fit, body).warnings)
    points = landmarks.points.copy()
    points[[15, 16]] = points[[14, 13]] + (0, 40)
    points[[13, 14]] = points[[13, 14]] + (0, 60)
    assert any("arms are crossed" in w for w in score(replace(landmarks, points=points), fit, body).warnings)


def test_hidden_feet_and_small_people(body, fitted):
    landmarks, fit = fitted
    visibility = landmarks.visibility.copy()
    visibility[27:33] = 0.1
    hidden = score(replace(landmarks, visibility=visibility), fit, body)
    assert any(w.startswith("the feet cannot be seen well") for w in hidden.warnings)
    small = replace(landmarks, points=MIDDLE + 0.2 * (landmarks.points - MIDDLE), mask=None)
    assert any("pixels tall" in w for w in score(small, fit, body).warnings)
