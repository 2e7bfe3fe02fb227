"""The server against bare sockets: mailbox, errors, hostile peers, start and end."""

import json
import threading
import time

import numpy as np
import pytest
import zmq

import dinar_live.runtime.stream.peers as peers_module
from dinar_live.runtime.core.errors import DinarError, InputError, RemoteError
from dinar_live.runtime.stream import Client, FrameFormat, Limits, RenderedFrame, Server
from dinar_live.runtime.stream.peers import TokenBucket
from dinar_live.runtime.stream.protocol.image_codec import decode_view
from dinar_live.runtime.stream.protocol.messages import (
    NO_PLANE,
    RAW,
    Bye,
    CameraView,
    Caps,
    ErrorMessage,
    Format,
    FrameMessage,
    Hello,
    PoseValues,
    RenderRequest,
    Superseded,
    Time,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode
from dinar_live.runtime.stream.protocol.wire import ErrorCode

RAW_FORMAT = Format(RAW, alpha=NO_PLANE)


def request(id, size=(64, 48), shade=None, format=RAW_FORMAT, cameras=1):
    camera = CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), size[1], size[0])
    pose = None
    if shade is not None:
        body = np.zeros((55, 3), np.float32)
        body[0, 0] = shade
        pose = PoseValues(body, np.zeros(3, np.float32), np.zeros(0, np.float32))
    return RenderRequest(id, (camera,) * cameras, pose, format, pose_time_ns=1000 + id)


def code_of(message):
    assert isinstance(message, ErrorMessage), message
    return message.code


def test_hello_is_answered_with_capabilities(server, raw_peer):
    info = raw_peer().hello().info
    assert info["avatar"] == "stub" and info["size"] == [64, 48] and info["protocol"] == 1
    assert info["limits"]["max_pixels"] == Limits().max_pixels and info["encodings"]["color"] == [
        "jpeg",
        "raw",
    ]


def test_a_frame_echoes_its_request(server, stub, raw_peer, make_picture):
    peer = raw_peer()
    session = peer.hello().session
    before = time.monotonic_ns()
    peer.send(request(5, shade=0.5))
    frame = peer.receive()
    assert (
        isinstance(frame, FrameMessage)
        and (frame.id, frame.pose_time_ns, frame.session) == (5, 1005, session)
        and session
    )
    assert before <= frame.server_recv_ns <= frame.server_send_ns <= time.monotonic_ns()
    assert {"wait", "stub", "render", "encode"} == set(frame.timings) and frame.timings["stub"] == 1.5
    assert np.array_equal(decode_view(frame.views[0]).rgba, make_picture(64, 48, 0.5))
    assert frame.views[0].camera.size == (64, 48)
    assert len(stub.threads) == 1 and threading.get_ident() not in stub.threads


def test_a_stereo_pair_is_one_request(server, raw_peer, stub):
    peer = raw_peer()
    peer.hello()
    peer.send(request(1, cameras=2))
    frame = peer.receive()
    assert len(frame.views) == 2 and len(stub.requests) == 1
    for view in frame.views:
        assert decode_view(view).rgba.shape == (64, 48, 4)


def test_the_newest_request_wins_and_every_id_is_answered_once(server, stub, raw_peer, eventually):
    stub.gate = threading.Event()
    peer = raw_peer()
    peer.hello()
    peer.send(request(1, shade=0.1))
    eventually(lambda: stub.requests)
    for id in range(2, 6):
        peer.send(request(id, shade=id / 10))
    superseded = [peer.receive() for _ in range(3)]
    assert [(type(m), m.id, m.pose_time_ns) for m in superseded] == [
        (Superseded, i, 1000 + i) for i in (2, 3, 4)
    ]
    stub.gate.set()
    frames = [peer.receive(), peer.receive()]
    assert [(type(m), m.id) for m in frames] == [(FrameMessage, 1), (FrameMessage, 5)]
    assert [r.id for r in stub.requests] == [1, 5]
    assert peer.silent()
    stats = server.stats()
    assert (stats["requests"], stats["frames"], stats["superseded"], stats["clients"]) == (5, 2, 3, 1)


def test_clients_take_turns(server, stub, raw_peer, eventually):
    stub.gate = threading.Event()
    busy, calm = raw_peer(), raw_peer()
    for peer in (busy, calm):
        peer.hello()
    busy.send(request(1))
    eventually(lambda: stub.requests)
    for id in range(2, 30):
        busy.send(request(id))
    eventually(lambda: server.stats()["requests"] == 29)
    calm.send(request(1000))
    eventually(lambda: server.stats()["requests"] == 30)
    busy.send(request(30))
    eventually(lambda: server.stats()["requests"] == 31)
    stub.gate.set()
    eventually(lambda: len(stub.requests) == 3)
    assert [r.id for r in stub.requests] == [1, 30, 1000]


def test_a_request_before_hello_is_refused(server, raw_peer):
    peer = raw_peer()
    peer.send(request(3))
    answer = peer.receive()
    assert code_of(answer) == ErrorCode.HELLO_REQUIRED and answer.id == 3


def test_ids_must_grow(server, raw_peer):
    peer = raw_peer()
    peer.hello()
    peer.send(request(9))
    assert isinstance(peer.receive(), FrameMessage)
    for id in (9, 8):
        peer.send(request(id))
        assert code_of(peer.receive()) == ErrorCode.BAD_ID


@pytest.mark.parametrize("size", [(65535, 65535), (2049, 2048)])
def test_too_many_pixels(server, stub, raw_peer, size):
    peer = raw_peer()
    peer.hello()
    peer.send(request(1, size))
    answer = peer.receive()
    assert code_of(answer) == ErrorCode.LIMIT and str(size[0] * size[1]) in answer.text and not stub.requests


def test_time_is_answered(server, raw_peer):
    peer = raw_peer()
    peer.send(Time(4, 123))
    answer = peer.receive()
    assert (answer.id, answer.client_ns) == (4, 123) and 0 < answer.server_recv_ns <= answer.server_send_ns


def test_bye_frees_the_place(stub, raw_peer, server, eventually):
    peer = raw_peer()
    peer.hello()
    peer.send(Bye())
    eventually(lambda: server.stats()["clients"] == 0)


class TestLimits:
    @pytest.fixture
    def server(self, stub):
        with Server(stub, {}, limits=Limits(max_clients=2, idle_timeout=0.6, max_cameras=1)) as server:
            yield server

    def test_clients(self, server, raw_peer, eventually):
        peers = [raw_peer() for _ in range(3)]
        peers[0].hello(), peers[1].hello()
        peers[2].send(Hello({}))
        assert code_of(peers[2].receive()) == ErrorCode.CLIENTS
        eventually(lambda: server.stats()["clients"] == 0)  # the idle timeout
        peers[2].hello()

    def test_rate(self, stub):
        with Server(stub, {}, limits=Limits(max_rate=0.01)) as server:
            with (
                Client(server.endpoint) as client,
                pytest.raises(RemoteError, match="0.01 messages a second") as e,
            ):
                for _ in range(3):  # TIME may have been the one that is allowed
                    client.render(None, request(1).cameras[0], (64, 48))
            assert e.value.code == ErrorCode.RATE and len(stub.requests) <= 1

    def test_cameras(self, server, raw_peer):
        peer = raw_peer()
        peer.hello()
        peer.send(request(1, cameras=2))
        assert code_of(peer.receive()) == ErrorCode.LIMIT

    def test_messages_larger_than_the_cap_cut_the_connection(self, server, raw_peer, eventually):
        peer, other = raw_peer(), raw_peer()
        peer.send(bytes(65 * 1024))
        assert peer.silent()
        other.hello()
        assert server.stats()["malformed"] == 0  # it never came in


def test_a_token_bucket(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(peers_module.time, "monotonic", lambda: now[0])
    bucket = TokenBucket(10)
    assert [bucket.take() for _ in range(12)] == [True] * 10 + [False] * 2
    now[0] += 0.25
    assert [bucket.take() for _ in range(4)] == [True, True, False, False]
    now[0] += 1e6
    assert sum(bucket.take() for _ in range(100)) == 10
    slow = TokenBucket(0.1)
    assert [slow.take(), slow.take()] == [True, False]


def test_garbage_does_not_stop_the_server(server, raw_peer, eventually):
    peer, good, rng = raw_peer(), raw_peer(), np.random.default_rng(2)
    good.hello()
    valid = bytes(encode(request(1)))
    for _ in range(500):
        peer.send(rng.bytes(rng.integers(0, 500)))
        broken = bytearray(valid)
        broken[rng.integers(64, len(broken))] ^= 0xFF
        peer.send(broken)
    peer.socket.send_multipart([valid, valid])
    peer.socket.send_multipart([b"", b"", b""])
    for type in range(20):
        raw = bytearray(valid)
        raw[6] = type
        peer.send(raw)
    good.send(request(1))
    assert isinstance(good.receive(), FrameMessage)
    eventually(lambda: server.stats()["malformed"] > 600)
    assert server.stats()["clients"] == 1


@pytest.mark.parametrize(
    ("offset", "value", "code", "id"),
    [
        (4, 9, ErrorCode.VERSION, 0),
        (6, 99, ErrorCode.UNEXPECTED, 7),
        (6, 4, ErrorCode.MALFORMED, 7),
        (64, 99, ErrorCode.MALFORMED, 7),
    ],
)
def test_a_malformed_message_with_a_header_gets_one_error(server, raw_peer, offset, value, code, id):
    raw = encode(request(7))
    raw[offset] = value
    peer = raw_peer()
    peer.hello()
    peer.send(raw)
    answer = peer.receive()
    assert code_of(answer) == code and answer.id == id
    assert peer.silent(0.1) and server.stats()["malformed"] == 1


def test_an_error_is_not_answered_with_an_error(server, raw_peer, eventually):
    peer = raw_peer()
    peer.send(ErrorMessage(1, 1, "no, you"))
    eventually(lambda: server.stats()["malformed"] == 1)
    assert peer.silent(0.1)


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (
            RuntimeError("secret path /root/key"),
            ErrorCode.RENDER_FAILED,
            "the renderer failed; the server's log says why",
        ),
        (InputError("Camera.K: no"), ErrorCode.REFUSED, "Camera.K: no"),
    ],
)
def test_a_failing_renderer(server, stub, raw_peer, failure, code, text, caplog):
    peer = raw_peer()
    peer.hello()
    stub.failure = failure
    peer.send(request(1))
    answer = peer.receive()
    assert (answer.id, code_of(answer), answer.text) == (1, code, text)
    assert ("secret path" in caplog.text) == (code == ErrorCode.RENDER_FAILED)
    stub.failure = None
    peer.send(request(2))
    assert isinstance(peer.receive(), FrameMessage)


@pytest.mark.parametrize(
    "frame",
    [
        None,
        RenderedFrame(np.zeros((4, 4, 4), np.uint8)),
        RenderedFrame(np.zeros((64, 48, 3), np.uint8)),
        RenderedFrame(np.zeros((64, 48, 4), np.float32)),
        RenderedFrame(np.zeros((48, 64, 4), np.uint8).transpose(1, 0, 2)),
        RenderedFrame(np.zeros((64, 48, 4), np.uint8), np.zeros((64, 48))),
        RenderedFrame(np.zeros((64, 48, 4), np.uint8), timings={"total": "soon"}),
    ],
)
def test_a_renderer_that_breaks_its_contract(frame):
    with Server(lambda request: frame, {}) as server:
        with Client(server.endpoint) as client, pytest.raises(RemoteError) as e:
            client.render(None, request(1).cameras[0], (64, 48))
        assert e.value.code == ErrorCode.RENDER_FAILED


def test_pictures_live_as_long_as_promised(raw_peer):
    """The renderer reuses each picture's memory two calls later, at once; with slow encoding nothing may
    tear."""
    ring = [np.zeros((512, 512, 4), np.uint8) for _ in range(2)]
    calls = []

    def render(request):
        rgba = ring[len(calls) % 2]
        calls.append(1)
        rgba[...] = request.id % 250 + 1
        return RenderedFrame(rgba)

    with Server(render, {}) as server:
        with Client(server.endpoint, format=FrameFormat("raw"), window=4) as client:
            for _ in range(120):
                client.send(None, request(1).cameras[0], (512, 512))
                time.sleep(0.002)
                frame = client.read_latest()
                if frame is not None:
                    assert (frame.rgba == frame.id % 250 + 1).all()
    assert len(calls) > 20


@pytest.fixture
def slow_reader():
    """Makes a socket that has next to no room for what it does not read."""
    context, sockets = zmq.Context(), []

    def make(endpoint):
        sockets.append(context.socket(zmq.DEALER))
        for option, value in ((zmq.RCVHWM, 1), (zmq.RCVBUF, 4096), (zmq.LINGER, 0)):
            sockets[-1].setsockopt(option, value)
        sockets[-1].connect(endpoint)
        sockets[-1].send(encode(Hello({})))
        return sockets[-1]

    yield make
    context.destroy(linger=0)


def test_a_slow_reader_holds_up_nobody_and_still_gets_every_answer(stub, slow_reader, eventually):
    # Held up, the neighbour would wait for idle_timeout, and so run into its own timeout.
    with Server(stub, {}, limits=Limits(send_queue=2, idle_timeout=1000)) as server:
        slow = slow_reader(server.endpoint)
        with Client(server.endpoint, format=FrameFormat("raw"), timeout=60) as client:
            for id in range(1, 61):
                slow.send(encode(request(id, (512, 2048))))  # up to 4 MB each, none read so far
                client.render(None, request(1).cameras[0], (64, 48))
        eventually(lambda: server.stats()["requests"] == 120)
        answers = []
        while len(answers) < 61 and slow.poll(30_000):
            answers.append(decode(slow.recv()))
    assert isinstance(answers[0], Caps)
    assert sorted(m.id for m in answers[1:]) == list(range(1, 61))
    frames = [m.id for m in answers[1:] if isinstance(m, FrameMessage)]
    assert max(frames) == 60 and len(frames) < 40


def test_a_client_that_never_reads_is_dropped(stub, slow_reader, eventually):
    with Server(stub, {}, limits=Limits(send_queue=1, idle_timeout=0.5)) as server:
        slow, ids = slow_reader(server.endpoint), iter(range(1, 10_000))

        def push():
            slow.send(encode(request(next(ids), (512, 2048))))
            time.sleep(0.01)
            return server.stats()["dropped_clients"] == 1

        eventually(push, 10)
        assert server.stats()["clients"] == 0


def test_close_answers_what_is_open_and_says_goodbye(server, stub, raw_peer, eventually):
    stub.gate = threading.Event()
    peer, idle = raw_peer(), raw_peer()
    peer.hello(), idle.hello()
    peer.send(request(1, (512, 512)))
    eventually(lambda: stub.requests)
    peer.send(request(2))
    eventually(lambda: server.stats()["requests"] == 2)
    threading.Timer(0.1, stub.gate.set).start()
    server.close()
    answers = [peer.receive() for _ in range(3)]
    assert code_of(answers[0]) == ErrorCode.CLOSING and answers[0].id == 2
    assert isinstance(answers[1], FrameMessage) and answers[1].id == 1  # also the large last message arrives
    assert isinstance(answers[2], Bye) and isinstance(idle.receive(), Bye)
    server.close()


def test_a_busy_port(server):
    with pytest.raises(DinarError) as e:
        Server(lambda r: None, {}, server.endpoint).start()
    assert server.endpoint in str(e.value) and "in use" in str(e.value) and "port" in str(e.value)


def test_the_port_is_free_after_close(stub):
    with Server(stub, {}) as server:
        endpoint = server.endpoint
    assert endpoint.startswith("tcp://127.0.0.1:") and not endpoint.endswith(":0")
    with Server(stub, {}, endpoint) as again:
        assert again.endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0", "tcp://192.0.2.1:0", "tcp://example.org:80"]
)
def test_other_machines_are_shut_out_unless_asked_for(stub, endpoint):
    with pytest.raises(DinarError, match="insecure=True"):
        Server(stub, {}, endpoint).start()


def test_insecure_opens_all_addresses(stub):
    with Server(stub, {}, "tcp://*:0", insecure=True) as server:
        assert server.endpoint.startswith("tcp://0.0.0.0:")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"endpoint": "127.0.0.1:5"}, "endpoint: got"),
        ({"endpoint": "tcp://127.0.0.1"}, "endpoint: got"),
        ({"endpoint": "udp://127.0.0.1:5"}, "endpoint"),
        ({"endpoint": "tcp://127.0.0.1:99999"}, "endpoint"),
        ({"workers": 0}, "workers"),
        ({"capabilities": {"a": "x" * 20000}}, "16384"),
        ({"capabilities": {"a": np.zeros(2)}}, "JSON"),
    ],
)
def test_what_a_server_cannot_be_made_of(stub, more, words):
    with pytest.raises(InputError, match=words):
        Server(stub, **{"capabilities": {}, **more}).start()


def test_limits_are_checked():
    with pytest.raises(InputError, match="max_pixels"):
        Limits(max_pixels=0)


def test_a_server_starts_once(server):
    with pytest.raises(DinarError, match="running"):
        server.start()


def test_socket_options_are_set(server):
    s = server._socket
    wanted = {
        zmq.MAXMSGSIZE: 65536,
        zmq.SNDHWM: 8,
        zmq.RCVHWM: 0,
        zmq.HEARTBEAT_IVL: 0,
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_MAXRT: 10_000,
        zmq.HANDSHAKE_IVL: 3000,
    }
    assert {o: s.getsockopt(o) for o in wanted} == wanted and s.getsockopt(zmq.LINGER) > 0


def test_capabilities_are_plain_json(server, raw_peer):
    assert json.loads(json.dumps(raw_peer().hello().info))["limits"]["idle_timeout"] == 10.0


def test_a_server_that_fails_says_so_and_still_closes(stub, monkeypatch, eventually, caplog):
    server = Server(stub, {"size": [64, 48]}).start()
    assert not server.failed
    monkeypatch.setattr(server, "_drain", lambda: 1 / 0)
    eventually(lambda: server.failed)
    assert "the server has failed" in caplog.text and "ZeroDivisionError" in caplog.text
    closed = threading.Thread(target=server.close, daemon=True)
    closed.start()
    closed.join(5)
    assert not closed.is_alive() and not server.failed
