"""Both legs of one pose against what the same is over clips."""

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.motion import kinematics
from dinar_live.runtime.motion.foot_contacts import foot_marks
from dinar_live.runtime.motion.foot_legs import LEGS, LOWER, stepped
from dinar_live.runtime.motion.leg_pair import LegPair

UNTURNED = np.array((1.0, 0.0, 0.0, 0.0))


def random_turns(rng, *shape):
    return rot.axis_angle_to_quaternion(rng.normal(0, 0.5, (*shape, 3)))


def changed(local, changes):
    out = local.copy()
    for leg, change in zip(LEGS, changes, strict=True):
        out[list(leg[:3])] = rot.multiply(local[list(leg[:3])], change)
    return kinematics.global_rotations(out[None], LOWER)


@pytest.mark.parametrize("sole", [None, -1.31])
def test_marks_and_soles(rest, sole):
    rng = np.random.default_rng(3)
    pair = LegPair(rest, sole)
    for _ in range(5):
        local, changes = random_turns(rng, 12), random_turns(rng, 2, 3)
        pelvis = rng.normal(size=3)
        marks, soles = pair.feet((local[0], pelvis), local, changes)
        world = changed(local, changes)
        joints = kinematics.joint_positions(world, rest[:12], pelvis[None], LOWER)
        np.testing.assert_allclose(marks, foot_marks(joints, world, rest, sole)[0], atol=1e-9)
        points = kinematics.foot_points(world, rest, pelvis[None], sole)[0]
        np.testing.assert_allclose(soles, points[:, 1].reshape(2, -1).min(axis=1), atol=1e-9)


def test_reaching(rest):
    """The ankle comes where it is wanted, as for clips; the foot is turned by what is wanted."""
    rng = np.random.default_rng(4)
    pair = LegPair(rest, None)
    for side, (hip, knee, ankle, _) in enumerate(LEGS):
        local, changes = random_turns(rng, 12), random_turns(rng, 2, 3)
        local[[4, 5]] = rot.axis_angle_to_quaternion((0.8, 0, 0))
        changes[:, 1] = UNTURNED
        turn, reach = random_turns(rng), np.array((0.1, -0.6, 0.05))
        new = pair.reaching(local[0], local, side, changes[side], turn, reach)
        before = changed(local, changes)
        expected = stepped(rest, before, side, reach[None])
        expected[:, ankle] = rot.multiply(turn, before[:, ankle])
        changes[side] = new
        after = changed(local, changes)
        for joint in (hip, knee, ankle):
            assert abs(np.sum(after[0, joint] * expected[0, joint])) > 1 - 1e-9


def test_a_number_raises_the_ankle(rest):
    pair = LegPair(rest, None)
    local = np.tile(UNTURNED, (12, 1))
    local[[1, 2]] = rot.axis_angle_to_quaternion((-0.5, 0, 0))
    local[[4, 5]] = rot.axis_angle_to_quaternion((1.0, 0, 0))
    root = (local[0], np.zeros(3))
    changes = np.tile(UNTURNED, (2, 3, 1))
    before, _ = pair.feet(root, local, changes)
    changes[1] = pair.reaching(local[0], local, 1, changes[1], UNTURNED, 0.02)
    after, _ = pair.feet(root, local, changes)
    np.testing.assert_allclose(after[1], before[1] + (0, 0.02, 0), atol=1e-6)
    np.testing.assert_allclose(after[0], before[0])
