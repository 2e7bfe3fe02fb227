"""Two-bone inverse kinematics: what a leg reaches, that nothing changes nothing, and that straight knees do not
snap."""

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.motion import leg_ik

THIGH, SHANK = np.array((0.02, -0.42, 0.01)), np.array((-0.01, -0.41, -0.02))


def leg(bends, turn=(0.0, 0.0, 0.0)):
    """World rotations of hip and knee [N,4] of a leg whose knee is bent by degrees [N] about x."""
    hip = np.broadcast_to(rot.axis_angle_to_quaternion(turn), (len(bends), 4))
    x = np.radians(np.asarray(bends, float))[:, None] * (1.0, 0.0, 0.0)
    return hip, rot.multiply(hip, rot.axis_angle_to_quaternion(x))


def ankle(hip, knee):
    return rot.rotate(hip, THIGH) + rot.rotate(knee, SHANK)


def angle(a, b):
    return np.degrees(
        np.linalg.norm(rot.quaternion_to_axis_angle(rot.multiply(rot.conjugate(a), b)), axis=-1)
    )


@pytest.mark.parametrize("turn", [(0, 0, 0), (-0.8, 0.3, 0.2), (1.2, -1.0, 0.5)])
def test_the_ankle_comes_where_it_shall(turn):
    rng = np.random.default_rng(3)
    hip, knee = leg(rng.uniform(20, 110, 200), turn)
    target = ankle(hip, knee) + rng.uniform(-0.03, 0.03, (200, 3))
    target *= np.minimum(1, 0.81 / np.linalg.norm(target, axis=1))[:, None]
    new = leg_ik.move_ankle(hip, knee, THIGH, SHANK, target)
    assert np.abs(ankle(*new) - target).max() < 2e-5  # the knee's own axis has a say in the plane


def test_the_plane_of_the_knee_turns_only_with_the_leg():
    hip, knee = leg(np.full(50, 40.0), (-0.3, 0.2, 0.1))
    shorter = ankle(hip, knee) * np.linspace(0.7, 1.0, 50)[:, None]
    new = leg_ik.move_ankle(hip, knee, THIGH, SHANK, shorter)

    def plane(hip, knee):
        return rot.unit(np.cross(rot.rotate(hip, THIGH), rot.rotate(knee, SHANK)))

    assert np.einsum("ni,ni->n", plane(hip, knee), plane(*new)).min() > np.cos(np.radians(0.5))


def test_nothing_to_do_changes_nothing():
    hip, knee = leg(np.linspace(-8, 100, 60))
    new = leg_ik.move_ankle(hip, knee, THIGH, SHANK, ankle(hip, knee))
    assert max(angle(hip, new[0]).max(), angle(knee, new[1]).max()) < 1e-3


def test_a_knee_does_not_pop_at_full_extension():
    """As a target goes through the end of the reach at 1 mm a frame, no knee turns by more than it does at 9 degrees
    of bend: 1.8 degrees; by the law of cosines alone it is more than 5."""
    hip, knee = leg(np.full(120, 20.0))
    along = rot.unit(ankle(hip, knee))
    length = np.linspace(0.78, 0.90, 120)
    new = leg_ik.move_ankle(hip, knee, THIGH, SHANK, along * length[:, None])
    assert angle(new[1][:-1], new[1][1:]).max() < 1.9
    bend = np.degrees(
        np.arccos(
            np.einsum("ni,ni->n", rot.unit(rot.rotate(new[0], THIGH)), rot.unit(rot.rotate(new[1], SHANK)))
        )
    )
    assert bend[-1] < 2.0 and bend[0] > 30
    # and the foot is within millimetres of the target as far as the leg reaches
    full = np.linalg.norm(THIGH) + np.linalg.norm(SHANK)
    off = np.linalg.norm(ankle(*new) - along * np.minimum(length, full)[:, None], axis=1)
    assert off.max() < 0.004


def test_an_overstretched_knee_keeps_its_stretch_and_bends_the_right_way():
    hip, knee = leg([-5.0, -5.0])
    target = ankle(hip, knee) * np.array((1.0, 0.97))[:, None]
    new = leg_ik.move_ankle(hip, knee, THIGH, SHANK, target)
    assert angle(knee[0], new[1][0]) < 1e-3
    assert rot.rotate(rot.multiply(rot.conjugate(new[0][1]), new[1][1]), (0.0, -1.0, 0.0))[2] < -0.2


def test_height_kept():
    """A foot that has to go 3 cm down takes the pelvis 3 cm down; one to the side takes it down a little."""
    rest = np.zeros((55, 3))
    rest[1], rest[4], rest[7] = (0.1, 0, 0), (0.1, -0.4, 0), (0.1, -0.8, 0)
    joints = np.zeros((2, 12, 3)) + rest[:12]
    reach = np.array([(0, -0.83, 0), (0.1, -0.8, 0)])
    same, weight, farthest = leg_ik.height_kept(rest, (1, 4, 7, 10), joints, reach)
    np.testing.assert_allclose(same, [-0.03, -0.8 + np.sqrt(0.64 - 0.01)], atol=1e-9)
    np.testing.assert_allclose(farthest, same, atol=1e-9)
    assert (weight > 100).all()
