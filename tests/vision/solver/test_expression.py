"""The face's expression from its points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.vision.landmarks import FaceLandmarks
from dinar_live.runtime.vision.solver.anchors import FACE_POINTS, face_anchors
from dinar_live.runtime.vision.solver.camera import Pinhole
from dinar_live.runtime.vision.solver.expression import fit_expression
from dinar_live.runtime.vision.solver.photo_fit import PhotoFit

SIZE = (640, 480)


@pytest.fixture
def fit(actor) -> PhotoFit:
    return PhotoFit(actor.local, actor.transl, actor.betas, actor.pinhole, SIZE, 0.0)


def with_expression(body, actor, values: dict[str, float]):
    """Landmarks of the actor with this expression."""
    landmarks = actor.landmarks(body, face=True)
    anchors = face_anchors(body.body)
    names = body.body.expression_names
    weights = np.zeros(len(names))
    for name, value in values.items():
        weights[names.index(name)] = value
    moved = np.einsum("nk,nkae,e->na", anchors.weights, body.body.expression_dirs[anchors.corners], weights)
    posed = actor.posed(body)
    change = actor.pinhole.pixels(posed.joints[15] + moved @ posed.world[15].T)[0]
    change = change - actor.pinhole.pixels(posed.joints[15:16])[0]
    mesh = landmarks.face.xyz.copy()
    mesh[FACE_POINTS, :2] += change
    return replace(landmarks, face=FaceLandmarks(mesh, 1.0))


@pytest.fixture
def near(actor):
    """The actor with a long lens, so that the face is large enough."""
    return replace(actor, pinhole=Pinhole(4000.0, (SIZE[1] / 2, SIZE[0] / 2)))


@pytest.mark.parametrize("values", [{}, {"jawOpen": 0.8}, {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9}])
def test_an_expression_is_found(body, near, values):
    fit = PhotoFit(near.local, near.transl, near.betas, near.pinhole, SIZE, 0.0)
    found = fit_expression(with_expression(body, near, values), fit, body)
    for name, value in zip(body.body.expression_names, found, strict=True):
        assert value == pytest.approx(values.get(name, 0), abs=0.35), name


def test_brows_are_found_weaker_than_they_are(body, near):
    """A raised brow is mostly a shift, which may as well be the head's: damped, and never the wrong one."""
    fit = PhotoFit(near.local, near.transl, near.betas, near.pinhole, SIZE, 0.0)
    found = fit_expression(with_expression(body, near, {"browInnerUp": 0.9}), fit, body)
    named = {n: float(v) for n, v in zip(body.body.expression_names, found, strict=True) if v}
    assert named["browInnerUp"] > 0.25 and not {"browDownLeft", "browDownRight", "jawOpen"} & set(named)


def test_without_a_face_it_is_neutral(body, actor, fit):
    assert not fit_expression(actor.landmarks(body), fit, body).any()
    small = replace(actor, pinhole=Pinhole(400.0, (240, 320)))
    fit = replace(fit, pinhole=small.pinhole)
    assert not fit_expression(with_expression(body, small, {"jawOpen": 1.0}), fit, body).any()


def test_a_body_without_named_expressions(body, actor, fit):
    from dinar_live.runtime.vision.solver.body import SolverBody

    other = SolverBody(replace(body.body, kind="smplx", expression_names=()))
    assert not fit_expression(actor.landmarks(body, face=True), fit, other).any()
