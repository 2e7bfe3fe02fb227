"""A person followed from picture to picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.vision.solver.live import LiveSolver


def test_it_follows_a_moving_arm(body, actor):
    solver = LiveSolver(body, betas=actor.betas, focal=actor.pinhole.focal)
    assert solver.update(actor.landmarks(body)).fresh
    for k in range(1, 25):
        local = actor.local.copy()
        local[J["left_shoulder"]] = axis_angle_to_matrix([0.1, -0.2, -0.8 + 0.05 * k])
        now = replace(actor, local=local)
        found = solver.update(now.landmarks(body))
        assert not found.fresh and found.error < 0.02
    assert found.pose.body[J["left_shoulder"]] == pytest.approx([0.1, -0.2, 0.4], abs=0.25)
    assert found.pose.transl == pytest.approx(actor.transl, abs=0.1)


def test_fingers_stay_while_a_hand_is_not_looked_at(body, actor):
    solver = LiveSolver(body, betas=actor.betas, focal=actor.pinhole.focal)
    both = actor.landmarks(body, hands=True)
    solver.update(both)
    fist = actor.local.copy()
    fist[25:40] = axis_angle_to_matrix([0, 0, -0.8])
    now = replace(actor, local=fist).landmarks(body, hands=True)
    before = solver.update(replace(now, left_hand=None, right_hand=None)).pose.body
    for _ in range(6):
        after = solver.update(replace(now, right_hand=None)).pose.body
    assert np.abs(after[25:40] - before[25:40]).max() > 0.3
    assert np.array_equal(after[40:], before[40:])


def test_a_jump_starts_anew(body, actor):
    solver = LiveSolver(body, betas=actor.betas, focal=actor.pinhole.focal)
    solver.update(actor.landmarks(body))
    turned = replace(actor, local=actor.local.copy())
    turned.local[0] = axis_angle_to_matrix([0, 2.5, 0])
    assert solver.update(turned.landmarks(body)).fresh
    solver.reset()
    assert solver.update(turned.landmarks(body)).fresh


def test_too_many_betas(body):
    with pytest.raises(InputError, match="betas: got shape"):
        LiveSolver(body, betas=np.zeros(300))
