"""Who gets in, and what those who do not can reach."""

import os
import socket
import struct
import threading
import time

import pytest
import zmq

from dinar_live.runtime.core.errors import (
    AccessError,
    DinarError,
    InputError,
    KeyFileError,
    RemoteError,
    StreamTimeout,
)
from dinar_live.runtime.stream import Client, KeyFolder, KeyPair, Server
from dinar_live.runtime.stream.auth import keys as keys_module
from dinar_live.runtime.stream.auth.zap import DOMAIN, CurveAuthenticator, guard, present
from dinar_live.runtime.stream.protocol.messages import Caps, Hello
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode

# The greeting and READY of a ZMTP 3 peer without keys; what it sends next would be messages.
ZMTP_NULL = (
    b"\xff"
    + bytes(8)
    + b"\x7f\x03\x00"
    + b"NULL".ljust(52, b"\0")
    + b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
)


@pytest.fixture
def keys(tmp_path, monkeypatch):
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS", 0.05)
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def alice(keys):
    pair = KeyPair.new()
    keys.add("alice", pair.public)
    return pair


@pytest.fixture
def server(stub, keys):
    with Server(stub, {"size": [64, 48]}, keys=keys) as server:
        yield server
        if stub.gate is not None:
            stub.gate.set()


def bare(endpoint: str, server_key: str | None = None, pair: KeyPair | None = None):
    """A DEALER, with or without keys, and its context."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    if pair is not None:
        present(dealer, server_key, pair)
    dealer.connect(endpoint)
    return context, dealer


def gets_nothing(server, seconds: float = 0.5, **with_keys) -> bool:
    context, dealer = bare(server.endpoint, **with_keys)
    try:
        dealer.send(encode(Hello({})))
        return not dealer.poll(int(seconds * 1000)) and server.stats()["clients"] == 0
    finally:
        context.destroy(linger=0)


def test_known_key_gets_pictures(server, alice, camera, pose, stub):
    with Client(server.endpoint, server_key=server.server_key, key=alice) as client:
        frame = client.render(pose(0.5), camera)
        assert frame.rgba.shape == (64, 48, 4) and frame.rgba[..., 3].max() == 255
        assert client.capabilities["size"] == [64, 48]
    assert len(stub.requests) == 1


def test_keys_may_be_files(server, keys, camera, pose, tmp_path):
    pair = KeyPair.new()
    pair.save(tmp_path / "bob.key", "bob")
    keys.add("bob", pair.public)
    with Client(
        server.endpoint, server_key=keys.folder / "server.pub", key=str(tmp_path / "bob.key")
    ) as client:
        assert client.render(pose(), camera).id == 1


def test_nothing_is_readable_on_the_way(server, alice, camera, pose):
    seen = bytearray()
    with (
        _tap(server.endpoint, seen) as endpoint,
        Client(endpoint, server_key=server.server_key, key=alice) as client,
    ):
        client.render(pose(), camera)
    assert len(seen) > 2000 and b"CURVE" in seen and b"DNRL" not in seen and b"JFIF" not in seen


def test_the_tap_would_see_an_open_stream(stub, camera, pose):
    seen = bytearray()
    with (
        Server(stub, {"size": [64, 48]}) as server,
        _tap(server.endpoint, seen) as endpoint,
        Client(endpoint) as client,
    ):
        client.render(pose(), camera)
    assert b"DNRL" in seen and b"JFIF" in seen


def test_unknown_key_is_told_at_once_and_gets_nothing(server, alice):
    with pytest.raises(AccessError, match="dinar keys add"):  # not the timeout
        Client(server.endpoint, server_key=server.server_key, key=KeyPair.new(), timeout=30)
    assert gets_nothing(server, server_key=server.server_key, pair=KeyPair.new())
    assert server.stats()["refused"] >= 2


def test_wrong_server_key_gets_nothing(server, alice):
    for seconds in (1, 4, 16):  # a busy machine may need longer to be hung up on
        with pytest.raises(StreamTimeout) as e:
            Client(server.endpoint, server_key=KeyPair.new().public, key=alice, timeout=seconds)
        if "server_key" in str(e.value):
            break
    assert "hangs up" in str(e.value) and "server_key" in str(e.value)
    assert gets_nothing(server, server_key=KeyPair.new().public, pair=alice)


def test_stolen_public_key_without_its_secret_gets_nothing(server, alice):
    forged = KeyPair(alice.public, KeyPair.new().secret)
    assert gets_nothing(server, server_key=server.server_key, pair=forged)


def test_peer_without_keys_is_cut(server, alice):
    with pytest.raises(AccessError, match="do not agree on keys"):
        Client(server.endpoint, timeout=30)
    assert gets_nothing(server)


def test_client_with_keys_does_not_talk_to_an_open_server(stub, alice):
    """Or whoever sits in between could ask for everything in the clear."""
    with Server(stub, {}) as server, pytest.raises(AccessError, match="do not agree on keys"):
        Client(server.endpoint, server_key=KeyPair.new().public, key=alice, timeout=30)


def test_raw_null_peer_is_closed(server):
    """A peer that speaks plain ZMTP 3 finds its connection closed before it can send a message."""
    with socket.create_connection(_address(server.endpoint), timeout=5) as peer:
        peer.sendall(ZMTP_NULL)
        try:
            while peer.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert server.stats()["requests"] == server.stats()["malformed"] == 0


def test_added_key_gets_in_and_a_client_that_waits_does_too(server, keys, camera, pose):
    pair = KeyPair.new()
    with pytest.raises(AccessError):
        Client(server.endpoint, server_key=server.server_key, key=pair)
    keys.add("carl", pair.public)
    time.sleep(0.1)
    with Client(server.endpoint, server_key=server.server_key, key=pair) as client:
        assert client.render(pose(), camera).id == 1


def test_revoked_client_gets_nothing_more_and_the_others_go_on(
    server, keys, alice, camera, pose, eventually, stub
):
    bob = KeyPair.new()
    keys.add("bob", bob.public)
    with (
        Client(server.endpoint, server_key=server.server_key, key=alice, timeout=2) as client,
        Client(server.endpoint, server_key=server.server_key, key=bob) as other,
    ):
        client.render(pose(), camera), other.render(pose(), camera)
        keys.revoke("alice")
        eventually(lambda: server.stats()["clients"] == 1)
        rendered = len(stub.requests)
        with pytest.raises((RemoteError, StreamTimeout)):
            client.render(pose(), camera, timeout=0.7)
        assert len(stub.requests) == rendered, "nothing was rendered for it"
        assert other.render(pose(), camera).id == 2
    with pytest.raises(AccessError):
        Client(server.endpoint, server_key=server.server_key, key=alice)


def test_revoked_while_its_picture_is_rendered(server, keys, alice, camera, pose, eventually, stub):
    stub.gate = threading.Event()
    with Client(server.endpoint, server_key=server.server_key, key=alice) as client:
        client.send(pose(), camera)
        eventually(lambda: stub.requests)
        keys.revoke("alice")
        eventually(lambda: server.stats()["clients"] == 0)
        stub.gate.set()

        def told():
            try:
                client.read_latest()
            except RemoteError as e:
                return "no longer let in" in str(e)

        eventually(told)
        time.sleep(0.3)
        assert client.read_latest() is None and server.stats()["frames"] == 0


def test_name_given_to_another_key_does_not_revive_the_old_one(server, keys, alice, camera, pose, eventually):
    with Client(server.endpoint, server_key=server.server_key, key=alice, timeout=2) as client:
        client.render(pose(), camera)
        keys.revoke("alice")
        keys.add("alice", KeyPair.new().public)
        eventually(lambda: server.stats()["clients"] == 0)
        with pytest.raises((RemoteError, StreamTimeout)):
            client.render(pose(), camera, timeout=0.7)


def test_sockets_of_the_same_process_need_no_key(server):
    """Over inproc, which nobody else reaches."""
    inside = server.connect_here()
    try:
        inside.send(encode(Hello({})))
        assert inside.poll(5000) and isinstance(decode(inside.recv()), Caps)
        time.sleep(0.7)  # a sweep
        assert server.stats()["clients"] == 1
    finally:
        inside.close(0)


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:0", "tcp://*:0"])
def test_other_machines_may_come_with_keys(stub, keys, endpoint):
    with Server(stub, {}, endpoint, keys=keys) as server:
        assert server.endpoint.startswith("tcp://0.0.0.0:")
    with pytest.raises(DinarError, match="--curve"):
        Server(stub, {}, endpoint).start()


def test_client_restarts_with_a_new_server_of_the_same_keys(stub, keys, alice, camera, pose):
    with Server(stub, {"size": [64, 48]}, keys=keys) as server:
        client = Client(server.endpoint, server_key=server.server_key, key=alice)
        client.render(pose(), camera)
    with client, Server(stub, {"size": [64, 48]}, server.endpoint, keys=KeyFolder(keys.folder)):
        assert client.render(pose(), camera).rgba.shape == (64, 48, 4)


def test_arguments_are_checked(server, alice, tmp_path):
    for wrong in ({"server_key": server.server_key}, {"key": alice}):
        with pytest.raises(InputError, match="expected both"):
            Client(server.endpoint, **wrong)
    with pytest.raises(InputError, match="40 characters"):
        Client(server.endpoint, server_key="x", key=alice)
    with pytest.raises(KeyFileError, match="not there"):
        Client(server.endpoint, server_key=server.server_key, key=tmp_path / "none.key")


# ---- the door itself ---------------------------------------------------------------------------------------


@pytest.fixture
def asked(keys, alice):
    """What the door answers to a ZAP request."""
    context = zmq.Context()
    door = CurveAuthenticator(context, keys)
    req = context.socket(zmq.REQ)
    req.connect("inproc://zeromq.zap.01")

    def ask(*parts):
        req.send_multipart(parts)
        door.answer()
        assert req.poll(1000)
        return req.recv_multipart()

    yield ask
    door.close()
    context.destroy(linger=0)


def raw_key(pair: KeyPair) -> bytes:
    return zmq.utils.z85.decode(pair.public)


def test_door_lets_in_who_is_named(asked, alice):
    answer = asked(b"1.0", b"7", DOMAIN, b"127.0.0.1", b"", b"CURVE", raw_key(alice))
    assert answer[:3] == [b"1.0", b"7", b"200"] and answer[4] == alice.public.encode()


def test_door_refuses_all_else(asked, alice):
    good = [b"1.0", b"7", DOMAIN, b"127.0.0.1", b"", b"CURVE", raw_key(alice)]
    changes = {0: b"2.0", 2: b"global", 5: b"NULL", 6: bytes(32)}
    wrong = [[v if i != at else value for i, v in enumerate(good)] for at, value in changes.items()]
    wrong += [
        [*good[:2], b"", *good[3:]],
        [*good[:2], DOMAIN + b"x", *good[3:]],
        good[:6],
        good[:1],
        [*good, b""],
        [*good[:5], b"PLAIN", b"alice", b"x"],
        [*good[:6], raw_key(alice)[:31]],
        [*good[:6], alice.public.encode()],
    ]
    for request in wrong:
        answer = asked(*request)
        assert answer[2] == b"400" and answer[4] == b"", request


def test_nobody_gets_in_where_no_door_answers(keys, alice):
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    guard(router, keys)
    endpoint = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
    other, dealer = bare(endpoint, keys.pair.public, alice)
    try:
        dealer.send(b"hello?")
        assert not router.poll(500)
    finally:
        other.destroy(linger=0)
        context.destroy(linger=0)


# ---- floods ------------------------------------------------------------------------------------------------


def rss() -> int:
    """Resident memory of this process, bytes; 0 where the system does not tell."""
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


FLOOD = 48 << 20


def flood(endpoint: str) -> int:
    """Sends one message of parts that never ends, as a peer without keys; returns how many bytes were
    taken."""
    part = b"\x03" + struct.pack(">Q", 1 << 15) + bytes(1 << 15)  # flags: long, more to come
    sent = 0
    with socket.create_connection(_address(endpoint), timeout=5) as peer:
        peer.sendall(ZMTP_NULL)
        try:
            answered = 0
            while answered <= 64 and (
                data := peer.recv(4096)
            ):  # its greeting, and READY from a server without keys
                answered += len(data)
            while sent < FLOOD:
                peer.sendall(part)
                sent += len(part)
        except OSError:
            pass
    return sent


def test_endless_multipart_of_a_stranger_costs_nothing(server, alice, camera, pose):
    before = rss()
    assert flood(server.endpoint) < FLOOD // 4, "no more than socket buffers take"
    assert rss() - before < FLOOD // 4
    with Client(server.endpoint, server_key=server.server_key, key=alice) as client:
        assert client.render(pose(), camera).id == 1


def test_endless_multipart_is_taken_by_a_server_without_keys(stub):
    """The limit that docs/security.md admits; if libzmq ever closes this hole, say so there."""
    with Server(stub, {}) as server:
        assert flood(server.endpoint) >= FLOOD


def test_crowd_at_the_door_does_not_stop_the_pictures(server, alice, camera, pose):
    context = zmq.Context()
    strangers = []
    try:
        with Client(server.endpoint, server_key=server.server_key, key=alice) as client:
            for _ in range(50):
                strangers.append(context.socket(zmq.DEALER))
                strangers[-1].setsockopt(zmq.LINGER, 0)
                present(strangers[-1], server.server_key, KeyPair.new())
                strangers[-1].connect(server.endpoint)
            for i in range(20):
                assert client.render(pose(), camera).id == i + 1
        assert server.stats()["clients"] <= 1
    finally:
        context.destroy(linger=0)


def _address(endpoint: str) -> tuple[str, int]:
    host, port = endpoint.removeprefix("tcp://").split(":")
    return host, int(port)


class _tap:
    """A wire between clients and `endpoint` that keeps what passes, both ways, in `seen`."""

    def __init__(self, endpoint: str, seen: bytearray):
        self._target, self._seen = _address(endpoint), seen
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._target)
                self._sockets += [here, there]
                for a, b in ((here, there), (there, here)):
                    threading.Thread(target=self._copy, args=(a, b), daemon=True).start()
        except OSError:
            pass

    def _copy(self, source, target) -> None:
        try:
            while data := source.recv(65536):
                self._seen += data
                target.sendall(data)
        except OSError:
            pass

    def __enter__(self) -> str:
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *exc) -> None:
        for s in self._sockets:
            s.close()
