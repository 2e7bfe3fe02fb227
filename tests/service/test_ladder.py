"""Ladder: which renderer a request gets through a real server, and that the picture keeps its place and size."""

import threading

import numpy as np
import pytest
from scipy import ndimage

import dinar_live.runtime.service.avatar_service as service_module
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.core.errors import DinarError, RemoteError
from dinar_live.runtime.motion import idle_motion
from dinar_live.runtime.service import AvatarGroup, AvatarService
from dinar_live.runtime.service.demand import Demand
from dinar_live.runtime.service.ladder import Ladder, differs, enlarged, scaled, scaled_camera
from dinar_live.runtime.service.quality import Rung
from dinar_live.runtime.stream import Client, FrameFormat, Server

SIZE = (96, 80)
RAW = FrameFormat("raw")


@pytest.fixture(scope="module")
def avatar():
    rng = np.random.default_rng(1)
    fine, coarse = (rng.integers(40, 255, (64, 64, 3), np.uint8) for _ in range(2))
    return Avatar(
        name="tiny",
        rig=Body.open().rig(),
        renderers={"fine": RendererSpec(fine, samples=2), "coarse": RendererSpec(coarse)},
    )


@pytest.fixture
def camera():
    return Camera.look_at((0, 1.2, 5), (0, 1.2, 0), SIZE)


@pytest.fixture
def costs(monkeypatch):
    """Renderer -> the milliseconds that its frames are measured at."""
    table = {"fine": 10.0, "coarse": 1.0}
    monkeypatch.setattr(Ladder, "_cost", lambda self, renderer, poses, camera: table[renderer.renderer_name])
    return table


@pytest.fixture
def start(avatar, costs):
    """start(fps, **options) -> a warmed-up AvatarService."""
    services = []

    def make(fps=30.0, **options):
        source = idle_motion().for_avatar(avatar.rig.joints, avatar.rig.expression_names)
        demand = Demand(fps) if fps else None
        service = AvatarService(avatar, source=source, size=SIZE, threads=1, demand=demand, **options)
        services.append(service)
        service.warm_up()
        return service

    yield make
    for service in services:
        service.close()


def served(service):
    return Server(service.render, service.capabilities(), ready=service.ready)


def own(avatar, name, camera, size=SIZE):
    with Renderer(avatar, size, threads=1, renderer=name) as renderer:
        return renderer.render(Pose(), camera).rgba.copy()


def box(covered):
    """First and last row and column that have something."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    return rows[0], rows[-1], columns[0], columns[-1]


@pytest.mark.parametrize("fine, chosen", [(10.0, "fine"), (40.0, "coarse")])
def test_who_names_none_gets_the_choice_and_is_told_when_asked(start, costs, avatar, camera, fine, chosen):
    costs["fine"] = fine
    with served(start()) as server, Client(server.endpoint, format=RAW) as client:
        assert client.capabilities["renderer"] == client.capabilities["quality"]["renderer"] == chosen
        frame = client.render(Pose(), camera)
        assert frame.rendered is None
        client.renderer = ""
        told = client.render(Pose(), camera)
    np.testing.assert_array_equal(frame.rgba, own(avatar, chosen, camera))
    np.testing.assert_array_equal(told.rgba, frame.rgba)
    assert told.rendered == (chosen, 1.0)


@pytest.mark.parametrize("fps", [0, 30])
def test_a_request_can_name_a_renderer(start, avatar, camera, fps):
    with served(start(fps)) as server, Client(server.endpoint, format=RAW) as client:
        assert client.capabilities["renderers"] == ["fine", "coarse"]
        for name in ("coarse", "fine", "coarse"):
            client.renderer = name
            frame = client.render(Pose(), camera)
            assert frame.rendered == (name, 1.0)
            np.testing.assert_array_equal(frame.rgba, own(avatar, name, camera))
        client.renderer = "lite"
        for _ in range(2):
            with pytest.raises(RemoteError, match="renderer: got 'lite', the avatar has fine, coarse"):
                client.render(Pose(), camera)
        client.renderer = None
        assert client.render(Pose(), camera).rgba.any()


def test_a_named_renderer_of_the_command_line_is_the_only_one_to_choose(start):
    service = start(renderer="fine")
    assert {rung.renderer for rung in service.ladder.quality.rungs} == {"fine"}
    assert start(0).quality is None


@pytest.mark.parametrize("size", [(384, 320), (389, 133), (256, 512)])
@pytest.mark.parametrize("scale", [0.75, 0.5])
def test_a_frame_of_fewer_pixels_has_the_size_asked_for_and_its_place(
    start, costs, avatar, camera, size, scale
):
    costs |= {"fine": 900.0, "coarse": 500.0}  # whatever is chosen is scaled
    service = start()
    service.ladder.quality.choice = service.ladder.quality.choice.__class__(Rung("coarse", scale), "", 1.0)
    camera = Camera.look_at((0, -0.3, 5), (0, -0.3, 0), size)
    with served(service) as server, Client(server.endpoint, format=RAW) as client:
        client.renderer = ""
        frames = [client.render(Pose(), camera, size) for _ in range(3)]
    whole = own(avatar, "coarse", camera, size)
    frame = frames[-1]
    assert frame.rendered == ("coarse", scale) and frame.rgba.shape == whole.shape
    edges = [
        np.array(box(rgba[..., 3] > 40)) for rgba in (whole, frame.rgba)
    ]  # fingers are thinner than a pixel
    assert np.abs(edges[0] - edges[1]).max() <= 1  # pixel: nothing moves when the scale changes
    middles = [np.array(ndimage.center_of_mass(rgba[..., 3])) for rgba in (whole, frame.rgba)]
    assert np.abs(middles[0] - middles[1]).max() < 0.5
    assert (frame.rgba[..., :3] <= frame.rgba[..., 3:]).all()  # still premultiplied


def test_depth_and_straight_colour_are_never_scaled(start, costs, camera):
    costs |= {"fine": 900.0, "coarse": 500.0}
    service = start()
    assert service.ladder.quality.choice.rung.scale < 1
    for format in (FrameFormat("raw", depth="metres"), FrameFormat("raw", straight=True)):
        with served(service) as server, Client(server.endpoint, format=format) as client:
            client.renderer = ""
            assert client.render(Pose(), camera).rendered == ("coarse", 1.0)


def test_edges_and_pixels_of_a_scaled_view():
    camera = Camera.look_at((0, 1.2, 5), (0, 1.2, 0), (97, 33))
    smaller = scaled((97, 33), 0.5)
    assert smaller == (49, 17) and scaled((1, 1), 0.5) == (1, 1)
    half = scaled_camera(camera, (97, 33), smaller)
    for corner in ((0, 0), (33, 97)):
        ray = np.linalg.solve(camera.K, [*corner, 1])
        np.testing.assert_allclose((half.K @ ray)[:2], np.array(corner) * [17 / 33, 49 / 97], atol=1e-4)
    picture = np.arange(49 * 17 * 4, dtype=np.uint8).reshape(49, 17, 4)
    assert enlarged(picture, (49, 17)) is picture and enlarged(picture, (97, 33)).shape == (97, 33, 4)


def test_while_the_choice_is_being_made_another_serves(start, avatar, camera, monkeypatch, eventually):
    gate = threading.Event()
    make = service_module.Renderer

    def slow(avatar, size, *, options):
        if options.renderer == "coarse" and size == (64, 64):
            assert gate.wait(10)
        return make(avatar, size, options=options)

    monkeypatch.setattr(service_module, "Renderer", slow)
    service = start()
    camera = Camera.look_at((0, 1.2, 5), (0, 1.2, 0), (64, 64))
    with served(service) as server, Client(server.endpoint, format=RAW) as client:
        client.renderer = ""
        assert client.render(Pose(), camera, (64, 64)).rendered.renderer == "fine"
        service.ladder.quality.choice = service.ladder.quality.choice.__class__(Rung("coarse"), "", 1.0)
        assert client.render(Pose(), camera, (64, 64)).rendered.renderer == "fine"
        gate.set()
        eventually(lambda: client.render(Pose(), camera, (64, 64)).rendered.renderer == "coarse")


def test_a_change_is_told_to_whoever_asks_and_in_the_log(start, camera, caplog):
    service = start()
    group = AvatarGroup([service])
    with (
        Server(group.render, {}, avatars=group.capabilities(), ready=group.ready) as server,
        Client(server.endpoint, format=RAW) as client,
        caplog.at_level("INFO", logger="dinar_live"),
    ):
        group.tell(server.update)
        server.use_spare_time(group)
        assert client.describe()["quality"]["renderer"] == "fine"
        quality = service.ladder.quality
        quality._take(Rung("coarse"), "coarse: because", [])
        group._told_at = -1e9
        client.render(Pose(), camera)
        told = client.describe()
        assert (told["renderer"], told["quality"]["why"]) == ("coarse", "coarse: because")
        assert "quality of tiny: coarse: because" in caplog.text


def test_a_better_choice_is_tried_while_nothing_is_to_do(start, costs, camera):
    """The trial renders the last request with the candidate, and only once that is there for its size."""
    costs["fine"] = 40.0
    service = start()
    tried = []
    quality = service.ladder.quality
    assert not service.ladder.due()  # nobody has asked yet
    with served(service) as server, Client(server.endpoint, format=RAW) as client:
        client.render(Pose(), camera)
    quality.tried = lambda rung, client, milliseconds: tried.append((rung, milliseconds)) or True
    quality.__class__ = type("Eager", (quality.__class__,), {"candidate": Rung("fine")})
    assert service.ladder.due() and service.ladder.use()
    assert [rung for rung, _ in tried] == [Rung("fine")] and tried[0][1] > 0


def test_what_clients_were_told_is_out_of_date():
    told = {"renderer": "a", "scale": 1.0, "holds": 50.0}
    assert not differs(told, {**told, "holds": 52.0}) and not differs(None, None)
    for other in ({"holds": 60.0}, {"renderer": "b"}, {"scale": 0.5}):
        assert differs(told, told | other)
    assert differs(None, told)


def test_a_renderer_that_cannot_be_made_is_left_out(start, monkeypatch, caplog):
    make = service_module.Renderer

    def broken(avatar, size, *, options):
        if options.renderer == "coarse":
            raise DinarError("no such network")
        return make(avatar, size, options=options)

    monkeypatch.setattr(service_module, "Renderer", broken)
    service = start()
    assert {rung.renderer for rung in service.ladder.quality.rungs} == {"fine"}
    assert "renderer coarse is left out of the choice: no such network" in caplog.text


def test_what_there_is_no_room_for_is_left_out(start, costs, camera):
    service = start(memory=1)
    assert {rung.renderer for rung in service.ladder.quality.rungs} == {"fine"}
    with served(service) as server, Client(server.endpoint) as client:
        assert client.render(Pose(), camera).rgba.any()


def test_on_a_gpu_no_second_network_is_built_where_the_first_is_fast(start):
    ladder = start().ladder
    assert not ladder._ample({Rung("light"): 1.0})  # on a CPU what else runs may come and go
    ladder._on_gpu = True
    assert ladder._ample({Rung("light"): 1.0}) and not ladder._ample({Rung("light"): 25.0})
    assert not ladder._ample({})
