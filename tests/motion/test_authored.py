"""The clips of our own: loop, feet, joints, smoothness, and the numbers they are made from."""

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.motion import demo_motion, idle_motion, kinematics
from dinar_live.runtime.motion import reference_body as ref
from dinar_live.runtime.motion.tracks import bump, ease, track

J = JOINT_INDEX


@pytest.fixture(scope="module", params=[demo_motion, idle_motion])
def clip(request):
    return request.param(60)


def speeds(m):
    """Degrees a second of every joint [N,55], the step back to the start included."""
    q = m.quaternions.astype(float)
    step = rot.multiply(rot.conjugate(q), np.roll(q, -1, axis=0))
    return np.degrees(rot.quaternion_to_axis_angle(step)) * m.fps


def test_the_loop_has_no_seam(clip):
    body = speeds(clip)
    assert np.linalg.norm(body[-1], axis=-1).max() < 15
    path = np.roll(clip.pelvis, -1, axis=0) - clip.pelvis
    assert np.linalg.norm(path[-1]) * clip.fps < 0.05
    assert np.abs(clip.expression[0] - clip.expression[-1]).max() < 0.02
    assert clip.cyclic


def test_nothing_pops(clip):
    v = speeds(clip)[:, :22]
    assert np.linalg.norm(v, axis=-1).max() < 500
    acceleration = np.linalg.norm(np.roll(v, -1, axis=0) - v, axis=-1) * clip.fps
    assert acceleration.max() < 7000  # a step of the walk; a jump of 10 degrees in one frame would be 36,000
    assert np.abs(np.diff(clip.pelvis, 2, axis=0)).max() * clip.fps**2 < 6


def test_feet_stand_on_the_floor_and_do_not_slide(clip, rest):
    world = kinematics.global_rotations(clip.quaternions)
    assert np.abs(kinematics.lowest_foot(world, rest, clip.pelvis, ref.SOLE)).max() < 0.002
    joints = kinematics.joint_positions(world, rest, clip.pelvis)
    for side in ("left", "right"):
        ball = joints[:, J[f"{side}_foot"]]
        planted = ball[:, 1] < rest[J[f"{side}_foot"], 1] - ref.SOLE + 0.001
        still = planted[1:] & planted[:-1]
        slide = np.linalg.norm(np.diff(ball, axis=0)[:, [0, 2]], axis=1)[still]
        assert slide.max() * clip.fps < 0.03


def test_knees_and_elbows_bend_only_the_right_way(clip):
    for side, sign in (("left", -1), ("right", 1)):
        knee, elbow = clip.body[:, J[f"{side}_knee"]], clip.body[:, J[f"{side}_elbow"]]
        assert knee[:, 0].min() > -0.10 and np.abs(knee[:, 1:]).max() < 0.2  # the rest leg is bent by 0.15
        assert (sign * elbow[:, 1]).min() > 0.1 and np.degrees(np.linalg.norm(elbow, axis=1)).max() < 145


def test_arms_hang_by_the_side(clip, rest):
    world = kinematics.global_rotations(clip.quaternions[:1])
    joints = kinematics.joint_positions(world, rest, clip.pelvis[:1])[0]
    for side, sign in (("left", 1), ("right", -1)):
        arm = rot.unit(joints[J[f"{side}_wrist"]] - joints[J[f"{side}_shoulder"]])
        assert arm[1] < -0.95 and 0.05 < sign * arm[0] < 0.25


def test_the_demonstration_does_what_it_says(demo, rest):
    world = kinematics.global_rotations(demo.quaternions)
    joints = kinematics.joint_positions(world, rest, demo.pelvis)
    t = np.arange(demo.frames) / demo.fps
    assert 18 < demo.duration < 30
    assert (joints[(t > 3.8) & (t < 5.4), J["right_wrist"], 1] > 1.3).all()  # waves
    facing = rot.rotate(world[:, 0], (0, 0, 1.0))
    yaw = np.unwrap(np.arctan2(facing[:, 0], facing[:, 2]))
    assert yaw[-1] - yaw[0] == pytest.approx(2 * np.pi, abs=0.05)  # once around
    lifted = joints[:, J["left_foot"], 1] > 0.12
    assert np.diff(lifted.astype(int)).clip(0).sum() >= 2  # steps
    for name in ("smile", "eyesClosed", "browRaise", "eyeBlinkLeft"):
        assert demo.expression[:, demo.expression_names.index(name)].max() > 0.5
    assert demo.body[:, J["jaw"], 0].max() > 0.1
    fist = demo.body[:, J["right_middle1"]]
    assert np.degrees(np.linalg.norm(fist, axis=-1)).max() > 70
    assert 0 <= demo.expression.min() and demo.expression.max() <= 1


def test_deterministic_and_the_same_at_any_rate(demo):
    np.testing.assert_array_equal(demo_motion(30).body, demo.body)
    fast = demo_motion(90)
    np.testing.assert_allclose(fast.body[::3], demo.body, atol=1e-6)
    with pytest.raises(MotionError, match="fps"):
        demo_motion(0)


def test_reference_body_is_the_open_body(shared):
    with np.load(shared / "open_body" / "open_body.npz", allow_pickle=False) as z:
        v = z["v_template"]
        joints = np.zeros((55, 3))
        np.add.at(joints, z["J_regressor_row"], z["J_regressor_val"][:, None] * v[z["J_regressor_col"]])
        np.testing.assert_allclose(ref.rest_joints(), joints, atol=1e-4)
        hands = np.concatenate([z["hands_mean_l"], z["hands_mean_r"]]).reshape(30, 3)
        np.testing.assert_allclose(ref.relaxed_hands(), hands, atol=1e-4)
        assert pytest.approx(v[:, 1].min(), abs=1e-3) == ref.SOLE
        assert set(demo_motion().expression_names) <= set(z["expression_names"].tolist())


def test_reference_body_is_symmetric(rest, tools):
    np.testing.assert_array_equal(rest[tools.mirror] * (-1, 1, 1), rest)


def test_tracks():
    t = np.linspace(-1, 4, 501)
    y = track(t, (0, 1.0), (1, 3.0), (2, 3.0), (3, -1.0))
    assert (
        (y[t <= 0] == 1).all()
        and y[t >= 3] == pytest.approx(-1)
        and y[(t >= 1) & (t <= 2)] == pytest.approx(3)
    )
    assert np.abs(np.diff(y)).max() < 0.085  # no jumps
    pose = track(t, (0, np.zeros((2, 3))), (1, np.ones((2, 3))))
    assert pose.shape == (501, 2, 3) and pose[-1].min() == 1
    b = bump(t, 0, 1, 3)
    assert b.max() == pytest.approx(1) and b[0] == b[-1] == 0
    assert ease(0.5) == 0.5
