"""Motion and AvatarMotion: sampling, resampling, fitting to an avatar."""

import time

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import Motion, kinematics
from dinar_live.runtime.motion import reference_body as ref


def angles(a, b):
    d = rot.multiply(rot.conjugate(rot.axis_angle_to_quaternion(a)), rot.axis_angle_to_quaternion(b))
    return np.degrees(np.linalg.norm(rot.quaternion_to_axis_angle(d), axis=-1))


def spin(frames=11, fps=10.0, step=0.2, **options):
    """A body that turns about y by `step` radians a frame and walks along z by 0.1 m a frame."""
    body = np.zeros((frames, 55, 3))
    body[:, 0, 1] = step * np.arange(frames)
    pelvis = np.zeros((frames, 3))
    pelvis[:, 1], pelvis[:, 2] = 0.9, 0.1 * np.arange(frames)
    return Motion(body=body, pelvis=pelvis, leg_length=0.8, fps=fps, **options)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"body": np.zeros((2, 54, 3))}, "Motion.body"),
        ({"body": np.full((2, 55, 3), np.nan)}, "NaN"),
        ({"body": np.zeros((0, 55, 3)), "pelvis": np.zeros((0, 3))}, "0 frames"),
        ({"pelvis": np.zeros((3, 3))}, "Motion.pelvis"),
        ({"leg_length": 0.0}, "leg_length"),
        ({"fps": float("nan")}, "fps"),
        ({"expression": np.zeros((2, 3)), "expression_names": ("a", "b")}, "2 names for 3"),
    ],
)
def test_refuses(change, text):
    good = {"body": np.zeros((2, 55, 3)), "pelvis": np.zeros((2, 3)), "leg_length": 0.8, "fps": 30}
    Motion(**good)
    with pytest.raises(MotionError, match=text):
        Motion(**good | change)


def test_samples_between_frames():
    m = spin()
    body, pelvis, _ = m.sample(0.25)
    assert body.dtype == pelvis.dtype == np.float32
    np.testing.assert_allclose(body[0], (0, 0.5, 0), atol=1e-6)
    np.testing.assert_allclose(pelvis, (0, 0.9, 0.25), atol=1e-6)
    np.testing.assert_array_equal(m.sample(0.3)[0], m.body[3])


def test_ends_of_a_clip():
    m = spin()
    assert m.duration == pytest.approx(1.1)
    np.testing.assert_array_equal(m.sample(99, loop=False)[0], m.body[-1])
    np.testing.assert_array_equal(m.sample(-5, loop=False)[0], m.body[0])
    np.testing.assert_array_equal(m.sample(1.05)[0], m.body[-1])  # held, not swung back to the start
    np.testing.assert_allclose(m.sample(1.25)[1], m.sample(0.15)[1], atol=1e-6)
    np.testing.assert_allclose(m.sample(-0.95)[1], m.sample(0.15)[1], atol=1e-6)
    with pytest.raises(MotionError):
        m.sample(float("nan"))


def test_a_cyclic_clip_blends_its_last_frame_into_the_first():
    body = np.zeros((4, 55, 3))
    body[:, 0, 1] = np.arange(4) * np.pi / 2
    m = Motion(body=body, pelvis=np.zeros((4, 3)), leg_length=0.8, fps=4, cyclic=True)
    assert angles(m.sample(0.875)[0][0], (0, 1.75 * np.pi, 0)) < 1e-3
    assert angles(m.slice(0, 4).sample(0.875)[0][0], (0, 1.5 * np.pi, 0)) < 1e-3


@pytest.mark.parametrize("fps", [50.0, 60.0, 24.0, 240.0])
def test_resampling_keeps_time_and_speed(fps):
    m = spin(121, 120.0, 0.01)
    r = m.resample(fps)
    assert r.fps == fps and abs(r.duration - m.duration) <= 0.5 / fps + 1e-9
    assert r.frames == round(121 / 120 * fps)  # 120 -> 50 is not every second frame
    for t in (0.0, 0.3, 0.77):
        np.testing.assert_allclose(r.sample(t)[0][0], m.sample(t)[0][0], atol=2e-4)
        np.testing.assert_allclose(r.sample(t)[1], m.sample(t)[1], atol=2e-4)


def test_resampling_a_cyclic_clip_keeps_its_period(demo):
    r = demo.resample(47.0)
    assert r.duration == pytest.approx(demo.duration) and r.cyclic
    for t in (0.1, 9.99, demo.duration - 0.02):
        assert angles(r.sample(t)[0], demo.sample(t)[0]).max() < 1.5


def test_slice():
    m = spin().slice(2, 5)
    assert m.frames == 3 and m.body[0, 0, 1] == pytest.approx(0.4)
    with pytest.raises(MotionError):
        spin().slice(5, 5)


def test_steps_are_scaled_to_the_legs(rest):
    small = rest * 0.5
    fitted = spin().for_avatar(small, ground=False, root="keep")
    scale = kinematics.leg_length(small) / 0.8
    pose = fitted.pose(4)
    np.testing.assert_allclose(pose.transl + small[0], np.array((0, 0.9, 0.4)) * scale, atol=1e-6)


def test_root_options(rest):
    m = spin()
    body = m.body.copy()
    body[:, 0, 1] += 2.0
    turned = Motion(body=body, pelvis=m.pelvis + (3, 0, 5), leg_length=0.8, fps=10)
    start = turned.for_avatar(rest).pose(0)
    np.testing.assert_allclose((start.transl + rest[0])[[0, 2]], 0, atol=1e-5)
    assert angles(start.body[0], np.zeros(3)) < 1e-3
    kept = turned.for_avatar(rest, root="keep").pose(0)
    np.testing.assert_allclose(kept.body[0], (0, 2, 0), atol=1e-6)
    fixed = turned.for_avatar(rest, root="fixed")
    for i in (0, 5, 10):
        np.testing.assert_allclose((fixed.pose(i).transl + rest[0])[[0, 2]], 0, atol=1e-5)
    # turning the clip must turn its path with it
    moved = turned.for_avatar(rest).pose(10).transl - start.transl
    expected = (
        rot.rotate(rot.axis_angle_to_quaternion((0, -2.0, 0)), (0, 0, 1.0))
        * kinematics.leg_length(rest)
        / 0.8
    )
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_ground_puts_the_feet_on_the_floor_in_spite_of_a_bad_frame(demo, rest):
    pelvis = demo.pelvis + np.float32((0, 0.7, 0))
    pelvis[100, 1] = -3
    m = Motion(body=demo.body, pelvis=pelvis, leg_length=demo.leg_length, fps=30)
    fitted = m.for_avatar(rest, sole=ref.SOLE)
    roots = np.array([fitted.pose(i).transl for i in range(m.frames)]) + rest[0]
    feet = kinematics.lowest_foot(kinematics.global_rotations(m.quaternions), rest, roots, ref.SOLE)
    assert abs(np.median(feet)) < 0.003


def test_sole_is_guessed_from_the_joints_alone(demo, rest):
    known, guessed = demo.for_avatar(rest, sole=ref.SOLE), demo.for_avatar(rest)
    np.testing.assert_allclose(known.pose(0).transl, guessed.pose(0).transl, atol=0.002)


def test_expressions_go_by_name(rest):
    m = spin(expression=np.tile((0.5, 0.25, 0.0), (11, 1)), expression_names=("smile", "tailWag", "ears"))
    fitted = m.for_avatar(rest, ("frown", "smile"))
    np.testing.assert_allclose(fitted.pose_at(0.33).expression, (0, 0.5))
    assert len(fitted.notes) == 1 and "tailWag" in fitted.notes[0] and "ears" not in fitted.notes[0]


def test_expressions_of_an_unknown_space_are_dropped_and_said_once(rest):
    fitted = spin(expression=np.ones((11, 10))).for_avatar(rest, ("frown", "smile"))
    assert not fitted.pose_at(0.5).expression.any()
    assert [n for n in fitted.notes if "10 expression columns" in n]
    assert not spin(expression=np.zeros((11, 10))).for_avatar(rest).notes


@pytest.mark.parametrize(
    "options", [{"root": "home"}, {"rig_joints": np.zeros((55, 3))}, {"rig_joints": np.zeros((24, 3))}]
)
def test_for_avatar_refuses(rest, options):
    with pytest.raises(MotionError):
        spin().for_avatar(**{"rig_joints": rest} | options)


def test_a_pose_costs_little(demo, rest):
    fitted = demo.for_avatar(rest, demo.expression_names)
    best = min(_timed(fitted) for _ in range(8))
    assert best < 0.5e-3  # 0.07 ms on an idle core


def _timed(fitted):
    start = time.perf_counter()
    for i in range(50):
        fitted.pose_at(0.0137 * i)
    return (time.perf_counter() - start) / 50
