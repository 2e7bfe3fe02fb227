"""A photo comes alive: the empty scene, where the motion stands, the shadow, and the verb."""

import cv2
import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.cli.main import main
from dinar_live.export.alive.film import Film, scaled
from dinar_live.export.alive.placing import PlacedMotion
from dinar_live.export.alive.scene import LAMA_SIDE, empty_scene, grown
from dinar_live.export.alive.shadow import GroundShadow
from dinar_live.export.inputs import View
from dinar_live.runtime import Avatar, Pose, Renderer
from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.motion import Motion, demo_motion
from dinar_live.runtime.render.framing import whole_body_camera

SIZE = (240, 180)


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar.demo()


def standing(yaw=0.0, upside_down=False) -> Pose:
    body = np.zeros((55, 3), np.float32)
    root = rot.axis_angle_to_quaternion((0, yaw, 0))
    if upside_down:
        root = rot.multiply(rot.axis_angle_to_quaternion((np.pi, 0, 0)), root)
    body[0] = rot.quaternion_to_axis_angle(root)
    body[16, 2], body[17, 2] = -0.7, 0.7
    return Pose(body, np.array([0.4, 0.2, -0.3], np.float32))


@pytest.fixture(scope="module")
def view(avatar) -> View:
    """The demo avatar in front of a gradient."""
    pose = standing()
    camera = whole_body_camera(avatar.rig, avatar.rig.joints[0] + pose.transl, SIZE)
    with Renderer(avatar, SIZE, renderer="texture", crop=False) as r:
        rgba = r.render(pose, camera).rgba
    scene = backdrop()
    rgb = rgba[..., :3] + (scene * (255 - rgba[..., 3:].astype(np.uint16)) // 255).astype(np.uint8)
    return View("me", rgb, rgba[..., 3].astype(np.float32) / 255, pose, camera, np.zeros(10, np.float32))


def backdrop() -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([60 + rows // 3, 80 + columns // 2, 90 + rows // 4], -1).astype(np.uint8)


def feet(rig, pose):
    joints = np.empty((55, 3), np.float32)
    v = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression, joints_out=joints)
    return v, joints[[7, 8, 10, 11]].mean(0)


def test_the_person_leaves_the_scene(view):
    scene, hole = empty_scene(view.rgb, view.mask), grown(view.mask)
    assert np.abs(scene.astype(int) - backdrop()).mean() < 8
    assert np.abs(scene.astype(int) - backdrop())[hole].mean() < 25
    assert np.abs(view.rgb.astype(int) - backdrop())[view.mask > 0.5].mean() > 30
    far = cv2.dilate(hole.astype(np.uint8), np.ones((31, 31))) == 0
    np.testing.assert_array_equal(scene[far], view.rgb[far])
    with pytest.raises(InputError, match="no scene is left"):
        empty_scene(view.rgb, np.ones_like(view.mask))


def test_a_users_lama_paints_the_hole(view, tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, F = onnx.helper, onnx.TensorProto.FLOAT
    shape = [1, 3, LAMA_SIDE, LAMA_SIDE]
    green = helper.make_tensor("green", F, [1, 3, 1, 1], [0.0, 255.0, 0.0])
    nodes = [helper.make_node("Mul", ["mask", "green"], ["painted"]),
             helper.make_node("Add", ["painted", "image"], ["output"])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "lama",
        [helper.make_tensor_value_info("image", F, shape), helper.make_tensor_value_info("mask", F, [1, 1, *shape[2:]])],
        [helper.make_tensor_value_info("output", F, shape)], [green],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = tmp_path / "lama.onnx"
    file.write_bytes(model.SerializeToString())
    scene = empty_scene(view.rgb, view.mask, file)
    inner = cv2.erode(view.mask, np.ones((9, 9))) > 0.9
    assert (scene[inner][:, 1] > 200).all() and (scene[inner][:, 0] < 60).all()
    for wrong, says in ((tmp_path / "none.onnx", "no such file"), (__file__, "cannot be used")):
        with pytest.raises(InputError, match=says):
            empty_scene(view.rgb, view.mask, wrong)


@pytest.mark.parametrize("yaw", [0.0, 1.2])
@pytest.mark.parametrize("upside_down", [False, True])
def test_the_motion_stands_on_the_photos_feet_and_faces_as_the_person_does(avatar, yaw, upside_down):
    photo, rig = standing(yaw, upside_down), avatar.rig
    placed = PlacedMotion(demo_motion(), rig, photo, ease=0.0)
    v, spot = feet(rig, photo)
    first = placed.pose_at(0.0)
    w, stands = feet(rig, first)
    up = -1 if upside_down else 1
    assert placed.up[1] == up
    np.testing.assert_allclose(stands[[0, 2]], spot[[0, 2]], atol=1e-3)
    assert abs((up * v[:, 1]).min() - (up * w[:, 1]).min()) < 1e-3
    facing = [rot.rotate(rot.axis_angle_to_quaternion(p.body[0]), (0, 0, 1.0)) for p in (photo, first)]
    assert facing[0] @ facing[1] > 0.98


def test_it_begins_in_the_photos_pose_without_leaving_the_ground(avatar):
    photo, rig = standing(), avatar.rig
    placed = PlacedMotion(demo_motion(), rig, photo, ease=0.5)
    begin = placed.pose_at(0.0)
    np.testing.assert_allclose(begin.body, photo.body, atol=1e-5)
    np.testing.assert_allclose(begin.transl, photo.transl, atol=1e-4)
    lows = [feet(rig, placed.pose_at(t))[0][:, 1].min() for t in (0.1, 0.25, 0.4, 0.5)]
    assert np.ptp([placed.ground, *lows]) < 0.03
    plain = PlacedMotion(demo_motion(), rig, photo, ease=0.0)
    np.testing.assert_allclose(placed.pose_at(0.6).body, plain.pose_at(0.6).body)


def test_in_place_takes_the_travel_out(avatar):
    body, pelvis = np.zeros((10, 55, 3)), np.zeros((10, 3))
    pelvis[:, 1], pelvis[:, 2] = 0.95, np.linspace(0, 2, 10)
    walk = Motion(body=body, pelvis=pelvis, fps=5.0, leg_length=0.9)
    path = [
        [PlacedMotion(walk, avatar.rig, standing(), travel=t, ease=0.0).pose_at(s).transl for s in (0, 1.8)]
        for t in (True, False)
    ]
    assert np.ptp([p[2] for p in path[0]]) > 1.5 and np.ptp([p[2] for p in path[1]]) < 1e-3


def test_the_shadow_is_under_the_feet(avatar, view):
    up = np.array([0, 1.0, 0])
    v, spot = feet(avatar.rig, view.pose)
    ground = float(v[:, 1].min())
    light = GroundShadow(view.camera.matrix, SIZE, up, ground).at(v, avatar.rig.faces)
    assert light.shape == SIZE and light.min() >= 0 and light.max() <= 1
    spot[1] = ground
    x, y, z = view.camera.matrix @ [*spot, 1]
    column, row = int(x / z), int(y / z)
    below = light[row - 3 : row + 4, column - 12 : column + 13].min()
    assert below < 0.8 and light[: SIZE[0] // 3].min() > 0.99
    lifted = GroundShadow(view.camera.matrix, SIZE, up, ground - 0.5).at(v, avatar.rig.faces)
    assert lifted.min() > below  # contact makes it dark


def test_frames_show_the_scene_and_the_person(avatar, view):
    film = Film(avatar, view, demo_motion())
    frames = list(film.frames(3, 2.0, renderer="texture"))
    assert all(f.shape == (*SIZE, 4) and (f[..., 3] == 255).all() for f in frames)
    person = cv2.erode(view.mask, np.ones((5, 5))) > 0.99
    assert np.abs(frames[0][..., :3].astype(int) - view.rgb)[person].mean() < 6  # as in the photo, at first
    assert np.abs(frames[2][..., :3].astype(int) - frames[0][..., :3])[person].mean() > 1


def test_videos_get_even_sides_and_the_camera_follows(view):
    small = scaled(view, 101)
    assert small.mask.shape == (100, 76)
    point = np.array([0.4, 0.0, -0.3, 1])
    a, b = (c.matrix @ point for c in (view.camera, small.camera))
    np.testing.assert_allclose(a[:2] / a[2] / SIZE[::-1], b[:2] / b[2] / (76, 100), atol=1e-3)


@pytest.fixture(scope="module")
def files(view, avatar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alive")
    cv2.imwrite(str(folder / "me.png"), view.rgb[..., ::-1])
    cv2.imwrite(str(folder / "mask.png"), (view.mask * 255).astype(np.uint8))
    K = np.diag([1.0, 1, 1]) @ view.camera.K
    np.savez(
        folder / "fit.npz", poses=view.pose.body[None], transl=view.pose.transl[None], betas=np.zeros(10, np.float32),
        expression=np.zeros((1, 1), np.float32), K=K[None], world_to_camera=view.camera.world_to_camera[None],
        image_size=np.array(SIZE[::-1]),
    )  # fmt: skip
    avatar.save(folder / "avatar")
    return folder


def test_the_verb_writes_a_video(files, capsys):
    video = files / "out.mp4"
    line = ["alive", str(files / "me.png"), "demo", "--mask", str(files / "mask.png"), "--smplx", str(files / "fit.npz")]  # fmt: skip
    more = ["--avatar", str(files / "avatar"), "--renderer", "texture", "--fps", "4", "--seconds", "1"]
    assert main([*line, *more, "-o", str(video)]) == 0
    assert "4 frames, 180x240, 1.0 s" in capsys.readouterr().out
    film = cv2.VideoCapture(str(video))
    count = 0
    while film.read()[0]:
        count += 1
    assert count == 4
    for wrong, says in (
        (["-o", "x.png"], "--out x.png: got .png"),
        (["-o", "x.mp4", "--seconds", "0"], "--seconds: got 0"),
        (["-o", "x.mp4", "--fps", "nan"], "--fps: got nan"),
        (["-o", "x.mp4", "--longest", "5"], "--longest: got 5"),
        (["-o", "x.mp4", "--body", "b.npz"], "--body: means nothing beside --avatar"),
        (["-o", "x.mp4", "--lama", "nowhere.onnx"], "nowhere.onnx: no such file"),
    ):
        assert main([*line, *more[:4], *wrong]) == 2
        assert says in capsys.readouterr().err
    assert not (files / "x.mp4").exists()
