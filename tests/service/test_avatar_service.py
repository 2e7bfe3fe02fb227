"""AvatarService through a real server and client."""

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import dinar_live.runtime.service.avatar_service as serve_module
from dinar_live.runtime import Avatar, Body, Camera, DinarError, Pose, Renderer
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.core.errors import RemoteError
from dinar_live.runtime.motion import Motion, idle_motion
from dinar_live.runtime.render.framing import LEASH
from dinar_live.runtime.service.avatar_group import MAX_AVATARS, AvatarGroup, different
from dinar_live.runtime.service.avatar_service import (
    MAX_CAPABILITIES,
    AvatarService,
)
from dinar_live.runtime.service.renderer_pool import MAX_RENDERERS, RendererKey
from dinar_live.runtime.service.source_mixer import EASE_SECONDS, HOLD_SECONDS, SourceMixer
from dinar_live.runtime.stream import Client, FrameFormat, Limits, OpenXRView, RenderRequest, Server
from dinar_live.runtime.stream.protocol.messages import CameraView, SourceChoice

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
    with (
        Renderer(avatar, SIZE, threads=1) as renderer,
        Client(server.endpoint, format=FrameFormat("raw")) as client,
    ):
        expected = renderer.render(wave(), camera).rgba
        frame = client.render(wave(), camera)
    assert expected[..., 3].max() == 255
    np.testing.assert_array_equal(frame.rgba, expected)
    assert frame.timings.keys() >= {"lbs", "rasterize", "gather", "compose", "render"} and frame.depth is None


def test_straight_and_depth_are_served_as_asked(avatar, server, camera):
    with (
        Renderer(avatar, SIZE, threads=1, straight=True, depth=True) as renderer,
        Client(server.endpoint, format=FrameFormat("raw", straight=True, depth="metres")) as client,
    ):
        expected = renderer.render(wave(), camera)
        frame = client.render(wave(), camera)
    np.testing.assert_array_equal(frame.rgba, expected.rgba)
    np.testing.assert_array_equal(frame.depth, expected.depth)
    assert 4 < frame.depth.max() < 6


def test_a_pair_of_cameras_shares_the_pose(avatar, server, camera):
    right = Camera.look_at((0.3, 1.2, 5), (0, 1.2, 0), SIZE)
    with (
        Renderer(avatar, SIZE, threads=1) as renderer,
        Client(server.endpoint, format=FrameFormat("raw")) as client,
    ):
        expected = [renderer.render(wave(), c).rgba.copy() for c in (camera, right)]
        frame = client.render(wave(), (camera, right))
    assert len(frame.views) == 2 and not np.array_equal(*expected)
    for view, picture in zip(frame.views, expected, strict=True):
        np.testing.assert_array_equal(view.rgba, picture)


def test_sizes_come_and_go(avatar, service, server, camera):
    with Client(server.endpoint, format=FrameFormat("raw")) as client:
        for side in (16, 24, 32, 40, 48, 16, 56):
            assert client.render(wave(), camera, (side, side)).rgba.shape == (side, side, 4)
        assert len(service._pool) == MAX_RENDERERS
        again = client.render(wave(), camera).rgba  # its first renderer was closed meanwhile
    with Renderer(avatar, SIZE, threads=1) as renderer:
        np.testing.assert_array_equal(again, renderer.render(wave(), camera).rgba)


def test_frames_in_flight_are_not_overwritten(avatar, server, camera):
    """One slot of a ring per request: what arrives is the pose that was asked for, even at full speed."""
    poses = [Pose(transl=np.float32([x, 0, 0])) for x in np.linspace(-0.5, 0.5, 12)]
    with (
        Renderer(avatar, SIZE, threads=1) as renderer,
        Client(server.endpoint, format=FrameFormat("raw"), window=3) as client,
    ):
        expected = [renderer.render(p, camera).rgba.copy() for p in poses]
        asked = {client.send(poses[0], camera): 0}
        for i in range(1, 60):
            asked[client.send(poses[i % 12], camera)] = (
                i % 12
            )  # on its way while the one before is rendered and encoded
            frame = client.async_read()
            np.testing.assert_array_equal(frame.rgba, expected[asked[frame.id]])


class TestDriving:
    """What requests without a pose show while and after a client sends poses. Times are the test's."""

    @pytest.fixture
    def clock(self):
        return [100.0]

    @pytest.fixture
    def sources(self, avatar, source, clock):
        return SourceMixer(avatar.rig, source, clock=lambda: clock[0])

    def same(self, a, b, tolerance=1e-6):
        return np.allclose(a.body, b.body, atol=tolerance) and np.allclose(a.transl, b.transl, atol=tolerance)

    def test_held_then_eased_to_the_servers_own_motion_on_the_spot(self, avatar, sources, source, clock):
        driven = Pose(wave().body, np.float32([2, 0, 1]))
        sources.drive(driven)
        assert self.same(sources.pose(None).pose, driven) and sources.pose(None).time_s == 100.0
        clock[0] += HOLD_SECONDS
        assert self.same(sources.pose(None).pose, driven)
        distances = []
        for _ in range(12):
            clock[0] += EASE_SECONDS / 10
            distances.append(np.abs(sources.pose(None).pose.body - driven.body).max())
        steps = np.diff(distances)
        assert distances[0] < 0.1 and steps.max() < 0.35 and distances[-1] > 0.5  # no jump anywhere
        idle = sources.pose(None)
        own = source.pose_at(sources.now())
        assert self.same(
            idle.pose,
            Pose(own.body, own.transl + np.float32([2, 0, 1]) + [*avatar.rig.joints[0][[0]], 0, 0]),
            1e-3,
        )
        assert idle.time_s == clock[0]

    def test_eased_back_when_poses_return(self, sources, clock):
        sources.pose(None)
        clock[0] += 5
        idle = sources.pose(None).pose
        sources.drive(wave())
        assert self.same(sources.pose(None).pose, idle)
        for _ in range(25):
            clock[0] += 0.05
            sources.drive(wave())
            pose = sources.pose(None).pose
        assert self.same(pose, wave())

    def test_one_client_drives_at_a_time(self, sources, clock):
        first, second = wave(), Pose()
        sources.drive(first, client=1)
        sources.drive(second, client=2)
        assert self.same(sources.pose(None).pose, first)
        clock[0] += HOLD_SECONDS + 0.01
        sources.drive(second, client=2)
        sources.drive(first, client=1)
        clock[0] += EASE_SECONDS
        sources.drive(second, client=2)
        assert self.same(sources.pose(None).pose, second)

    def test_without_a_motion_of_its_own_the_server_shows_a_driven_pose_only(self, avatar, clock):
        sources = SourceMixer(avatar.rig, clock=lambda: clock[0])
        sources.drive(wave())
        assert self.same(sources.pose(None).pose, wave())
        clock[0] += HOLD_SECONDS + 0.01
        with pytest.raises(DinarError, match="no motion of its own"):
            sources.pose(None)

    def test_over_the_wire(self, avatar, service, server, camera):
        service._sources._eased.hold_s = 60.0  # however slow the machine is
        with (
            Renderer(avatar, SIZE, threads=1) as renderer,
            Client(server.endpoint, format=FrameFormat("raw")) as client,
        ):
            expected = renderer.render(wave(), camera).rgba
            driven = client.render(wave(), camera)
            before = time.monotonic_ns()
            shown = client.render(None, camera)
        np.testing.assert_array_equal(shown.rgba, expected)
        assert driven.source_time_ns is None and 0 < shown.source_time_ns <= before


@pytest.mark.parametrize("fov", [(-0.2, 0.2, 0.25, -0.25), (-0.3, 0.15, 0.1, -0.4)])
def test_an_openxr_camera_is_the_same_camera(avatar, server, fov):
    """Asymmetric angles move the picture's middle; the same camera as matrices gives the same pixels."""
    position, orientation = np.float32([0.3, 1.3, 4.5]), np.float32([0.02, 0.03, 0.01, 0.999])
    orientation /= np.linalg.norm(orientation)
    eye = OpenXRView(position, orientation, np.float32(fov), SIZE[1], SIZE[0])
    with Client(server.endpoint, format=FrameFormat("raw")) as client:
        a = client.render(wave(), eye)
        b = client.render(wave(), Camera.from_openxr(position, orientation, fov, SIZE))
        np.testing.assert_array_equal(a.rgba, b.rgba)
        assert a.rgba.any() and a.rgba.shape == (*SIZE, 4)
        pair = client.render(wave(), (eye, eye._replace(position=position + np.float32([0.06, 0, 0]))))
        np.testing.assert_array_equal(pair.views[0].rgba, a.rgba)
        assert not np.array_equal(pair.views[1].rgba, a.rgba)
        with pytest.raises(RemoteError, match="left < right"):
            client.render(wave(), eye._replace(fov=np.float32([0.2, -0.2, 0.2, -0.2])))


def test_an_openxr_camera_follows_as_well(avatar, clips):
    eye = OpenXRView(
        np.float32([0, 1.2, 5]),
        np.float32([0, 0, 0, 1]),
        np.float32([-0.2, 0.2, 0.2, -0.2]),
        SIZE[1],
        SIZE[0],
    )
    with AvatarService(avatar, clips=clips, size=SIZE, threads=1) as service:
        used = service.render(RenderRequest(1, (eye,), source=SourceChoice(1, 3.9, True))).camera
    x = clips[0].for_avatar(avatar.rig.joints).ground_path()[int(3.9 * 30)][0]
    np.testing.assert_allclose(used.position - eye.position, (x - LEASH, 0, 0), atol=0.02)


@pytest.fixture
def cast(avatar, source):
    you = Avatar("you", avatar.rig, {"texture": RendererSpec(np.full((8, 8, 3), 200, np.uint8))})
    with AvatarGroup(
        [AvatarService(a, source=source, size=SIZE, threads=1) for a in (avatar, you, avatar)]
    ) as cast:
        yield cast


@pytest.fixture
def stage(cast):
    with Server(cast.render, {}, avatars=cast.capabilities(), ready=cast.ready) as server:
        yield server


def test_switching_avatars(avatar, cast, stage, camera):
    with Client(stage.endpoint, format=FrameFormat("raw")) as client:
        assert client.capabilities["avatars"] == [avatar.name, "you", f"{avatar.name} 2"]
        mine = client.render(wave(), camera)
        assert client.select("you")["name"] == "you"
        yours = client.render(wave(), camera)
        client.select(f"{avatar.name} 2")
        again = client.render(wave(), camera)
    np.testing.assert_array_equal(mine.rgba, again.rgba)
    np.testing.assert_array_equal(mine.rgba[..., 3], yours.rgba[..., 3])
    assert not np.array_equal(mine.rgba, yours.rgba)


def test_what_one_avatar_is_asked_for_is_ready_for_the_others(cast, stage, camera, eventually):
    with Client(stage.endpoint) as client:
        client.render(wave(), camera, (40, 24), format=FrameFormat(depth="metres"))
        kind = RendererKey((40, 24), False, True)
        eventually(
            lambda: all(
                kind in s._pool._building and s._pool._building[kind].done()
                for s in list(cast.services.values())[1:]
            )
        )


def test_each_avatar_has_its_own_driver(cast, stage, camera):
    raw = FrameFormat("raw")
    for service in cast.services.values():
        service._sources._eased.hold_s = 60.0  # however slow the machine is
    with (
        Client(stage.endpoint, format=raw, avatar="you") as client,
        Client(stage.endpoint, format=raw) as other,
    ):
        driven = client.render(wave(), camera)
        np.testing.assert_array_equal(client.render(None, camera).rgba, driven.rgba)
        assert not np.array_equal(other.render(None, camera).rgba[..., 3], driven.rgba[..., 3])


def test_names_are_made_different_and_fit_the_protocol():
    taken = {}
    for name in ("me", "me", "", "a\nb", "é" * 60, "é" * 60):
        taken[different(name, taken)] = 1
    assert list(taken)[:4] == ["me", "me 2", "avatar", "ab"] and len(taken) == 6
    assert all(len(name.encode()) <= 64 for name in taken)


def test_a_picture_that_needs_a_new_renderer_holds_up_nobody(avatar, source, camera, monkeypatch, eventually):
    gate = threading.Event()
    make = serve_module.Renderer

    def slow(avatar, size, **options):
        if size == (16, 16):
            assert gate.wait(10)
        return make(avatar, size, **options)

    monkeypatch.setattr(serve_module, "Renderer", slow)
    with (
        AvatarService(avatar, source=source, size=SIZE, threads=1) as service,
        Server(service.render, service.capabilities(), ready=service.ready) as server,
        Client(server.endpoint) as patient,
        Client(server.endpoint) as other,
    ):
        id = patient.send(wave(), camera, (16, 16))
        eventually(lambda: server.stats()["requests"] == 1)
        for _ in range(5):
            assert other.render(wave(), camera).rgba.any()
        assert patient.read_latest() is None
        gate.set()
        assert patient.async_read(5).id == id


def test_a_size_that_takes_too_much_memory_is_an_error_and_the_default_stays(avatar, source, camera):
    with (
        AvatarService(avatar, source=source, size=SIZE, threads=1, memory=8 << 20) as service,
        Server(service.render, service.capabilities(), ready=service.ready) as server,
        Client(server.endpoint) as client,
    ):
        assert client.capabilities["memory"] == 8 << 20
        for _ in range(2):
            with pytest.raises(RemoteError, match="1024x1024 pixels need about .* budget of 8 MiB"):
                client.render(wave(), camera, (1024, 1024))
        for side in range(40, 100, 8):
            assert client.render(wave(), camera, (side, side)).rgba.shape[:2] == (side, side)
        assert client.render(wave(), camera).rgba.any()


def test_a_renderer_that_cannot_be_made_is_an_error_each_time(avatar, source, camera):
    with (
        AvatarService(avatar, source=source, size=SIZE, threads=1) as service,
        Server(
            service.render, service.capabilities(), limits=Limits(max_pixels=10**9), ready=service.ready
        ) as server,
        Client(server.endpoint) as client,
    ):
        for _ in range(2):
            with pytest.raises(RemoteError, match="size: got"):
                client.render(wave(), camera, (9, 9000))
        assert client.render(wave(), camera).rgba.any()


def ask(client, camera, source):
    client.send(None, camera, source=source)
    return client.async_read()


def test_clips_are_shown_at_the_time_asked_for_and_repeat(avatar, clips, camera):
    with (
        AvatarService(avatar, clips=clips, size=SIZE, threads=1) as service,
        Server(service.render, service.capabilities()) as server,
        Client(server.endpoint, format=FrameFormat("raw")) as client,
        Renderer(avatar, SIZE, threads=1) as renderer,
    ):
        told = client.capabilities["sources"]
        assert told[0] == {"name": "live", "kind": "live"} and told[1] == {
            "name": "stroll",
            "kind": "clip",
            "duration": 4.0,
        }
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
    with (
        AvatarService(avatar, clips=clips, size=SIZE, threads=1) as service,
        Server(service.render, service.capabilities()) as server,
        Client(server.endpoint, format=FrameFormat("raw")) as client,
    ):
        away, along = (ask(client, camera, SourceChoice(1, 3.9, follow)) for follow in (False, True))
        assert not away.rgba.any()  # it walked out of the picture
        columns = np.flatnonzero(along.rgba[..., 3].any(0))
        assert len(columns) and abs(columns.mean() - SIZE[1] / 2) < 16
    request = RenderRequest(
        1,
        (CameraView(camera.K, camera.world_to_camera, SIZE[1], SIZE[0]),),
        source=SourceChoice(1, 3.9, True),
    )
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
    with (
        AvatarService(avatar, size=SIZE, threads=1) as service,
        Server(service.render, service.capabilities()) as server,
        Client(server.endpoint) as client,
    ):
        with pytest.raises(RemoteError, match="no pose.*--motion"):
            client.render(None, camera)
        assert client.render(wave(), camera).rgba.any()


@pytest.mark.parametrize(
    "bad, message",
    [
        (
            lambda pose, camera: (
                SimpleNamespace(body=pose.body, transl=pose.transl, expression=np.zeros(99, np.float32)),
                camera,
            ),
            "99 values.*has",
        ),
        (
            lambda pose, camera: (
                pose,
                SimpleNamespace(
                    K=np.float32([[1, 0, 0], [0, -1, 0], [0, 0, 1]]), world_to_camera=camera.world_to_camera
                ),
            ),
            "Camera.K",
        ),
        (
            lambda pose, camera: (
                pose,
                SimpleNamespace(K=camera.K, world_to_camera=2 * np.eye(4, dtype=np.float32)),
            ),
            "Camera.world_to_camera",
        ),
    ],
)
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
    assert info["memory"] == 1 << 30


def test_long_names_do_not_break_the_protocol(avatar):
    from dataclasses import replace

    names = tuple("\u4e00" * 60 + str(i) for i in range(avatar.rig.expressions))
    long = replace(
        avatar, name="n" * 100_000, rig=replace(avatar.rig, expression_names=names), body_kind="b" * 5000
    )
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
    assert spot[1] == pytest.approx(0, abs=1e-5) and np.hypot(spot[0] - 1, spot[2] + 2) == pytest.approx(
        LEASH, abs=0.01
    )


def test_camera_shows_the_whole_body(service, avatar):
    with Renderer(avatar, SIZE, threads=1) as renderer:
        rows = np.flatnonzero(
            renderer.render(service._sources.own.pose_at(0), service.camera()).rgba[..., 3].any(1)
        )
    assert (
        0.8 * SIZE[0] < rows[-1] - rows[0] + 1 < 0.88 * SIZE[0]
        and abs((rows[0] + rows[-1]) / 2 - SIZE[0] / 2) < 4
    )


def test_warm_up_renders_the_source(service):
    assert service.warm_up() >= 8


def test_the_longest_names_of_all_avatars_fit_the_protocol(avatar):
    services = [
        AvatarService(Avatar("\U0001f600" * 20, avatar.rig, avatar.renderers), size=(8, 8), threads=1)
        for _ in range(MAX_AVATARS)
    ]
    with AvatarGroup(services) as cast:
        caps = cast.capabilities()
        assert len(caps) == MAX_AVATARS
        room = MAX_CAPABILITIES - max(len(json.dumps(c)) for c in caps.values())
        filled = {name: c | {"filler": "x" * (room - 20)} for name, c in caps.items()}
        with (
            Server(cast.render, {}, avatars=filled, ready=cast.ready) as server,
            Client(server.endpoint) as client,
        ):
            assert client.capabilities["avatars"] == list(caps)
