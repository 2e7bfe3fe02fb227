"""BodyBounds holds every vertex of every pose, and not much more."""

import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.runtime import Body, Camera, Pose
from dinar_live.runtime.avatar.rig import Rig
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.render.bounds import BodyBounds
from dinar_live.runtime.render.framing import FollowingCamera, body_extent

SIZE = (512, 512)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Body.open().rig()


@pytest.fixture(scope="module")
def corrected(rig) -> Rig:
    """The same body with pose correctives, as SMPL-X has them (millimetres per unit)."""
    directions = (
        np.random.default_rng(5).normal(0, 2e-3, (486, len(rig.model.vertices), 3)).astype(np.float32)
    )
    return Rig.from_arrays({**rig.arrays(), "pose_dirs": directions}, rig.expression_names)


def wild_pose(rig, rng) -> Pose:
    return Pose(
        rng.normal(0, rng.choice([0.2, 1.2]), (55, 3)),
        rng.normal(0, 0.3, 3),
        rng.normal(0, 1, rng.integers(0, rig.expressions + 1)) * rng.choice([0.3, 3]),
    )


def vertices(rig, pose):
    return kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)


@pytest.mark.parametrize("body", ["rig", "corrected"])
def test_every_vertex_stays_inside_of_its_patch(body, request):
    """Stronger than the box: each vertex lies in one of the balls."""
    rig, rng = request.getfixturevalue(body), np.random.default_rng(0)
    bounds = BodyBounds(rig)
    for _ in range(25):
        pose = wild_pose(rig, rng)
        bounds.place(pose)
        points = vertices(rig, pose)[::7].astype(np.float64)
        outside = np.linalg.norm(points[:, None] - bounds._centres, axis=2) - bounds._radii
        assert outside.min(1).max() <= 0


@pytest.mark.parametrize("body", ["rig", "corrected"])
def test_the_box_holds_the_projected_body(body, request):
    rig, rng = request.getfixturevalue(body), np.random.default_rng(1)
    bounds = BodyBounds(rig)
    judged = 0
    for _ in range(80):
        pose = wild_pose(rig, rng)
        fov = np.array([-1, 1, 1, -1]) * rng.uniform(0.3, 1.1, 4)
        turn = rng.normal(size=4) * [0.1, 0.3, 0.1, 0] + [0, 0, 0, 1]
        eye = rig.joints[0] + rng.normal(0, 0.3, 3) + [0, 0, rng.uniform(1.2, 5)]
        camera = Camera.from_openxr(eye, turn / np.linalg.norm(turn), fov, SIZE)
        K = camera.K.copy()
        K[0, 1], K[1, 0] = rng.normal(0, 30, 2)  # a skewed sensor, which the maths must not forget
        camera = Camera(K, camera.world_to_camera)
        bounds.place(pose)
        box = np.array(bounds.box(camera))
        _, true = kernels.project(vertices(rig, pose), camera.matrix)
        if true is None:
            assert np.isinf(box).all()
            continue
        judged += 1
        assert (box[:2] <= true[:2]).all() and (box[2:] >= true[2:]).all()
    assert judged > 50


def test_the_box_is_tight_on_the_demo_motion(rig):
    """Typical bent bodies: the box may be a few per cent wider than the body."""
    bounds, motion = BodyBounds(rig), demo_motion().for_avatar(rig.joints, rig.expression_names)
    follow = FollowingCamera(rig.joints[0], body_extent(rig), SIZE)
    ratios = []
    for t in np.linspace(0, motion.duration, 40):
        pose = motion.pose_at(t)
        camera = follow.at(pose.transl)
        bounds.place(pose)
        x0, y0, x1, y1 = bounds.box(camera)
        _, true = kernels.project(vertices(rig, pose), camera.matrix)
        ratios.append((x1 - x0) * (y1 - y0) / ((true[2] - true[0]) * (true[3] - true[1])))
    assert np.median(ratios) < 1.2 and max(ratios) < 1.6


def test_behind_and_at_the_near_plane(rig):
    bounds = BodyBounds(rig)
    bounds.place(Pose())
    assert bounds.box(Camera.look_at((0, 0, 5), (0, 0, 9), SIZE)) is None
    assert np.isinf(bounds.box(Camera.look_at(rig.joints[0], (0, 0, 9), SIZE))).all()
    assert np.isfinite(bounds.box(Camera.look_at((0, 0, 5), (0, 0, 0), SIZE))).all()
