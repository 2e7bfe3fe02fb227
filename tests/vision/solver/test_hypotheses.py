"""Points whose left and right are mixed up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.vision.landmarks import POINT_NAMES
from dinar_live.runtime.vision.solver.anchors import MIRROR
from dinar_live.runtime.vision.solver.hypotheses import bones_cross, readings
from dinar_live.runtime.vision.solver.photo_fit import Picture, fit_photos

LEGS = [
    i for i, n in enumerate(POINT_NAMES) if n.split("_", 1)[-1] in ("knee", "ankle", "heel", "foot_index")
]


def reordered(landmarks, order):
    parts = {k: getattr(landmarks, k)[order] for k in ("points", "visibility", "world")}
    return replace(landmarks, **parts)


def off(fit, actor, body) -> float:
    a, b = fit.posed(body).joints[:22], actor.posed(body).joints[:22]
    return float(np.linalg.norm((a - a[0]) - (b - b[0]), axis=1).mean())


def test_what_is_right_is_left_alone(body, actor):
    landmarks = actor.landmarks(body, face=True)
    assert [r.points.tolist() for r in readings(landmarks)] == [landmarks.points.tolist()]
    assert readings(landmarks)[0].face is not None


def test_swapped_legs_are_swapped_back(body, actor):
    order = np.arange(33)
    order[LEGS] = MIRROR[LEGS]
    wrong = reordered(actor.landmarks(body), order)
    assert bones_cross(wrong, ("hip", "knee")) and len(readings(wrong)) == 2
    assert off(fit_photos([Picture(wrong)], body)[0], actor, body) < 0.04


def test_a_face_shows_that_somebody_stands_the_other_way_round(body, actor):
    right = actor.landmarks(body, face=True)
    turned = reordered(right, MIRROR)
    read = readings(turned)[0]
    assert np.array_equal(read.points, right.points) and read.face is not None
    assert off(fit_photos([Picture(turned)], body)[0], actor, body) < 0.04


@pytest.mark.parametrize("bones", [(("hip", "knee"), ("knee", "ankle")), (("elbow", "wrist"),)])
def test_limbs_apart_do_not_cross(body, actor, bones):
    assert not bones_cross(actor.landmarks(body), *bones)
