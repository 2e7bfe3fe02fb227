"""One-Euro, prediction and the floor."""

import dataclasses

import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.runtime import Body
from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import (
    Motion,
    OneEuro,
    Predictor,
    demo_motion,
    kinematics,
    load_motion,
    smooth,
    snap_to_floor,
)
from dinar_live.runtime.motion.floor import _flying, _lowest

CLIPS = ("walk_meredith", "cmu_jumping_jacks", "wave_hello", "zombie", "jesse_dance")


@pytest.fixture(scope="module")
def noisy():
    m = demo_motion(60).slice(0, 600)
    rng = np.random.default_rng(0)
    q = rot.multiply(
        m.quaternions, rot.axis_angle_to_quaternion(np.radians(0.8) * rng.normal(size=m.body.shape))
    )
    return m, dataclasses.replace(
        m, body=rot.quaternion_to_axis_angle(q), pelvis=m.pelvis + 0.003 * rng.normal(size=m.pelvis.shape)
    )


def trembling(body):
    return np.abs(np.diff(body, 2, axis=0)).mean()


def test_smoothing_a_clip(noisy, tools):
    clean, rough = noisy
    m = smooth(rough)
    assert (
        tools.angle_between(m.body, clean.body).mean()
        < 0.5 * tools.angle_between(rough.body, clean.body).mean()
    )
    assert np.abs(m.pelvis - clean.pelvis).mean() < 0.5 * np.abs(rough.pelvis - clean.pelvis).mean()
    assert trembling(m.body) < 0.3 * trembling(rough.body)
    assert np.percentile(tools.angle_between(m.body, clean.body), 99.9) < 3  # fast gestures stay


def test_one_euro_live(noisy, tools):
    clean, rough = noisy
    euro = OneEuro()
    out = [euro.step(7 + i / 60, rough.body[i], rough.pelvis[i]) for i in range(rough.frames)]
    body = np.array([b for b, _ in out])
    assert trembling(body) < 0.4 * trembling(rough.body)
    assert (
        tools.angle_between(body, clean.body).mean()
        < 0.8 * tools.angle_between(rough.body, clean.body).mean()
    )
    np.testing.assert_allclose(out[0][0], rough.body[0], atol=1e-6)


def test_one_euro_does_not_care_how_a_rotation_is_written():
    """The same turn as v and as v - 2 pi v/|v|: a filter on the numbers would spin through everything in
    between."""
    euro = OneEuro()
    v = np.zeros((55, 3))
    v[:, 0] = 3.1
    for i in range(20):
        body, _ = euro.step(i / 60, v if i % 2 else v * (1 - 2 * np.pi / 3.1), np.zeros(3))
        q = rot.axis_angle_to_quaternion(body)
        assert (np.abs(np.sum(q * rot.axis_angle_to_quaternion(v), -1)) > 1 - 1e-9).all()


def test_filters_begin_anew_after_a_gap_or_a_clock_set_back():
    for t in (5.0, 0.0):
        euro, predictor = OneEuro(0.1), Predictor(0.1)
        for f in (euro, predictor):
            f.step(1.0, np.zeros((55, 3)), np.zeros(3))
            body, pelvis = f.step(t, np.ones((55, 3)), np.ones(3))
            np.testing.assert_allclose(body, 1, atol=1e-9)
            np.testing.assert_allclose(pelvis, 1)


def test_prediction_is_nearer_than_the_last_pose(tools):
    m = demo_motion(60)
    predictor = Predictor(0.05)
    ahead = np.array([predictor.step(i / 60, m.body[i], m.pelvis[i])[0] for i in range(m.frames)])
    assert (
        tools.angle_between(ahead[:-3], m.body[3:]).mean()
        < 0.6 * tools.angle_between(m.body[:-3], m.body[3:]).mean()
    )
    steady = Predictor(0.1, speed_cutoff=1000)
    for i in range(30):
        v = np.zeros((55, 3))
        v[:, 1] = i / 60
        body, pelvis = steady.step(i / 60, v, (0, 0, 2 * i / 60))
    np.testing.assert_allclose(body[:, 1], 29 / 60 + 0.1, atol=1e-3)
    assert pelvis[2] == pytest.approx(2 * (29 / 60 + 0.1), abs=1e-2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Predictor(0.11),
        lambda: Predictor(float("nan")),
        lambda: Predictor(-0.01),
        lambda: OneEuro(0),
        lambda: OneEuro(beta=-1),
        lambda: OneEuro(float("nan")),
        lambda: Predictor(0.05, 0),
    ],
)
def test_settings_are_checked(make):
    with pytest.raises(MotionError, match="expected"):
        make()


@pytest.fixture(scope="module")
def rig():
    return Body.open().rig()  # with its own soles: shoes reach lower


def standing(motion, rig, step=1, source=None):
    """Lowest vertex of the avatar's mesh [n] in every step-th frame, and which of those frames fly (in
    `source`, if given)."""
    flying = None if source is None else standing(source, rig, 10**6)[2]
    rest = rig.joints.astype(float)
    scale = kinematics.leg_length(rest) / motion.leg_length
    path = motion.pelvis * scale
    world = kinematics.global_rotations(motion.quaternions[:, :12], kinematics.PARENTS[:12])
    if flying is None:
        flying = _flying(
            path[:, 1].astype(float),
            _lowest(kinematics.foot_points(world, rest, path), motion.fps)[1],
            motion.fps,
        )
    face = np.zeros(rig.expressions, np.float32)
    low = [
        kernels.lbs(rig.model, motion.body[i], (path[i] - rest[0]).astype(np.float32), face)[:, 1].min()
        for i in range(0, motion.frames, step)
    ]
    return np.array(low), flying[::step], flying


@pytest.mark.parametrize("clip", CLIPS)
def test_feet_are_on_the_floor_after_the_snap(shared, rig, clip):
    """The mesh itself, not the points that the snap looks at."""
    motion = load_motion(shared / "bvh" / f"{clip}.bvh")
    # the dance's capture loses the floor by 40 cm within a second; the mesh's toes bend a little further than
    # the points
    limit = 0.025 if clip == "jesse_dance" else 0.02
    low, flying, _ = standing(
        snap_to_floor(motion, rig_joints=rig.joints), rig, max(1, motion.frames // 100), motion
    )
    assert np.abs(low[~flying]).max() < limit and low.min() > -limit


def test_jumps_stay_jumps_and_drift_goes(shared, rig):
    motion = load_motion(shared / "bvh" / "cmu_jumping_jacks.bvh")
    low, flying, _ = standing(snap_to_floor(motion, rig_joints=rig.joints), rig, 1, motion)
    assert 0.2 < flying.mean() < 0.5 and low[flying].max() > 0.05
    walk = load_motion(shared / "bvh" / "walk_meredith.bvh")
    assert not standing(walk, rig, 20)[1].any()
    drift = walk.pelvis.copy()
    drift[:, 1] += np.linspace(0, 0.5, walk.frames)  # the capture climbs half a metre
    low, _, _ = standing(
        snap_to_floor(dataclasses.replace(walk, pelvis=drift), rig_joints=rig.joints), rig, 15
    )
    assert np.abs(low).max() < 0.02


def test_the_snap_does_not_make_a_body_bob(demo, rest):
    m = snap_to_floor(demo)
    lift = (m.pelvis - demo.pelvis)[:, 1]
    assert np.ptp(lift) < 0.005 and np.abs((m.pelvis - demo.pelvis)[:, [0, 2]]).max() == 0
    assert m.notes[-1].startswith("floor snap")
    short = snap_to_floor(demo.slice(0, 1))
    world = kinematics.global_rotations(short.quaternions)
    assert abs(kinematics.lowest_foot(world, rest, short.pelvis)[0]) < 0.02
    with pytest.raises(MotionError, match="rig_joints"):
        snap_to_floor(demo, rig_joints=rest[:5])


def test_soles_lie_where_the_mesh_has_them(rig):
    world = kinematics.global_rotations(np.tile((1.0, 0, 0, 0), (1, 55, 1)))
    points = kinematics.foot_points(world, rig.joints, rig.joints[:1])[0]
    vertices = rig.model.vertices
    assert np.abs(points[:, 1] - vertices[:, 1].min()).max() < 0.005
    low = vertices[vertices[:, 1] < vertices[:, 1].min() + 0.02]
    assert max(np.linalg.norm(low - p, axis=1).min() for p in points) < 0.025


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_a_jump_keeps_its_height(fps, rest):
    """Straight up for half a second, 31 cm high, on a floor that is 10 cm too high."""
    t = np.arange(int(2.5 * fps)) / fps - 1
    pelvis = np.zeros((len(t), 3))
    pelvis[:, 1] = np.where((t > 0) & (t < 0.5), 4.905 * t * (0.5 - t), 0)
    m = Motion(
        body=np.zeros((len(t), 55, 3)),
        pelvis=pelvis + rest[0] + (0, 0.1, 0),
        leg_length=kinematics.leg_length(rest),
        fps=fps,
    )
    world = kinematics.global_rotations(m.quaternions)
    feet = kinematics.lowest_foot(world, rest, snap_to_floor(m).pelvis)
    assert np.abs(feet[(t < -0.1) | (t > 0.6)]).max() < 0.015 and feet.min() > -0.02
    assert feet.max() == pytest.approx(pelvis[:, 1].max(), abs=0.02)
