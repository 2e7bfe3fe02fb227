"""What docs/protocol.md says about the WebSocket, checked over a bare TCP socket: RFC 6455 by hand."""

import base64
import contextlib
import os
import socket
import struct
import time

import numpy as np
import pytest

from dinar_live.runtime.stream import Limits, RenderedFrame, Server
from dinar_live.runtime.viewer import Gateway
from dinar_live.runtime.viewer import gateway as module

HEADER = struct.Struct("<IHHIHHQQQQIIQ")
HELLO, CAPS, RENDER, FRAME, ERROR, TIME = 1, 2, 3, 4, 6, 8
MALFORMED, HELLO_REQUIRED, RATE = 1, 4, 13
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def message(type, *blocks, id=0, version=1, count=None):
    body = b"".join(struct.pack("<HHI", *head, len(p)) + p + bytes(-len(p) % 8) for *head, p in blocks)
    count = len(blocks) if count is None else count
    return HEADER.pack(0x4C524E44, version, type, 0, 64, count, id, 0, 0, 0, len(body), 0, 0) + body


def render(id):
    matrices = np.concatenate([np.diag([60, 60, 1]).ravel(), np.eye(4).ravel()]).astype("<f4")
    return message(RENDER, (2, 1, matrices.tobytes() + struct.pack("<HH", 48, 64)), id=id)


HELLO_BYTES = message(HELLO, (1, 1, b"{}"))


class WebSocket:
    """One connection; `status`: what the handshake was answered with, `headers`: by their lower-case names."""

    def __init__(self, port, path="/ws", **headers):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        lines = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
        self.socket.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        first, *rest = answer.decode().strip().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in rest)}

    def say(self, data, kind=BINARY):
        mask, size = os.urandom(4), len(data)
        length = bytes([0x80 | size]) if size < 126 else None
        if length is None:
            length = b"\xfe" + struct.pack(">H", size) if size < 65536 else b"\xff" + struct.pack(">Q", size)
        body = np.bitwise_xor(np.frombuffer(data, np.uint8), np.resize(np.frombuffer(mask, np.uint8), size))
        self.socket.sendall(bytes([0x80 | kind]) + length + mask + body.tobytes())

    def hear(self):
        """(kind, payload) of the next frame that is no ping; those are answered."""
        while True:
            first, length = self._read(2)
            if length == 126:
                (length,) = struct.unpack(">H", self._read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._read(8))
            data = self._read(length)
            if first & 15 != PING:
                return first & 15, data
            self.say(data, PONG)

    def answer(self):
        """(type, id, code of an ERROR) of the next message."""
        kind, data = self.hear()
        assert kind == BINARY, (kind, data)
        fields = HEADER.unpack_from(data)
        return fields[2], fields[6], struct.unpack_from("<I", data, 72)[0] if fields[2] == ERROR else None

    def closed_with(self):
        while True:
            kind, data = self.hear()
            if kind == CLOSE:
                return struct.unpack_from(">H", data)[0]

    def _read(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "the connection ended"
            data += part
        return data


@pytest.fixture
def serving():
    """open(limits, **options of the gateway) -> (gateway, connect(path, **headers) -> WebSocket)"""
    with contextlib.ExitStack() as stack:

        def start(limits=None, **options):
            def draw(request):
                return RenderedFrame(np.full((*request.cameras[0].size, 4), 255, np.uint8))

            gateway = stack.enter_context(Gateway(port=0, **options))
            server = stack.enter_context(Server(draw, {}, limits=limits))
            gateway.attach(server.connect_here)
            stack.callback(gateway.close)

            def connect(path="/ws", **headers):
                link = WebSocket(gateway.port, path, **headers)
                stack.callback(link.socket.close)
                return link

            return gateway, connect

        yield start


@pytest.fixture
def connect(serving):
    return serving()[1]


def greeted(connect, **headers):
    link = connect(**headers)
    assert link.status == 101
    link.say(HELLO_BYTES)
    assert link.answer()[0] == CAPS
    return link


def test_subprotocols(connect):
    assert greeted(connect).headers.get("sec-websocket-protocol") is None
    link = greeted(connect, Sec_WebSocket_Protocol="other, dinar-live")
    assert link.headers["sec-websocket-protocol"] == "dinar-live"
    link = connect(Sec_WebSocket_Extensions="permessage-deflate")
    assert link.status == 101 and "sec-websocket-extensions" not in link.headers


def test_a_key(serving):
    gateway, connect = serving(key=True)
    link = greeted(connect, Sec_WebSocket_Protocol=f"dinar-live, key.{gateway.key}")
    assert link.headers["sec-websocket-protocol"] == "dinar-live"
    for offer in ({}, {"Sec_WebSocket_Protocol": "dinar-live"}, {"Sec_WebSocket_Protocol": "key.wrong"}):
        link = connect(**offer)
        assert link.status == 101 and link.closed_with() == 4401


def test_before_the_handshake(serving):
    gateway, connect = serving(origins=["https://avatars.example.org"])
    here = f"127.0.0.1:{gateway.port}"
    assert connect(Origin=f"http://{here}").status == 101
    assert connect(Origin="https://avatars.example.org").status == 101
    for origin in ("http://avatars.example.org", f"https://{here}", "http://127.0.0.1:1", "null"):
        assert connect(Origin=origin).status == 403, origin
    assert connect(Host="evil.example").status == 403
    for path in ("/ws/", "/ws?a=1", "/socket"):
        assert connect(path).status == 404, path


def test_every_connection_is_a_client_of_its_own(connect):
    one, two = greeted(connect), connect()
    one.say(render(5))
    assert one.answer() == (FRAME, 5, None)
    two.say(render(5))
    assert two.answer() == (ERROR, 5, HELLO_REQUIRED)


def test_max_rate_holds_here_too(serving):
    _, connect = serving(Limits(max_rate=2))
    link = greeted(connect)
    for _ in range(5):
        link.say(message(TIME))
    assert RATE in [link.answer()[2] for _ in range(5)]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(("hello", TEXT), 1008, id="text"),
        pytest.param((b"", BINARY), 1008, id="nothing"),
        pytest.param((bytes(64), BINARY), 1008, id="no magic number"),
        pytest.param((message(HELLO, (1, 1, b"{}"), version=2), BINARY), 1008, id="another version"),
        pytest.param((HELLO_BYTES[:-8], BINARY), 1008, id="cut short"),
        pytest.param((message(HELLO, (1, 1, b"{}"), count=33), BINARY), 1008, id="33 blocks"),
        pytest.param((bytes(65537), BINARY), 1009, id="more than 64 KiB"),
    ],
)
def test_what_ends_the_connection(connect, bad, code):
    data, kind = bad
    link = greeted(connect)
    link.say(data.encode() if isinstance(data, str) else data, kind)
    assert link.closed_with() == code


def test_what_is_wrong_behind_a_good_header_is_answered(connect):
    link = greeted(connect)
    link.say(message(RENDER, (4, 1, bytes(12)), id=3))
    assert link.answer() == (ERROR, 3, MALFORMED)
    link.say(message(RENDER, (9999, 1, bytes(64 * 1024 - 64 - 8)), id=4))  # 64 KiB exactly
    assert link.answer() == (ERROR, 4, MALFORMED)
    link.say(render(5))
    assert link.answer()[0] == FRAME


def test_too_many_messages_and_too_many_pages(serving, monkeypatch):
    assert (module.MAX_RATE, module._BURST, module.MAX_PAGES) == (400, 200, 16)
    monkeypatch.setattr(module, "MAX_RATE", 1.0)
    _, connect = serving()
    link = connect()
    with contextlib.suppress(OSError):
        for _ in range(210):
            link.say(message(TIME))
    assert link.closed_with() == 1008
    links = [greeted(connect) for _ in range(15)]
    monkeypatch.setattr(module, "MAX_PAGES", 15)
    assert connect().closed_with() == 1013
    del links


def test_pings(serving, monkeypatch):
    assert (module._PING_SECONDS, module._PONG_SECONDS) == (5, 10)
    monkeypatch.setattr(module, "_PING_SECONDS", 0.1)
    monkeypatch.setattr(module, "_PONG_SECONDS", 2)
    _, connect = serving()
    silent = connect()
    while True:
        first, length = silent._read(2)
        silent._read(length)
        if first & 15 == CLOSE:
            break
        assert first & 15 == PING
    polite = greeted(connect)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        polite.say(message(TIME))
        assert polite.answer()[0] == TIME
        time.sleep(0.02)


def test_a_server_that_starts_and_one_that_ends(serving):
    with Gateway(port=0) as starting:
        link = WebSocket(starting.port)
        assert link.status == 101 and link.closed_with() == 1013
        link.socket.close()
    gateway, connect = serving()
    link = greeted(connect)
    gateway.close()
    assert link.closed_with() == 1001
