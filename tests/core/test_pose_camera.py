"""Pose and Camera: what they refuse, and that the projections mean what they say."""

import math

import numpy as np
import pytest

from dinar_live.runtime import Camera, Pose
from dinar_live.runtime.core.errors import InputError


def test_pose_copies_and_is_read_only():
    body = np.zeros((55, 3))
    pose = Pose(body)
    body[0] = 1
    assert pose.body.dtype == np.float32 and not pose.body.any()
    with pytest.raises(ValueError):
        pose.body[0, 0] = 1


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"body": np.zeros((54, 3))}, r"Pose.body: got shape \[54, 3\], expected \[55,3\]"),
        ({"body": np.full((55, 3), np.nan)}, "Pose.body.*NaN"),
        ({"body": np.full((55, 3), 13.0)}, "Pose.body.*at most"),
        ({"transl": [0, 0]}, "Pose.transl"),
        ({"transl": [0, np.inf, 0]}, "Pose.transl"),
        ({"expression": np.zeros((1, 10))}, "Pose.expression"),
        ({"body": "no"}, "Pose.body: not an array"),
    ],
)
def test_bad_poses(arguments, says):
    with pytest.raises(InputError, match=says):
        Pose(**arguments)


@pytest.mark.parametrize(
    "K, w2c, says",
    [
        (np.eye(4), np.eye(4), "Camera.K"),
        (-np.eye(3), np.eye(4), "focal"),
        (np.eye(3), np.eye(4) * 2, "rotation"),
        (np.eye(3), np.diag([1.0, 1, -1, 1]), "rotation"),
        (np.eye(3), np.full((4, 4), np.nan), "NaN"),
    ],
)
def test_bad_cameras(K, w2c, says):
    with pytest.raises(InputError, match=says):
        Camera(K, w2c)


def project(camera, point):
    x, y, z = camera.matrix @ [*point, 1]
    return x / z, y / z, z


def test_orbit_sees_left_where_it_should():
    front = Camera.orbit([0, 0, 0], (200, 300), distance=4)
    assert project(front, [0, 0, 0]) == pytest.approx((150, 100, 4), abs=1e-4)
    assert project(front, [0.5, 0, 0])[0] > 150  # the person's left is on the right of the picture
    assert project(front, [0, 0.5, 0])[1] < 100
    left = Camera.orbit([0, 0, 0], (200, 300), azimuth=math.pi / 2, distance=4)
    np.testing.assert_allclose(left.position, [4, 0, 0], atol=1e-5)


def test_look_at_refuses_nonsense():
    with pytest.raises(InputError, match="look_at"):
        Camera.look_at([0, 1, 0], [0, 0, 0], (10, 10))
    with pytest.raises(InputError, match="look_at"):
        Camera.look_at([0, 0, 0], [0, 0, 0], (10, 10))


def test_openxr_frustum_corners_land_on_the_picture_corners():
    fov = (-0.7, 0.5, 0.6, -0.4)  # asymmetric: left, right, up, down
    camera = Camera.from_openxr([1, 2, 3], [0, 0, 0, 1], fov, (400, 600))
    for (x, y), angles in {
        (0, 0): (fov[0], fov[2]),
        (600, 400): (fov[1], fov[3]),
        (600, 0): (fov[1], fov[2]),
    }.items():
        point = np.array([1, 2, 3]) + 2 * np.array(
            [math.tan(angles[0]), math.tan(angles[1]), -1]
        )  # OpenXR looks along -z
        assert project(camera, point) == pytest.approx((x, y, 2), abs=1e-3)


def test_openxr_turned_head():
    half = math.sin(math.pi / 4), math.cos(math.pi / 4)
    camera = Camera.from_openxr(
        [0, 0, 0], [0, half[0], 0, half[1]], (-0.5, 0.5, 0.5, -0.5), (100, 100)
    )  # +90 degrees about y: looks along -x
    assert project(camera, [-3, 0, 0]) == pytest.approx((50, 50, 3), abs=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(position=[0, 0, 0], orientation=[0, 0, 0, 2], fov=(-0.5, 0.5, 0.5, -0.5)),
        dict(position=[0, 0, 0], orientation=[0, 0, 0, 1], fov=(0.5, -0.5, 0.5, -0.5)),
        dict(position=[0, 0], orientation=[0, 0, 0, 1], fov=(-0.5, 0.5, 0.5, -0.5)),
    ],
)
def test_openxr_refuses(arguments):
    with pytest.raises(InputError, match="from_openxr"):
        Camera.from_openxr(size=(10, 10), **arguments)
