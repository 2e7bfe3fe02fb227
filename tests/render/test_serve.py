"""AvatarService through a real server and client."""
import json
from types import SimpleNamespace

import numpy as np
import pytest

from dinar_live.runtime import Avatar, Body, Camera, DinarError, Pose, Renderer
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.errors import RemoteError
from dinar_live.runtime.motion import Motion, idle_motion
from dinar_live.runtime.render.framing import LEASH
from dinar_live.runtime.serve import MAX_CAPABILITIES, MAX_RENDERERS, AvatarService
from dinar_live.runtime.stream import Client, FrameFormat, RenderRequest, Server
from dinar_live.runtime.stream.messages import CameraView, SourceChoice

SIZE = (96, 80)


@pytest.fixture(scope="module")
def avatar():
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    return Avatar(name="tiny", rig=Body.open().rig(), renderers={"texture": RendererSpec(texture)})


@pytest.fixture
def source(avatar):
    return idle_motion().for_avatar(avatar.rig.joints, avatar.rig.expression_names)


@pytest.fixture(scope="module")
def clips():
    """Four seconds: sideways at a metre per second, an arm goes up."""
    n = 120
    body = np.zeros((n, 55, 3), np.float32)
    body[:, 17, 2] = np.linspace(0, 1, n)
    pelvis = np.zeros((n, 3), np.float32)
    pelvis[:, 0], pelvis[:, 1] = np.linspace(0, 4, n), 0.9
    return [Motion(body, pelvis, 0.85, 30.0, name="stroll")]


@pytest.fixture
def camera(avatar):
    return Camera.look_at((0, 1.2, 5), (0, 1.2, 0), SIZE)


@pytest.fixture
def service(avatar, source):
    with AvatarService(avatar, source=source, size=SIZE, threads=1) as s:
        yield s


@pytest.fixture
def server(service):
    with Server(service.render, service.capabilities()) as s:
        yield s


def wave():
    body = np.zeros((55, 3), np.float32)
    body[16, 2], body[17, 2] = 0.7, 0.9
    return Pose(body, np.float32([0.05, 0.02, 0]))


def test_pictures_are_the_renderers_own(avatar, server, camera):
    with Renderer(avatar, SIZE, threads=1) as renderer, Client(server.endpoint, format=FrameFormat("raw")) as client:
        expected = renderer.render(wave(), camera).rgba
        frame = client.render(wave(), camera)
    assert expected[..., 3].max() == 255
    np.testing.assert_array_equal(frame.rgba, expected)
    assert frame.timings.keys() >= {"lbs", "rasterize", "gather", "compose", "render"} and frame.depth is None


def test_straight_and_depth_are_served_as_asked(avatar, server, camera):
    with (Renderer(avatar, SIZE, threads=1, straight=True, depth=True) as renderer,
          Client(server.endpoint, format=FrameFormat("raw", straight=True, depth="metres")) as client):
        expected = renderer.render(wave(), camera)
        frame = client.render(wave(), camera)
    np.testing.assert_array_equal(frame.rgba, expected.rgba)
    np.testing.assert_array_equal(frame.depth, expected.depth)
    assert 4 < frame.depth.max() < 6


def test_a_pair_of_cameras_shares_the_pose(avatar, server, camera):
    right = Camera.look_at((0.3, 1.2, 5), (0, 1.2, 0), SIZE)
    with Renderer(avatar, SIZE, threads=1) as renderer, Client(server.endpoint, format=FrameFormat("raw")) as client:
        expected = [renderer.render(wave(), c).rgba.copy() for c in (camera, right)]
        frame = client.render(wave(), (camera, right))
    assert len(frame.views) == 2 and not np.array_equal(*expected)
    for view, picture in zip(frame.views, expected, strict=True):
        np.testing.assert_array_equal(view.rgba, picture)


def test_sizes_come_and_go(avatar, service, server, camera):
    with Client(server.endpoint, format=FrameFormat("raw")) as client:
        for side in (16, 24, 32, 40, 48, 16, 56):
            assert client.render(wave(), camera, (side, side)).rgba.shape == (side, side, 4)
        assert len(service._renderers) == MAX_RENDERERS
        again = client.render(wave(), camera).rgba       # its first renderer was closed meanwhile
    with Renderer(avatar, SIZE, threads=1) as renderer:
        np.testing.assert_array_equal(again, renderer.render(wave(), camera).rgba)


def test_frames_in_flight_are_not_overwritten(avatar, server, camera):
    """One slot of a ring per request: what arrives is the pose that was asked for, even at full speed."""
    poses = [Pose(transl=np.float32([x, 0, 0])) for x in np.linspace(-0.5, 0.5, 12)]
    with Renderer(avatar, SIZE, threads=1) as renderer, Client(server.endpoint, format=FrameFormat("raw"), window=3) as client:
        expected = [renderer.render(p, camera).rgba.copy() for p in poses]
        asked = {client.send(poses[0], camera): 0}
        for i in range(1, 60):
            asked[client.send(poses[i % 12], camera)] = i % 12       # on its way while the one before is rendered and encoded
            frame = client.async_read()
            np.testing.assert_array_equal(frame.rgba, expected[asked[frame.id]])


def test_a_clients_pose_is_the_live_one_while_it_drives(avatar, service, server, camera):
    with Renderer(avatar, SIZE, threads=1) as renderer, Client(server.endpoint, format=FrameFormat("raw")) as client:
        expected = renderer.render(wave(), camera).rgba
        client.render(wave(), camera)
        np.testing.assert_array_equal(client.render(None, camera).rgba, expected)
        service._sources._driven = service._sources._driven[0], float("-inf")
        assert not np.array_equal(client.render(None, camera).rgba, expected)


def ask(client, camera, source):
    client.send(None, camera, source=source)
    return client.async_read()


def test_clips_are_shown_at_the_time_asked_for_and_repeat(avatar, clips, camera):
    with (AvatarService(avatar, clips=clips, size=SIZE, threads=1) as service, Server(service.render, service.capabilities()) as server,
          Client(server.endpoint, format=FrameFormat("raw")) as client, Renderer(avatar, SIZE, threads=1) as renderer):
        told = client.capabilities["sources"]
        assert told[0] == {"name": "live", "kind": "live"} and told[1] == {"name": "stroll", "kind": "clip", "duration": 4.0}
        expected = renderer.render(clips[0].for_avatar(avatar.rig.joints).pose_at(1.5), camera).rgba
        assert expected[..., 3].any()
        for time in (1.5, 5.5, -2.5):
            np.testing.assert_array_equal(ask(client, camera, SourceChoice(1, time)).rgba, expected)
        assert not np.array_equal(ask(client, camera, SourceChoice(1, 1.0)).rgba, expected)
        with pytest.raises(RemoteError, match="source 2: this server has sources 0 to 1"):
            ask(client, camera, SourceChoice(2, 0.0))
        with pytest.raises(RemoteError, match="no motion of its own"):
            client.render(None, camera)


def test_following_cameras_go_along_and_say_where_they_were(avatar, clips, camera):
    with (AvatarService(avatar, clips=clips, size=SIZE, threads=1) as service, Server(service.render, service.capabilities()) as server,
          Client(server.endpoint, format=FrameFormat("raw")) as client):
        away, along = (ask(client, camera, SourceChoice(1, 3.9, follow)) for follow in (False, True))
        assert not away.rgba.any()          # it walked out of the picture
        columns = np.flatnonzero(along.rgba[..., 3].any(0))
        assert len(columns) and abs(columns.mean() - SIZE[1] / 2) < 16
    request = RenderRequest(1, (CameraView(camera.K, camera.world_to_camera, SIZE[1], SIZE[0]),), source=SourceChoice(1, 3.9, True))
    with AvatarService(avatar, clips=clips, size=SIZE, threads=1) as service:
        used = service.render(request).camera
    position = Camera(used.K, used.world_to_camera).position - camera.position
    x = clips[0].for_avatar(avatar.rig.joints).ground_path()[int(3.9 * 30)][0]
    np.testing.assert_allclose(position, (x - LEASH, 0, 0), atol=0.02)


def test_without_a_pose_the_source_moves(avatar, service, server):
    with Client(server.endpoint, format=FrameFormat("raw")) as client:
        pictures = []
        for seconds in (0.0, 1.0):
            service._sources._began -= seconds
            pictures.append(client.render(None, service.camera()).rgba)
    assert pictures[0][..., 3].any() and not np.array_equal(*pictures)


def test_without_a_pose_and_source_it_says_so(avatar, camera):
    with (AvatarService(avatar, size=SIZE, threads=1) as service, Server(service.render, service.capabilities()) as server,
          Client(server.endpoint) as client):
        with pytest.raises(RemoteError, match="no pose.*--motion"):
            client.render(None, camera)
        assert client.render(wave(), camera).rgba.any()


@pytest.mark.parametrize("bad, message", [
    (lambda pose, camera: (SimpleNamespace(body=pose.body, transl=pose.transl, expression=np.zeros(99, np.float32)), camera),
     "99 values.*has"),
    (lambda pose, camera: (pose, SimpleNamespace(K=np.float32([[1, 0, 0], [0, -1, 0], [0, 0, 1]]), world_to_camera=camera.world_to_camera)),
     "Camera.K"),
    (lambda pose, camera: (pose, SimpleNamespace(K=camera.K, world_to_camera=2 * np.eye(4, dtype=np.float32))), "Camera.world_to_camera"),
])
def test_bad_requests_are_told_and_the_server_lives_on(server, camera, bad, message):
    with Client(server.endpoint) as client:
        with pytest.raises((RemoteError, DinarError), match=message):
            client.render(*bad(wave(), camera))
        assert client.render(wave(), camera).rgba.any()


def test_capabilities_are_small_json(service, avatar):
    info = service.capabilities()
    assert len(json.dumps(info)) < 8000
    assert info["size"] == list(SIZE) and info["renderer"] == "texture" and "texture" in info["description"]
    assert np.abs(np.array(info["rest_joints"]) - avatar.rig.joints).max() <= 5.1e-5
    assert len(info["joint_names"]) == len(info["parents"]) == 55
    assert (info["engine"], info["precision"], info["rasterizer"]) == ("none", "f32", "native")
    low, high = info["body_extent"]
    assert 1.5 < high - low < 2.1
    assert info["expression_names"] == list(avatar.rig.expression_names)


def test_long_names_do_not_break_the_protocol(avatar):
    from dataclasses import replace

    names = tuple("\u4e00" * 60 + str(i) for i in range(avatar.rig.expressions))
    long = replace(avatar, name="n" * 100_000, rig=replace(avatar.rig, expression_names=names), body_kind="b" * 5000)
    with AvatarService(long, size=SIZE, threads=1) as service:
        assert len(json.dumps(service.capabilities())) <= MAX_CAPABILITIES
        with Server(service.render, service.capabilities()) as server, Client(server.endpoint) as client:
            assert client.capabilities["expressions"] == avatar.rig.expressions


def test_camera_stands_still_for_a_swaying_body_and_follows_a_walking_one(service, avatar):
    start = service.camera()
    follow = service._following
    assert follow.at((0.9 * LEASH, 0.05, 0)) is start
    moved = follow.at((1.0, 0, -2.0))
    spot = moved.position - start.position
    assert spot[1] == pytest.approx(0, abs=1e-5) and np.hypot(spot[0] - 1, spot[2] + 2) == pytest.approx(LEASH, abs=0.01)


def test_camera_shows_the_whole_body(service, avatar):
    with Renderer(avatar, SIZE, threads=1) as renderer:
        rows = np.flatnonzero(renderer.render(service._sources.own.pose_at(0), service.camera()).rgba[..., 3].any(1))
    assert 0.8 * SIZE[0] < rows[-1] - rows[0] + 1 < 0.88 * SIZE[0] and abs((rows[0] + rows[-1]) / 2 - SIZE[0] / 2) < 4


def test_warm_up_renders_the_source(service):
    assert service.warm_up() >= 8
