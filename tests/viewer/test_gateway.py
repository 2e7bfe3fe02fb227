"""The gateway over real sockets: its page, who may come in, messages to the server and back, pages that
misbehave."""

import contextlib
import http.client
import socket
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.stream import Client, RenderedFrame, Server
from dinar_live.runtime.stream.protocol.messages import (
    NO_PLANE,
    RAW,
    CameraView,
    Caps,
    ErrorMessage,
    Format,
    FrameMessage,
    Hello,
    RenderRequest,
    SourceChoice,
    Superseded,
    Time,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode
from dinar_live.runtime.viewer import Gateway
from dinar_live.runtime.viewer import gateway as module
from dinar_live.runtime.viewer.http import RequestGuard

SIZE = (48, 64)
CAMERA = CameraView(
    np.float32([[50, 0, 32], [0, 50, 24], [0, 0, 1]]), np.eye(4, dtype=np.float32), SIZE[1], SIZE[0]
)


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)
    return value


class Source:
    """A renderer whose requests are kept and whose pictures are opaque and of one level."""

    def __init__(self):
        self.requests, self.seconds = [], 0.0

    def __call__(self, request):
        self.requests.append(request)
        time.sleep(self.seconds)
        camera = request.cameras[0]
        rgba = np.full((camera.height, camera.width, 4), 90, np.uint8)
        rgba[..., 3] = 255
        return RenderedFrame(rgba, None, {"lbs": 0.1})


@contextlib.contextmanager
def running(source, **options):
    with Gateway(port=0, **options) as gateway, Server(source, {"name": "Ada", "size": list(SIZE)}) as server:
        gateway.attach(server.connect_here)
        try:
            yield gateway, server
        finally:
            gateway.close()


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def served(source):
    with running(source) as (gateway, server):
        yield gateway, server


@pytest.fixture
def gateway(served):
    return served[0]


def address(gateway):
    return f"ws://127.0.0.1:{gateway.port}/ws"


class Page:
    """What a page says, without a browser."""

    def __init__(self, socket):
        self.socket, self.id = socket, 0

    def say(self, message):
        self.socket.send(bytes(encode(message)))

    def hear(self, seconds=5.0):
        return decode(self.socket.recv(seconds))

    def ask(self, **more):
        self.id += 1
        self.say(RenderRequest(self.id, (CAMERA,), pose_time_ns=self.id * 10, **more))
        return self.id


@contextlib.contextmanager
def page(gateway, **options):
    with connect(address(gateway), compression=None, **options) as socket:
        visitor = Page(socket)
        visitor.say(Hello({"name": "test"}))
        assert isinstance(visitor.hear(), Caps)
        yield visitor


def get(gateway, path, headers=(), method="GET"):
    link = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
    try:
        link.request(method, path, headers=dict(headers))
        answer = link.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        link.close()


# ---- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, kind, text",
    [
        ("/", "text/html", b"<canvas"),
        ("/main.js", "text/javascript", b"import"),
        ("/client/dinar.js", "text/javascript", b"export"),
        ("/client/constants.js", "text/javascript", b"HEADER_SIZE"),
        ("/style.css", "text/css", b"--accent"),
        ("/icon.svg", "image/svg+xml", b"<svg"),
    ],
)
def test_serves_its_page_with_strict_headers(gateway, path, kind, text):
    status, headers, body = get(gateway, path)
    assert status == 200 and headers["Content-Type"].startswith(kind) and text in body
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert (
        headers["Content-Security-Policy"].startswith("default-src 'none'")
        and "unsafe" not in headers["Content-Security-Policy"]
    )


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/index.html",
        "/gateway.py",
        "/../gateway.py",
        "/%2e%2e/gateway.py",
        "/..%2fgateway.py",
        "/page/main.js",
        "/main.js/",
        "/dinar.js",
        "/client/",
        "/client/index.html",
        "/client/package.json",
        "/client/README.md",
        "/client/../main.js",
        "/clients/javascript/dinar.js",
        "//",
        "/?x",
        "/ws/",
        "/main.js%00",
        "/\\main.js",
    ],
)
def test_other_paths_are_not_found(gateway, path):
    assert get(gateway, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_other_methods_do_not_serve(gateway, method):
    with contextlib.suppress(http.client.HTTPException, OSError):  # refused with or without an answer
        assert get(gateway, "/", method=method)[0] >= 400
    assert get(gateway, "/")[0] == 200


# ---- who may come in ---------------------------------------------------------------------------------------

FOREIGN = [
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example:8080",
    "localhost:80; script-src *",
    "",
    "localhost.",
    "[evil]:80",
]


@pytest.mark.parametrize("host", [*FOREIGN, "192.168.1.7:8080"])
def test_foreign_host_names_are_refused(gateway, host):
    """DNS rebinding: a foreign name that was pointed at this machine."""
    assert get(gateway, "/", {"Host": host})[0] == 403
    with (
        pytest.raises((InvalidStatus, ConnectionClosed, OSError)),
        connect(address(gateway), additional_headers={"Host": host}),
    ):
        pass


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1",
        "null",
        "http://127.0.0.1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "file://",
    ],
)
def test_other_sites_cannot_open_the_stream(gateway, origin):
    """Cross-site WebSocket hijacking: a browser would send the foreign Origin along."""
    with (
        pytest.raises(InvalidStatus) as e,
        connect(address(gateway), origin=origin.format(port=gateway.port)),
    ):
        pass
    assert e.value.response.status_code == 403


def test_its_own_page_and_programs_may(gateway):
    with page(gateway, origin=f"http://127.0.0.1:{gateway.port}"), page(gateway):
        pass
    with connect(f"ws://localhost:{gateway.port}/ws", origin=f"http://localhost:{gateway.port}") as socket:
        socket.send(bytes(encode(Hello({}))))
        assert isinstance(decode(socket.recv(5)), Caps)


def test_what_a_network_address_lets_in():
    door = RequestGuard("0.0.0.0", "key", ["https://avatars.example.org"])
    own = socket.gethostname().lower()
    for host in (
        "192.168.1.7:8080",
        "[fe80::1]:8080",
        "localhost:1",
        own,
        "avatars.example.org",
        "AVATARS.example.org:443",
    ):
        assert door.knows_host(host), host
    for host in (*FOREIGN, "example.org", "avatars.example.org.evil.example", "192.168.1.7.nip.io"):
        assert not door.knows_host(host), host
    assert door.knows_origin("https://avatars.example.org", "127.0.0.1:8080") and door.knows_origin(
        "http://192.168.1.7:1", "192.168.1.7:1"
    )
    assert not door.knows_origin("http://avatars.example.org.evil.example", "avatars.example.org")
    with pytest.raises(InputError, match="page origin: got 'example.org'"):
        RequestGuard("0.0.0.0", "key", ["example.org"])


def test_a_key_is_asked_for(source):
    with running(source, key=True) as (gateway, _):
        assert gateway.url == f"http://127.0.0.1:{gateway.port}/#key={gateway.key}" and len(gateway.key) >= 20
        assert get(gateway, "/")[0] == 200  # the page itself is no secret, and must say what is missing
        with page(gateway, subprotocols=["dinar-live", f"key.{gateway.key}"]) as visitor:
            assert visitor.socket.subprotocol == "dinar-live"  # the key does not come back
        wrong = [
            [],
            ["dinar-live"],
            ["key."],
            ["key.wrong"],
            [f"key.{gateway.key}x"],
            [f"key.{gateway.key[:-1]}"],
            [gateway.key],
            [f"key.{gateway.key}", "key.wrong"],
        ]
        for protocols in wrong:
            with connect(address(gateway), subprotocols=protocols or None) as socket:
                with contextlib.suppress(ConnectionClosed):
                    socket.send(bytes(encode(Hello({}))))
                with pytest.raises(ConnectionClosed) as e:
                    socket.recv(5)
                assert e.value.rcvd.code == 4401, protocols
    assert not source.requests


def test_each_start_has_a_key_of_its_own():
    assert (
        len({Gateway(key=True).key for _ in range(50)}) == 50
        and Gateway().key == ""
        and Gateway(host="0.0.0.0").key
    )


# ---- messages ----------------------------------------------------------------------------------------------


def test_messages_go_to_the_server_as_they_are_and_answers_come_back(gateway, source):
    with page(gateway) as visitor:
        id = visitor.ask(source=SourceChoice(3, 1.25, True))
        answer = visitor.hear()
        assert (
            isinstance(answer, FrameMessage)
            and answer.id == id
            and answer.pose_time_ns == 10
            and answer.timings["lbs"] > 0
        )
        assert source.requests[-1].source == SourceChoice(3, 1.25, True) and source.requests[-1].pose is None
        visitor.say(Time(0, 99))
        assert visitor.hear().client_ns == 99


def test_refusals_of_the_server_come_back(gateway):
    with page(gateway) as visitor:
        visitor.say(RenderRequest(1, (CAMERA._replace(width=60000, height=60000),)))
        answer = visitor.hear()
        assert isinstance(answer, ErrorMessage) and "pixels" in answer.text
        visitor.say(Superseded(7))
        assert "server's to send" in visitor.hear().text


def test_the_newest_request_of_a_page_wins(gateway, source):
    source.seconds = 0.15
    with page(gateway) as visitor:
        first = visitor.ask()
        until(lambda: len(source.requests) == 1)
        ids = [visitor.ask() for _ in range(6)]
        answers = [visitor.hear() for _ in range(7)]
        assert sorted(a.id for a in answers) == [first, *ids]
        assert {a.id for a in answers if isinstance(a, FrameMessage)} == {first, ids[-1]}


def test_a_page_that_does_not_read_holds_up_nobody(served, source):
    gateway, server = served
    big = CAMERA._replace(width=1024, height=1024)
    with page(gateway, max_queue=1, max_size=None, close_timeout=0.1) as stuck, page(gateway) as quick:
        for id in range(1, 41):
            stuck.say(RenderRequest(id, (big,), format=Format(RAW, alpha=NO_PLANE)))
            mine = quick.ask()
            assert quick.hear().id == mine
        rendered = sum(request.cameras[0].width == 1024 for request in source.requests)
        assert 1 <= rendered <= 25  # while its pictures wait, its requests replace each other


def test_every_page_is_a_client_of_its_own(served):
    gateway, server = served
    with page(gateway), page(gateway), Client(server.endpoint):
        assert server.stats()["clients"] == 3
    until(lambda: server.stats()["clients"] == 0)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "x",
        '{"watch": true}',
        b"",
        b"DNRL",
        bytes(64),
        b"\xff" * 200,
        bytes(encode(Hello({})))[:-1],
        bytes(70_000),
    ],
)
def test_strange_messages_end_only_their_sender(gateway, message):
    with page(gateway) as good, page(gateway) as bad:
        with contextlib.suppress(ConnectionClosed):
            bad.socket.send(message)
        with pytest.raises(ConnectionClosed) as e:
            bad.hear()
        assert e.value.rcvd.code in (1008, 1009)
        assert isinstance((good.ask(), good.hear())[1], FrameMessage)


def test_a_flood_of_messages_ends_its_sender(gateway, monkeypatch):
    monkeypatch.setattr(module, "MAX_RATE", 1.0)
    with page(gateway) as flood, page(gateway) as good:
        with pytest.raises(ConnectionClosed) as e:
            for _ in range(400):
                flood.say(Time(0, 1))
            while True:
                flood.hear()
        assert e.value.rcvd.code == 1008 and "too many" in e.value.rcvd.reason
        assert isinstance((good.ask(), good.hear())[1], FrameMessage)


def test_only_so_many_pages(gateway, monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGES", 2)
    with page(gateway):
        with page(gateway), connect(address(gateway)) as third, pytest.raises(ConnectionClosed) as e:
            third.recv(5)
        assert e.value.rcvd.code == 1013
        until(lambda: gateway._open == 1)
        with page(gateway):
            pass


def test_vanished_pages_are_forgotten(served):
    gateway, server = served
    for _ in range(3):
        with page(gateway) as visitor:
            visitor.ask()
            visitor.socket.socket.shutdown(socket.SHUT_RDWR)  # no goodbye
    until(lambda: gateway._open == 0 and server.stats()["clients"] == 0)
    with page(gateway) as visitor:
        assert isinstance((visitor.ask(), visitor.hear())[1], FrameMessage)


# ---- life --------------------------------------------------------------------------------------------------


def test_before_the_server_is_there_pages_are_told_to_come_back():
    with Gateway(port=0) as gateway:
        assert get(gateway, "/")[0] == 200
        with connect(address(gateway)) as socket, pytest.raises(ConnectionClosed) as e:
            socket.recv(5)
        assert e.value.rcvd.code == 1013


def test_a_closing_server_says_goodbye_to_its_pages(source):
    with running(source) as (gateway, _), page(gateway) as visitor:
        gateway.close()
        with pytest.raises(ConnectionClosed):
            visitor.hear()


def test_busy_port_is_one_clear_error(gateway):
    with pytest.raises(DinarError, match=f"{gateway.port}.*in use.*--page-port"):
        Gateway(port=gateway.port).start()
    with pytest.raises(InputError, match="page port: got 70000"):
        Gateway(port=70000)
    with pytest.raises(DinarError, match="page host: nowhere.invalid is no address"):
        Gateway(host="nowhere.invalid").start()


def test_port_is_free_again_after_close(source):
    with running(source) as (first, _), page(first):
        port = first.port
    with Gateway(port=port) as second:
        assert get(second, "/")[0] == 200
