"""Every closed-form derivative against differences in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.solver.anchors import face_anchors, hand_anchors
from dinar_live.runtime.vision.solver.calibration import calibration
from dinar_live.runtime.vision.solver.columns import Columns, Equations
from dinar_live.runtime.vision.solver.observation import Observation
from dinar_live.runtime.vision.solver.priors import (
    PosePrior,
    add_focal_prior,
    add_follow_prior,
    add_pose_prior,
    add_shape_prior,
)
from dinar_live.runtime.vision.solver.problem import Common, Own, Problem
from dinar_live.runtime.vision.solver.silhouette import DistanceField, outline_of
from dinar_live.runtime.vision.solver.so3 import log, right_jacobian_inverse

H = 1e-6


@pytest.fixture
def problem(body, actor) -> tuple[Problem, Own, Common]:
    """A picture with everything in it, and a guess that is wrong by some degrees and centimetres."""
    rng = np.random.default_rng(3)
    landmarks = actor.landmarks(body, hands=True, face=True, mask=True)
    observation = Observation.of(landmarks, calibration(), actor.pinhole.focal)
    hands = {side: hand_anchors(body.body, side) for side in ("left", "right")}
    local = actor.local @ axis_angle_to_matrix(rng.normal(0, 0.05, (55, 3)))
    own = Own(local, actor.transl + rng.normal(0, 0.02, 3))
    common = Common(actor.betas + rng.normal(0, 0.2, body.betas), 0.03)
    problem = Problem(
        body, Columns(np.arange(55), body.betas), calibration(), PosePrior.of("photo", body), observation, 400.0,
        hands=hands, face=face_anchors(body.body), last=actor.local,
    )  # fmt: skip
    posed, pinhole = problem.posed(own, common), problem.pinhole(common)
    outline = outline_of(body, posed, pinhole, observation.size, DistanceField.of(landmarks.mask))
    return problem.with_outline(outline, 400.0), own, common


def moved(problem: Problem, own: Own, common: Common, column: int, h: float) -> tuple[Own, Common]:
    change = np.zeros(problem.columns.size)
    change[column] = h
    n = problem.columns.own
    return problem.step(own, change[:n]), Common(common.betas + change[n:-1], common.log_scale + change[-1])


def test_the_gradient_of_all_terms_together(problem):
    """The normal equations' right side is half of the cost's gradient: Cauchy's weights included."""
    p, own, common = problem
    _, gradient = p.equations(own, common).normal()
    for column in [*range(0, 165, 7), 165, 166, 167, 168, 171, 177, 178]:
        up = p.equations(*moved(p, own, common, column, H)).cost
        down = p.equations(*moved(p, own, common, column, -H)).cost
        assert (up - down) / (4 * H) == pytest.approx(gradient[column], rel=2e-4, abs=2e-3), column


class Collected(Equations):
    """Keeps residuals and derivatives as they come, without weights."""

    def __init__(self, size):
        super().__init__(size)
        self.rows = []

    def add(self, residuals, jacobian, sigma, cauchy=None):
        self.rows.append((np.array(residuals).reshape(-1), np.array(jacobian).reshape(-1, self.size)))

    def stacked(self):
        return np.concatenate([r for r, _ in self.rows]), np.concatenate([j for _, j in self.rows])


def terms(p: Problem):
    """Each term alone: name -> function of own and common that returns residuals and derivatives."""

    def alone(add):
        def collect(own, common):
            equations = Collected(p.columns.size)
            add(equations, own, common)
            return equations.stacked()

        return collect

    posed = lambda own, common: (p.posed(own, common), p.pinhole(common))  # noqa: E731
    prior = replace(p.prior, cauchy=None)
    return {
        "points": alone(lambda e, o, c: p._add_points(e, *posed(o, c))),
        "world": alone(lambda e, o, c: p._add_world(e, p.posed(o, c))),
        "hand": alone(
            lambda e, o, c: p._add_hand(e, *posed(o, c), (p.hands["left"], p.observation.hands["left"]))
        ),
        "face": alone(lambda e, o, c: p._add_face(e, *posed(o, c), p.observation.face)),
        "pose": alone(lambda e, o, c: add_pose_prior(e, p.columns, o.local, prior)),
        "follow": alone(lambda e, o, c: add_follow_prior(e, p.columns, o.local, p.last, 0.3)),
        "shape": alone(lambda e, o, c: add_shape_prior(e, p.columns, p.body, c.betas, 1.8)),
        "focal": alone(lambda e, o, c: add_focal_prior(e, p.columns, c.log_scale, 0.3)),
    }


@pytest.mark.parametrize("name", ["points", "world", "hand", "face", "pose", "follow", "shape", "focal"])
def test_a_term_alone(problem, name):
    p, own, common = problem
    term = terms(p)[name]
    residuals, jacobian = term(own, common)
    assert len(residuals) == len(jacobian) > 0
    for column in range(p.columns.size):
        up, down = (term(*moved(p, own, common, column, s * H))[0] for s in (1, -1))
        numeric = (up - down) / (2 * H)
        size = max(1.0, np.abs(numeric).max())
        assert np.abs(numeric - jacobian[:, column]).max() < 1e-5 * size, column


@pytest.mark.parametrize("angle", [0.0, 1e-5, 0.4, 2.0, 3.1])
def test_the_logarithm_near_zero_and_near_half_a_turn(angle):
    axis = np.array([0.6, -0.64, 0.48])
    R = axis_angle_to_matrix(angle * axis)
    exact = right_jacobian_inverse(angle * axis)
    for k in range(3):
        d = np.zeros(3)
        d[k] = H
        numeric = (log(R @ axis_angle_to_matrix(d)) - log(R @ axis_angle_to_matrix(-d))) / (2 * H)
        assert np.abs(numeric - exact[:, k]).max() < 1e-5


def test_the_distance_field_inside_outside_and_beyond_the_picture():
    mask = np.zeros((900, 700), np.float32)
    mask[200:700, 150:500] = 1
    field = DistanceField.of(mask)
    pixels = np.array([[300.3, 400.2], [160.4, 300.7], [120.2, 410.9], [-40.0, 500.0], [350.0, 950.0]])
    distance, slope = field.at(pixels)
    assert distance == pytest.approx([150, 10.4, -29.8, -190, -250], abs=4)
    for k in range(2):
        d = np.zeros(2)
        d[k] = 1e-4
        numeric = (field.at(pixels + d)[0] - field.at(pixels - d)[0]) / 2e-4
        assert numeric == pytest.approx(slope[:, k], abs=1e-3)
