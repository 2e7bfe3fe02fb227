"""Who says too much, and what a peer may do to libzmq: docs/security.md, "What a peer can cost"."""

import importlib.util
import itertools
import os
import pathlib
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import zmq

import dinar_live.runtime.stream.peers as peers_module
from dinar_live.runtime.stream import Client, Limits, Server, Spectator, spectator_broadcast
from dinar_live.runtime.stream.floods import (
    GREETINGS,
    STRANGER_RATE,
    STRANGERS_RATE,
    FloodGate,
    Verdict,
    hang_up,
    identity_of,
    line_of,
)
from dinar_live.runtime.stream.line_watch import came_in_at, can_watch, received_bytes
from dinar_live.runtime.stream.protocol.messages import Caps, Describe, ErrorMessage, Hello
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.protocol.wire import ErrorCode

FOLDER = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def zmtp():
    spec = importlib.util.spec_from_file_location("zmtp", FOLDER / "zmtp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "attack",
    [
        "server heartbeat",
        "server ping",
        "twin heartbeat",
        "client heartbeat",
        "client ping",
        "spectators heartbeat",
        "spectators ping",
        "publisher heartbeat",
        "publisher ping",
    ],
)
def test_a_peer_cannot_make_libzmq_abort(attack):
    run = subprocess.run(
        [sys.executable, FOLDER / "hostile_peer.py", *attack.split()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout.strip()) == (0, "alive"), run.stderr[-500:]


@pytest.fixture
def now(monkeypatch):
    """The time that token buckets and gates see, in a list."""
    now = [100.0]
    monkeypatch.setattr(peers_module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def pair():
    """Both ends of a connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    far.settimeout(5)
    yield near, far
    for end in (near, far, listener):
        end.close()


def verdicts(gate, count, *, client=b"a", known=True, line=None):
    found = [gate.judge(client, known, line, 100) for _ in range(count)]
    return [found.count(v) for v in (Verdict.READ, Verdict.REFUSE, Verdict.CUT, Verdict.IGNORE)]


class TestFloodGate:
    def test_more_than_twice_the_rate_ends_the_connection(self, now, pair):
        near, far = pair
        gate = FloodGate(100)
        assert verdicts(gate, 250, line=near.fileno()) == [100, 100, 1, 49]
        assert far.recv(1) == b""
        now[0] += 2.0
        assert verdicts(gate, 10, line=near.fileno()) == [0, 0, 0, 10], "what it sent before"
        assert verdicts(gate, 10, client=b"b") == [10, 0, 0, 0], "another client"

    def test_the_rate_is_kept_up(self, now):
        gate = FloodGate(100)
        for _ in range(50):
            now[0] += 0.1
            assert verdicts(gate, 10) == [10, 0, 0, 0]

    def test_who_cannot_be_hung_up_on_is_ignored(self, now):
        gate = FloodGate(100)
        assert verdicts(gate, 250) == [100, 100, 0, 50]  # it came over inproc
        now[0] += 0.5
        assert verdicts(gate, 50) == [50, 0, 0, 0]

    def test_strangers_have_less(self, now):
        gate = FloodGate(1000)
        assert verdicts(gate, 1000, known=False) == [1000, 0, 0, 0], "a burst, as for a client"
        now[0] += 10.0
        assert verdicts(gate, 250, known=False) == [10 * STRANGER_RATE, 50, 0, 0]

    def test_all_strangers_together(self, now):
        gate = FloodGate(100)
        read = [verdicts(gate, 100, client=bytes([i]), known=False)[0] for i in range(4)]
        assert read == [100, 100, 8 + GREETINGS, GREETINGS]
        assert verdicts(gate, 100) == [100, 0, 0, 0], "clients do not suffer from them"
        now[0] += 1.0
        assert sum(verdicts(gate, 20, client=bytes([i]), known=False)[0] for i in range(4)) == 80
        more = [verdicts(gate, 100, client=bytes([i]), known=False)[0] for i in range(4, 8)]
        assert sum(more) == STRANGERS_RATE - 80 + 4 * GREETINGS and min(more) == GREETINGS

    def test_hello_and_bye_in_turn_gain_nothing(self, now):
        gate = FloodGate(100)
        read = sum(verdicts(gate, 10, known=bool(turn % 2))[0] for turn in range(100))
        assert read == 200

    def test_a_new_connection_under_the_same_routing_id(self, now, pair):
        gate = FloodGate(100)
        verdicts(gate, 250, line=pair[0].fileno())
        assert verdicts(gate, 10, line=pair[1].fileno()) == [10, 0, 0, 0]
        verdicts(gate, 250, line=pair[1].fileno())
        now[0] += 6.0
        assert verdicts(gate, 10, line=pair[1].fileno()) == [10, 0, 0, 0], (
            "the same file descriptor, after a while"
        )

    def test_it_forgets_the_oldest(self, now):
        gate = FloodGate(100)
        for i in range(5000):
            gate.judge(i.to_bytes(4, "little"), True, None, 100)
        assert len(gate._connections) == 4096

    def test_who_says_most_goes(self, now, pair):
        near, far = pair
        gate = FloodGate(100)
        assert gate.keep_up(True) is None and gate.keep_up(False) is None
        (
            verdicts(gate, 20, client=b"quiet", line=far.fileno()),
            verdicts(gate, 90, client=b"loud", line=near.fileno()),
        )
        verdicts(gate, 99, client=b"inside")
        assert gate.keep_up(False) is None, "for a while that may be"
        now[0] += 0.3
        assert gate.keep_up(False) == b"loud" and far.recv(1) == b""
        (
            verdicts(gate, 5, client=b"quiet", line=far.fileno()),
            verdicts(gate, 500, client=b"loud", line=near.fileno()),
        )
        now[0] += 0.2
        assert gate.keep_up(False) is None, "what the loud one had sent before is more"

    def test_who_says_most_stays_where_everything_is_read(self, now, pair):
        gate = FloodGate(100)
        for _ in range(20):
            now[0] += 0.1
            assert gate.keep_up(False) is None and gate.keep_up(True) is None
            verdicts(gate, 10, line=pair[0].fileno())


def test_hanging_up_touches_no_other_connection(pair):
    near, far = pair
    hang_up(
        near.fileno(), (("127.0.0.1", 1), 1)
    )  # the one that is meant is gone, and this one got its file descriptor
    hang_up(None, None), hang_up(near.fileno(), None)
    far.sendall(b"x")
    assert near.recv(1) == b"x"
    with open(os.devnull) as file:
        hang_up(file.fileno(), (("127.0.0.1", 1), 1))


def test_the_line_of_a_message():
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    router.bind("inproc://line")
    outside, inside = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    try:
        outside.connect(f"tcp://127.0.0.1:{port}"), inside.connect("inproc://line")
        outside.send(b"x")
        line = line_of(router.recv_multipart(copy=False)[1])
        assert socket.socket(fileno=os.dup(line)).getsockname() == ("127.0.0.1", port)
        inside.send(b"x")
        assert line_of(router.recv_multipart(copy=False)[1]) is None
    finally:
        context.destroy(linger=0)


def resident() -> int:
    """Bytes of memory of this process, where that can be told."""
    statm = pathlib.Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


class TestServer:
    def test_a_stranger_is_answered_so_often_and_no_more(self, stub, raw_peer_of):
        with Server(stub, {}, limits=Limits(max_rate=40)) as server:
            stranger, end, answers = raw_peer_of(server), time.monotonic() + 1.0, []
            while time.monotonic() < end:
                stranger.send(Describe(1))
                time.sleep(0.005)
                while not stranger.silent(0):
                    answers.append(stranger.receive())
            caps = sum(isinstance(answer, Caps) for answer in answers)
            assert 40 <= caps <= 40 + 3 * STRANGER_RATE
            assert all(
                isinstance(a, Caps) or isinstance(a, ErrorMessage) and a.code == ErrorCode.RATE
                for a in answers
            )

    def test_a_flood_ends_its_connection_and_disturbs_nobody(self, server, zmtp, camera, pose, eventually):
        with Client(server.endpoint) as client:
            flooder = zmtp.ZmtpPeer(server.endpoint)
            flooder.send(zmtp.frame(bytes(encode(Hello({})))))
            eventually(lambda: server.stats()["clients"] == 2)
            flooder.socket.settimeout(10)
            before, block = resident(), zmtp.frame(bytes(500)) * 1000
            with ThreadPoolExecutor(1) as pool:
                ended = pool.submit(self._flood, flooder, block)
                while not ended.done():
                    assert client.render(pose(), camera).rgba.any()
                assert ended.result()
            assert client.render(pose(), camera).rgba.any()
            eventually(lambda: server.stats()["clients"] == 1)
            assert server.stats()["dropped_clients"] == 1
            assert resident() - before < 300 << 20
        with Client(server.endpoint) as client:  # newcomers are let in again
            assert client.render(pose(), camera).rgba.any()

    @staticmethod
    def _flood(flooder, block):
        try:
            while True:
                flooder.send(block)
        except TimeoutError:
            return False
        except OSError:
            return True

    def test_nobody_new_comes_in_before_the_rest_is_read(self, server, monkeypatch, eventually):
        drain, behind = server._drain, [True]
        monkeypatch.setattr(server, "_drain", lambda: drain() and not behind[0])
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        try:
            dealer.connect(server.endpoint)
            dealer.send(encode(Hello({})))
            assert not dealer.poll(700)
            behind[0] = False
            assert dealer.poll(5000)
        finally:
            context.destroy(linger=0)

    def test_a_second_peer_with_the_same_routing_id_starts_afresh(self, server, zmtp, eventually):
        first = zmtp.ZmtpPeer(server.endpoint, routing_id=b"twin")
        first.send(zmtp.frame(bytes(encode(Hello({})))))
        eventually(lambda: server.stats()["clients"] == 1)
        second = zmtp.ZmtpPeer(server.endpoint, routing_id=b"twin")
        second.send(zmtp.frame(bytes(encode(Describe(1)))))
        eventually(lambda: server.stats()["clients"] == 0)

    @pytest.mark.skipif(not can_watch(), reason="this system does not count received bytes")
    @pytest.mark.parametrize("topic", [b"", bytes(900)])
    def test_a_flood_of_subscriptions_ends_its_connection(
        self, stub, zmtp, camera, pose, topic, eventually, monkeypatch
    ):
        """Of the same one, and of ever new ones, which libzmq needs fifty times their size for."""
        with (
            Server(stub, {"size": [64, 48]}, spectators="tcp://127.0.0.1:0") as server,
            Client(server.endpoint) as client,
            Spectator(server.spectators) as spectator,
        ):
            eventually(lambda: server.stats()["spectators"] == 1)
            before, number = resident(), itertools.count()
            for _ in range(3):
                flooder = zmtp.ZmtpPeer(server.spectators, type=b"SUB")
                flooder.socket.settimeout(10)
                with pytest.raises(ConnectionError):
                    for _ in range(100_000):
                        number_of = (lambda: next(number).to_bytes(4, "little")) if topic else bytes
                        flooder.send(b"".join(zmtp.frame(b"\1" + number_of() + topic) for _ in range(100)))
            id = client.render(pose(), camera).id
            eventually(lambda: spectator.read().id >= id)
            eventually(lambda: server.stats()["spectators"] == 1)
            assert resident() - before < 200 << 20

    @pytest.mark.skipif(not can_watch(), reason="this system does not count received bytes")
    def test_subscriptions_little_by_little_end_their_connection_too(
        self, stub, zmtp, monkeypatch, eventually
    ):
        monkeypatch.setattr(spectator_broadcast, "_MAX_SUBSCRIBED", 1000)
        with Server(stub, {}, spectators="tcp://127.0.0.1:0") as server:
            one, other = (zmtp.ZmtpPeer(server.spectators, type=b"SUB") for _ in range(2))
            other.send(zmtp.frame(b"\1"))
            for number in range(3):
                one.send(zmtp.frame(b"\1" + bytes([number]) + bytes(400)))
            one.socket.settimeout(10)
            assert one.socket.recv(1) == b""
            eventually(lambda: server.stats()["spectators"] == 1)
            other.send(zmtp.frame(b"\0"))
            eventually(lambda: server.stats()["spectators"] == 0)


@pytest.mark.skipif(not can_watch(), reason="this system does not count received bytes")
def test_a_connection_of_another_port_is_not_watched(pair):
    near, _ = pair
    identity = identity_of(near.fileno())
    assert came_in_at(identity, str(near.getsockname()[1]))
    assert not came_in_at(identity, "1") and not came_in_at((("x",), "", 1), "1")
    assert received_bytes(near.fileno()) == 0 and received_bytes(10_000) is None
    with open(os.devnull) as file:
        assert received_bytes(file.fileno()) is None and identity_of(file.fileno()) is None
