"""The client's verbs, its way back after a restart, and whole sessions."""

import ast
import dataclasses
import io
import pathlib
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq

import dinar_live.runtime.stream.client as client_module
import dinar_live.runtime.stream.received_frame as frame_module
from dinar_live.runtime.core.errors import (
    DinarError,
    InputError,
    ProtocolError,
    RemoteError,
    StreamTimeout,
)
from dinar_live.runtime.stream import Client, FrameFormat, Limits, OpenXRView, Server, SourceChoice
from dinar_live.runtime.stream.clock import ClockComparison
from dinar_live.runtime.stream.connection import REPLACE_SECONDS, _between_replacements
from dinar_live.runtime.stream.protocol.image_codec import decode_view
from dinar_live.runtime.stream.protocol.messages import Caps
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.protocol.wire import ErrorCode


@pytest.fixture
def client(server):
    with Client(server.endpoint, format=FrameFormat("raw")) as client:
        yield client


def test_render(client, pose, camera, make_picture):
    before = time.monotonic_ns()
    frame = client.render(pose(0.5), camera)
    assert frame.id == 1 and np.array_equal(frame.rgba, make_picture(64, 48, 0.5)) and frame.depth is None
    assert (
        before
        <= frame.pose_time_ns
        <= frame.sent_ns
        <= frame.received_ns
        <= frame.decoded_ns
        <= time.monotonic_ns()
    )
    assert (
        frame.sent_ns <= frame.server_recv_ns <= frame.server_send_ns <= frame.received_ns
    )  # one machine, one clock
    assert frame.latency_ms == (frame.decoded_ns - frame.pose_time_ns) / 1e6
    assert frame.timings["stub"] == 1.5 and frame.bytes > 1000


def test_jpeg_depth_size_and_no_pose(server, camera, make_picture):
    with Client(server.endpoint, format=FrameFormat(depth="metres")) as client:
        frame = client.render(None, camera, (80, 96))
    picture = make_picture(80, 96)
    assert np.array_equal(frame.rgba[..., 3], picture[..., 3])
    assert np.abs(frame.rgba.astype(int) - picture).mean() < 3
    assert (frame.depth[picture[..., 3] > 0] == 2.5).all()


def test_stereo(client, pose, camera):
    frame = client.render(pose(), (camera, camera))
    assert len(frame.views) == 2 and np.array_equal(frame.views[0].rgba, frame.views[1].rgba)


def test_what_the_renderer_is_given(client, stub, pose, camera):
    p = pose(0.25)
    p.transl, p.expression = np.float32([1, 2, 3]), np.float32([4, 5])
    client.send(p, camera, (16, 8), pose_time_ns=77)
    assert client.async_read().pose_time_ns == 77
    request = stub.requests[0]
    assert np.array_equal(request.pose.body, p.body) and np.array_equal(request.pose.transl, p.transl)
    assert np.array_equal(request.pose.expression, p.expression) and request.cameras[0].size == (16, 8)
    assert np.array_equal(request.cameras[0].K, camera.K) and np.array_equal(
        request.cameras[0].world_to_camera, camera.world_to_camera
    )


def test_capabilities(client):
    assert client.capabilities["avatar"] == "stub" and client.capabilities["protocol"] == 1


def test_the_format_of_a_client_and_of_a_request(server, stub, pose, camera, make_picture):
    whole = FrameFormat("raw", depth="inverse", margin=7, depth_range=(1, 5))
    with Client(server.endpoint, format=whole) as client:
        frame = client.render(pose(), camera)
        assert stub.requests[-1].format == whole.wire
        assert np.allclose(frame.depth[frame.rgba[..., 3] > 0], 2.5, atol=1e-3)
        frame = client.render(pose(), camera, format=FrameFormat(background=(1, 0, 0), quality=95))
        assert (frame.rgba[..., 3] == 255).all() and np.abs(
            frame.rgba[0, 0].astype(int) - (255, 0, 0, 255)
        ).max() < 9
        assert client.render(pose(), camera).depth is not None


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"color": "webp"}, "color"),
        ({"quality": 101}, "quality"),
        ({"quality": 50.5}, "quality"),
        ({"alpha": "quarter"}, "alpha"),
        ({"depth": True}, "depth"),
        ({"margin": -1}, "margin"),
        ({"background": (0, 0, 300)}, "background"),
        ({"depth_range": (2, 1)}, "depth_range"),
        ({"background": (0, 0, 0), "straight": True}, "straight"),
    ],
)
def test_formats_that_are_none(more, field):
    with pytest.raises(InputError, match=f"FrameFormat.{field}"):
        FrameFormat(**more)


def test_openxr_cameras_go_and_come_as_they_are(client, stub, pose, camera):
    eye = OpenXRView(
        np.float32([0, 1.5, 2]), np.float32([0, 0, 0, 1]), np.float32([-0.8, 0.7, 0.6, -0.5]), 32, 24
    )
    frame = client.render(pose(), (eye, camera))
    assert [c.size for c in stub.requests[0].cameras] == [(24, 32), (64, 48)] and frame.views[
        0
    ].rgba.shape == (24, 32, 4)
    assert isinstance(frame.cameras[0], OpenXRView) and all(map(np.array_equal, frame.cameras[0], eye))
    assert np.array_equal(frame.cameras[1].K, camera.K)
    assert client.render(pose(), eye, (48, 40)).rgba.shape == (48, 40, 4)


def test_sources(client, stub, camera):
    for source in (None, SourceChoice(2, 1.5, True)):
        client.render(None, camera, source=source)
        assert stub.requests[-1].source == source and stub.requests[-1].pose is None


class TestAvatars:
    @pytest.fixture
    def server(self, stub):
        with Server(
            stub,
            {"size": [64, 48]},
            avatars={"me": {"name": "me", "joints": 1}, "you": {"name": "you", "joints": 2}},
        ) as server:
            yield server

    def test_the_first_is_the_default(self, client, stub, pose, camera):
        assert (
            client.avatar == ""
            and client.capabilities["name"] == "me"
            and client.capabilities["avatars"] == ["me", "you"]
        )
        client.render(pose(), camera)
        assert stub.requests[-1].avatar == ""

    def test_switching(self, client, stub, pose, camera):
        first = client.render(pose(), camera).id
        assert client.describe("you")["joints"] == 2 and client.capabilities["joints"] == 1
        assert (
            client.select("you")["joints"] == 2
            and client.capabilities["joints"] == 2
            and client.avatar == "you"
        )
        assert client.render(pose(), camera).id > first and stub.requests[-1].avatar == "you"
        client.select("me")
        client.render(pose(), camera)
        assert stub.requests[-1].avatar == "me"

    def test_two_clients_have_one_each(self, server, stub, pose, camera):
        with Client(server.endpoint, avatar="you") as yours, Client(server.endpoint) as mine:
            assert yours.capabilities["name"] == "you" and mine.capabilities["name"] == "me"
            yours.render(pose(), camera), mine.render(pose(), camera)
        assert [r.avatar for r in stub.requests] == ["you", ""] and stub.requests[0].client != stub.requests[
            1
        ].client

    def test_many_threads_ask_at_once(self, client):
        told = []
        threads = [
            threading.Thread(target=lambda name=name: told.append(client.describe(name)["name"]))
            for name in ["me", "you"] * 4
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(told) == ["me"] * 4 + ["you"] * 4 and not client._connection.described

    def test_nobody_of_that_name(self, server, client, stub, pose, camera):
        with pytest.raises(RemoteError, match="no avatar 'they' here, expected me, you") as e:
            client.select("they")
        assert e.value.code == ErrorCode.UNKNOWN_AVATAR and client.avatar == ""
        assert client.render(pose(), camera).rgba.any()
        with pytest.raises(RemoteError, match="they"):
            Client(server.endpoint, avatar="they")


def test_clock_offset(client, eventually):
    eventually(lambda: client.clock_offset_ns is not None)
    assert abs(client.clock_offset_ns) < 50e6


def test_sync_clock(client, eventually):
    clock = client.sync_clock(5)
    assert (
        abs(clock.offset_ns) <= clock.uncertainty_ns < 50e6 and clock.round_trip_ns > 0
    )  # one machine, one clock
    assert len(client._connection.comparison._samples) >= 5


def test_a_clock_comparison_trusts_the_quickest_exchange_until_it_is_old():
    clock, second = ClockComparison(), 10**9
    assert clock.at(0) is None
    clock.add(0, 5000, 5010, 1010)  # 1000 ns on the way, the server 4500 ns ahead
    clock.add(2000, 26000, 26010, 42010)  # 40 us, 4000 ns ahead
    assert clock.at(42010)[:2] == (4500, 1000)
    clock.add(10 * second, 10 * second + 9000, 10 * second + 9010, 10 * second + 40010)
    assert clock.at(10 * second + 40010).offset_ns == -11000  # the quick one may be off by 500 us by now
    clock.add(50, 10, 20, 40)  # came before it left
    assert len(clock._samples) == 3
    clock.clear()
    assert clock.at(0) is None


def test_another_server_has_another_clock(stub, pose, camera):
    server = Server(stub, {}).start()
    with Client(server.endpoint) as client:
        client.sync_clock(3)
        client._connection.comparison.add(
            0, 10**15, 10**15, 1
        )  # as if the old server's clock had been far ahead
        server.close()
        with Server(stub, {}, server.endpoint):
            client.render(pose(), camera, (64, 48))
            assert abs(client.sync_clock(2).offset_ns) < 1e9


def test_the_age_of_a_pose_that_the_server_had(stub, camera):
    def render(request):
        return dataclasses.replace(stub(request), source_time_ns=time.monotonic_ns() - 250_000_000)

    with Server(render, {}) as server, Client(server.endpoint) as client:
        client.sync_clock(4)
        frame = client.render(None, camera, (64, 48))
        assert 250 < client.pose_age_ms(frame) < 250 + frame.latency_ms + 50


def test_read_latest_never_waits(client, stub, pose, camera, eventually):
    assert client.read_latest() is None
    stub.gate = threading.Event()
    client.send(pose(), camera)
    began = time.monotonic()
    assert client.read_latest() is None and time.monotonic() - began < 0.1
    stub.gate.set()
    eventually(lambda: client.read_latest() is not None)
    assert client.read_latest() is client.read_latest()


def test_async_read_gives_each_frame_once(client, pose, camera):
    id = client.send(pose(), camera)
    assert client.async_read(5).id == id
    with pytest.raises(TimeoutError):
        client.async_read(0.05)
    client.render(pose(), camera)
    with pytest.raises(TimeoutError):  # render() has returned it
        client.async_read(0.05)


def test_sending_faster_than_the_server_renders_shows_the_newest(client, stub, pose, camera):
    stub.seconds = 0.05
    last = [client.send(pose(i / 200), camera) for i in range(200)][-1]
    ids = []
    while not ids or ids[-1] != last:
        ids.append(client.async_read(5).id)
    assert ids == sorted(set(ids)) and len(ids) <= 6 and len(stub.requests) == len(ids)


@pytest.mark.parametrize("window", [1, 3])
def test_the_window_bounds_what_is_on_its_way(server, stub, pose, camera, window, eventually):
    stub.gate = threading.Event()
    with Client(server.endpoint, window=window) as client:
        for _ in range(20):
            client.send(pose(), camera)
            time.sleep(0.002)
        # What the server answers SUPERSEDED gives its place in the window free again. One beyond it may go.
        assert len(client._connection.in_flight) <= (1 if window == 1 else window + 1)
        if window == 1:
            assert server.stats()["requests"] == 1
        stub.gate.set()
        eventually(lambda: (frame := client.read_latest()) is not None and frame.id == 20)


@pytest.mark.parametrize("window", [1, 2, 3, 8])
def test_what_is_rendered_when_the_renderer_is_free_is_the_newest(
    server, stub, pose, camera, window, eventually
):
    """Whatever was sent while it was busy; and nothing piles up anywhere."""
    gate = stub.gate = threading.Event()
    with Client(server.endpoint, window=window) as client:
        client.send(pose(0), camera)
        eventually(lambda: stub.requests)
        for i in range(1, 21):
            last = client.send(pose(i / 20), camera)
            time.sleep(0.001)
        if window > 1:  # it has come to where the renderer takes it from
            eventually(lambda: [slot.request.id for slot in server._mailbox._slots.values()] == [last])
            eventually(lambda: set(client._connection.in_flight) == {1, last})
        gate.set()
        eventually(lambda: len(stub.requests) == 2)
        assert [float(r.pose.body[0, 0]) for r in stub.requests] == [0, 1]
        eventually(lambda: (frame := client.read_latest()) is not None and frame.id == last)
    assert server.stats()["errors"] == 0


@pytest.mark.parametrize("window", [2, 8])
def test_replacing_stays_below_the_rate_limit(stub, pose, camera, window, eventually):
    """A program that asks in a tight loop while the renderer is busy is never told RATE."""
    gate = stub.gate = threading.Event()
    with (
        Server(stub, {}, limits=Limits(max_rate=100)) as server,
        Client(server.endpoint, window=window) as client,
    ):
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            last = client.send(pose(), camera, (64, 48))
        # 25 a second, however long this took
        assert server.stats()["requests"] <= 3 + 25 * (time.monotonic() - end + 1)
        gate.set()
        eventually(lambda: (frame := client.read_latest()) is not None and frame.id == last)
        assert server.stats()["errors"] == 0


@pytest.mark.parametrize(
    "limits", [None, [], {}, {"max_rate": "many"}, {"max_rate": -1}, {"max_rate": 10**9}]
)
def test_replacements_without_a_limit_that_makes_sense(limits):
    assert _between_replacements({} if limits is None else {"limits": limits}) == REPLACE_SECONDS


def test_old_frames_are_not_decoded(client, pose, camera, monkeypatch, eventually):
    decoded = []
    monkeypatch.setattr(frame_module, "decode_view", lambda *a: decoded.append(1) or decode_view(*a))
    for _ in range(10):
        last = client.send(pose(), camera)
        eventually(
            lambda last=last: client._connection.latest is not None and client._connection.latest.id == last
        )
    assert client.read_latest().id == last and len(decoded) == 1


def test_many_threads_share_a_client(client, stub, pose, camera):
    failures = []

    def work():
        try:
            seen = 0
            for _ in range(30):
                frame = client.render(pose(), camera)
                assert frame.id > seen
                seen = frame.id
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert not failures and not any(t.is_alive() for t in threads)


def test_a_refused_request(client, stub, pose, camera):
    stub.failure = InputError("Pose.body: too floppy")
    with pytest.raises(RemoteError, match="too floppy") as e:
        client.render(pose(), camera)
    assert e.value.code == ErrorCode.REFUSED and client.endpoint in str(e.value)
    client.send(pose(), camera)
    with pytest.raises(RemoteError):
        client.async_read(5)
    with pytest.raises(TimeoutError):  # told once
        client.async_read(0.05)
    stub.failure = None
    assert client.render(pose(), camera).rgba.shape == (64, 48, 4)


def test_a_refused_size(client, pose, camera):
    with pytest.raises(RemoteError, match="at most") as e:
        client.render(pose(), camera, (60000, 60000))
    assert e.value.code == ErrorCode.LIMIT


def test_bad_values_are_refused_before_they_are_sent(client, stub, pose, camera):
    p = pose()
    p.body = np.zeros((24, 3))
    with pytest.raises(InputError, match=r"pose.body: got shape \[24, 3\]"):
        client.send(p, camera)
    with pytest.raises(InputError, match="size"):
        client.send(pose(), camera, (0, 70000))
    with pytest.raises(InputError, match="size: got 512"):
        client.send(pose(), camera, 512)
    p = pose()
    p.body[3] = np.nan
    with pytest.raises(RemoteError, match="POSE"):
        client.render(p, camera)
    assert not stub.requests


def test_a_render_that_takes_too_long(client, stub, pose, camera):
    stub.gate = threading.Event()
    with pytest.raises(StreamTimeout) as e:
        client.render(pose(), camera, timeout=0.1)
    assert client.endpoint in str(e.value) and "0.1 s" in str(e.value)
    stub.gate.set()
    assert client.render(pose(), camera).id == 2


def test_nobody_there():
    began = time.monotonic()
    with pytest.raises(StreamTimeout) as e:
        Client("tcp://127.0.0.1:9", timeout=0.3)
    assert "tcp://127.0.0.1:9" in str(e.value) and "start it" in str(e.value) and time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("endpoint", "more", "words"),
    [
        ("127.0.0.1:5555", {}, "endpoint: got"),
        ("tcp://127.0.0.1:1", {"window": 0}, "window"),
        ("tcp://127.0.0.1:1", {"avatar": "x" * 65}, "avatar: got"),
        ("tcp://127.0.0.1:1", {"avatar": "a\nb"}, "avatar: got"),
    ],
)
def test_what_a_client_cannot_be_made_of(endpoint, more, words):
    with pytest.raises(InputError, match=words):
        Client(endpoint, **more)


def test_a_full_server_says_so(stub):
    with (
        Server(stub, {}, limits=Limits(max_clients=1)) as server,
        Client(server.endpoint),
        pytest.raises(RemoteError) as e,
    ):
        Client(server.endpoint)
    assert e.value.code == ErrorCode.CLIENTS


def test_a_closed_client(server, pose, camera):
    client = Client(server.endpoint)
    client.close()
    client.close()
    for verb in (lambda: client.send(pose(), camera), client.read_latest, client.async_read):
        with pytest.raises(DinarError, match="closed"):
            verb()


def test_close_wakes_a_waiting_reader(client):
    caught = []

    def read():
        try:
            client.async_read(20)
        except DinarError as e:
            caught.append(e)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.05)
    client.close()
    thread.join(5)
    assert "closed" in str(caught[0])


def test_back_within_a_second_after_a_restart(stub, pose, camera):
    server = Server(stub, {"run": 1}).start()
    with Client(server.endpoint) as client:
        client.render(pose(), camera, (64, 48))
        server.close()
        with pytest.raises(StreamTimeout, match="not there"):
            client.render(pose(), camera, (64, 48), timeout=0.3)
        with Server(stub, {"run": 2}, server.endpoint):
            began = time.monotonic()
            assert client.render(pose(), camera, (64, 48)).id == 3
            assert time.monotonic() - began < 1.0 and client.capabilities["run"] == 2


def test_a_request_outlives_the_server_it_was_sent_to(pose, camera, stub):
    """The first server takes the request and dies; the answer comes from the second."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    endpoint = f"tcp://127.0.0.1:{port}"

    def die():
        peer, _ = router.recv_multipart()
        router.send_multipart([peer, encode(Caps({"size": [64, 48]}))])
        while len(router.recv_multipart()[1]) < 500:  # TIME, then the RENDER
            pass
        router.close()

    thread = threading.Thread(target=die)
    thread.start()
    with Client(endpoint) as client:
        client.send(pose(0.5), camera)
        thread.join(5)
        context.term()
        with Server(stub, {}, endpoint):
            assert client.async_read(3).id == 1
    assert len(stub.requests) == 1


def test_a_client_the_server_has_forgotten_greets_again(stub, pose, camera, eventually):
    with Server(stub, {}, limits=Limits(idle_timeout=0.1)) as server, Client(server.endpoint) as client:
        eventually(lambda: server.stats()["clients"] == 0)
        began = time.monotonic()
        assert client.render(pose(), camera, (64, 48)).id == 1
        assert time.monotonic() - began < 1.0


def test_an_idle_client_is_not_forgotten(stub, pose, camera):
    with Server(stub, {}, limits=Limits(idle_timeout=3.0)) as server, Client(server.endpoint):
        time.sleep(4.2)
        assert server.stats()["clients"] == 1


def test_a_server_that_talks_nonsense():
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    port = router.bind_to_random_port("tcp://127.0.0.1")

    def talk():
        peer, _ = router.recv_multipart()
        router.send_multipart([peer, b"HTTP/1.1 400 Bad Request"])

    thread = threading.Thread(target=talk)
    thread.start()
    with pytest.raises(ProtocolError, match="something else"):
        Client(f"tcp://127.0.0.1:{port}", timeout=3)
    thread.join()
    router.close()
    context.term()


def test_no_unpickling_in_a_session(stub, pose, camera, monkeypatch):
    def poisoned(*a, **k):
        raise AssertionError("pickle was used")

    monkeypatch.setattr(pickle, "loads", poisoned)
    monkeypatch.setattr(pickle, "load", poisoned)
    monkeypatch.setattr(pickle, "Unpickler", poisoned)
    monkeypatch.setattr(zmq.Socket, "recv_pyobj", poisoned)
    monkeypatch.setattr(np, "load", poisoned)
    with pytest.raises(AssertionError):
        np.load(io.BytesIO())
    for encoding in ("jpeg", "raw"):
        with (
            Server(stub, {"size": [64, 48]}) as server,
            Client(server.endpoint, format=FrameFormat(encoding, depth="metres")) as client,
        ):
            client.render(pose(), camera)
            client.send(None, (camera, camera))
            client.async_read()
            stub.failure = RuntimeError("x")
            with pytest.raises(RemoteError):
                client.render(pose(), camera)
            stub.failure = None


def test_a_program_that_forgets_to_close_still_ends():
    program = (
        "import numpy as np, types\n"
        "from dinar_live.runtime.stream import Client, RenderedFrame, Server\n"
        "server = Server(lambda r: RenderedFrame(np.zeros((64, 64, 4), np.uint8)), {}).start()\n"
        "client = Client(server.endpoint)\n"
        "frame = client.render(None, types.SimpleNamespace(K=np.eye(3), world_to_camera=np.eye(4)), (64, 64))\n"
        "print(frame.rgba.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(64, 64, 4)\n", "")


def test_the_stream_imports_nothing_of_ours_but_the_errors():
    folder = pathlib.Path(client_module.__file__).parent
    allowed = {"numpy", "zmq", "cv2", *sys.stdlib_module_names} - {"pickle", "marshal", "shelve"}
    ours = (
        "dinar_live.runtime.stream",
        "dinar_live.runtime.core.errors",
        "dinar_live.runtime.core.notebook_png",
    )
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {n.name.partition(".")[0] for n in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom):
                inside = node.level == 1 or node.module.startswith(ours)
                assert inside or (node.level == 0 and node.module.partition(".")[0] in allowed), path


def test_frames_of_a_client_that_is_gone_hurt_nobody(server, stub, pose, camera, eventually):
    stub.gate = threading.Event()
    with Client(server.endpoint) as gone:
        gone.send(pose(), camera)
        eventually(lambda: stub.requests)
    stub.gate.set()
    with Client(server.endpoint) as client:
        assert client.render(pose(), camera).rgba.shape == (64, 48, 4)
