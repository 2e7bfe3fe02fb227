"""Fits to pictures whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.solver.photo_fit import FitOptions, Picture, fit_photos
from dinar_live.runtime.vision.solver.silhouette import overlap, silhouette


def off(fit, actor, body) -> float:
    """Mean distance of the body's joints, metres, from the pelvis."""
    a, b = fit.posed(body).joints[:22], actor.posed(body).joints[:22]
    return float(np.linalg.norm((a - a[0]) - (b - b[0]), axis=1).mean())


def test_a_photo_gives_the_pose_back(body, actor):
    landmarks = actor.landmarks(body, hands=True, face=True, mask=True)
    fit = fit_photos([Picture(landmarks, actor.pinhole.focal)], body)[0]
    assert off(fit, actor, body) < 0.02
    seen = silhouette(body, fit.posed(body), fit.pinhole, fit.size)[0]
    true = silhouette(body, actor.posed(body), actor.pinhole, fit.size)[0]
    assert overlap(seen, true) > 0.95
    assert fit.pose.body.shape == (55, 3) and fit.camera.K[0, 0] == pytest.approx(actor.pinhole.focal)


def test_a_known_height_sets_the_scale(body, actor):
    tall = replace(actor, betas=actor.betas + np.eye(body.betas)[0])
    height = body.height(tall.betas)[0]
    fit = fit_photos([Picture(tall.landmarks(body))], body, FitOptions(height=height))[0]
    assert body.height(fit.betas)[0] == pytest.approx(height, abs=0.01)


def test_front_and_back_share_one_shape(body, actor):
    back = replace(actor, local=actor.local.copy())
    back.local[0] = axis_angle_to_matrix([0, np.pi - 0.2, 0])
    pictures = [Picture(a.landmarks(body, mask=True)) for a in (actor, back)]
    fits = fit_photos(pictures, body)
    assert np.array_equal(fits[0].betas, fits[1].betas)
    assert max(off(f, a, body) for f, a in zip(fits, (actor, back), strict=True)) < 0.03


def test_a_wrong_point_hardly_pulls(body, actor):
    landmarks = actor.landmarks(body)
    points = landmarks.points.copy()
    points[16] += (150, -120)  # the right wrist
    fit = fit_photos([Picture(replace(landmarks, points=points))], body)[0]
    assert off(fit, actor, body) < 0.04


def test_a_user_s_own_model_without_face_points(body, actor):
    """A body of the kind "smplx" with pose correctives: no table of the open body is used."""
    from dinar_live.runtime.vision.solver.body import SolverBody

    other = replace(
        body.body, kind="smplx", pose_dirs=np.full((486, len(body.template), 3), 1e-4, np.float32)
    )
    landmarks = actor.landmarks(body, hands=True, face=True, mask=True)
    solver_body = SolverBody(other)
    fit = fit_photos([Picture(landmarks)], solver_body)[0]
    assert off(fit, actor, solver_body) < 0.03


@pytest.mark.parametrize(
    "options, text",
    [
        ({"height": 180}, "height: got 180 m, expected 0.5 to 2.5 metres"),
        ({"kind": "dance"}, "kind: got 'dance', expected one of photo, any"),
    ],
)
def test_wrong_options(options, text):
    with pytest.raises(InputError, match=text):
        FitOptions(**options)


def test_no_picture(body):
    with pytest.raises(InputError, match="got no picture"):
        fit_photos([], body)


def test_an_empty_mask(body, actor):
    landmarks = replace(actor.landmarks(body), mask=np.zeros((640, 480), np.float32))
    with pytest.raises(InputError, match="mask: marks nothing or everything"):
        fit_photos([Picture(landmarks)], body)
