"""The gateway over real sockets: page, who may connect, newest frames only, the idle motion."""
import contextlib
import http.client
import json
import socket
import struct
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dinar_live.runtime.errors import DinarError, InputError
from dinar_live.runtime.stream import Client, Format, RenderedFrame, Server
from dinar_live.runtime.viewer import Gateway

SIZE = (48, 64)
INFO = {"name": "Ada", "description": "renderer texture", "endpoint": "tcp://127.0.0.1:5555"}
CAMERA = SimpleNamespace(K=np.float32([[50, 0, 32], [0, 50, 24], [0, 0, 1]]), world_to_camera=np.eye(4, dtype=np.float32))


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)
    return value


def request(straight=False, pose_time_ns=0):
    return SimpleNamespace(format=Format(straight=straight), pose_time_ns=pose_time_ns)


def picture(level):
    """An opaque grey picture: its level survives the JPEG."""
    rgba = np.full((*SIZE, 4), level, np.uint8)
    rgba[..., 3] = 255
    return rgba


def split(message):
    length = struct.unpack_from("<I", message)[0]
    image = cv2.imdecode(np.frombuffer(message, np.uint8, offset=4 + length), cv2.IMREAD_COLOR)
    return json.loads(message[4:4 + length]), image


@pytest.fixture
def gateway():
    with Gateway(INFO, port=0) as g:
        yield g


@contextlib.contextmanager
def viewer(gateway, **options):
    with connect(f"ws://127.0.0.1:{gateway.port}/ws", compression=None, **options) as page:
        assert json.loads(page.recv(2))["type"] == "hello"
        yield page


def get(gateway, path, headers=(), method="GET"):
    link = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
    try:
        link.request(method, path, headers=dict(headers))
        answer = link.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        link.close()


@pytest.mark.parametrize("path, kind, text", [("/", "text/html", b"<canvas"), ("/page.js", "text/javascript", b"WebSocket"),
                                              ("/page.css", "text/css", b"prefers-color-scheme")])
def test_serves_its_page_with_strict_headers(gateway, path, kind, text):
    status, headers, body = get(gateway, path)
    assert status == 200 and headers["Content-Type"].startswith(kind) and text in body
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'") and "unsafe" not in headers["Content-Security-Policy"]


def test_page_asks_nobody_else(gateway):
    for path in ("/", "/page.js", "/page.css"):
        body = get(gateway, path)[2].decode()
        assert "https://" not in body and "http://" not in body and "//cdn" not in body


@pytest.mark.parametrize("path", ["/nothing", "/page.html", "/gateway.py", "/../gateway.py", "/%2e%2e/gateway.py", "//", "/?x", "/ws/"])
def test_other_paths_are_not_found(gateway, path):
    assert get(gateway, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_other_methods_do_not_serve(gateway, method):
    with contextlib.suppress(http.client.HTTPException, OSError):       # refused with or without an answer
        assert get(gateway, "/", method=method)[0] >= 400
    assert get(gateway, "/")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:8080", "localhost:80; script-src *", ""])
def test_foreign_host_names_are_refused(gateway, host):
    assert get(gateway, "/", {"Host": host})[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1", "null", "http://127.0.0.1", "http://localhost:{port}"])
def test_wrong_origin_is_refused(gateway, origin):
    with pytest.raises(InvalidStatus) as e, connect(f"ws://127.0.0.1:{gateway.port}/ws", origin=origin.format(port=gateway.port)):
        pass
    assert e.value.response.status_code == 403


def test_own_origin_may_connect(gateway):
    with viewer(gateway, origin=f"http://127.0.0.1:{gateway.port}"):
        pass


def test_hello_says_what_is_shown(gateway):
    with connect(f"ws://127.0.0.1:{gateway.port}/ws") as page:
        hello = json.loads(page.recv(2))
    assert hello.items() >= INFO.items() and "light" in hello["backdrops"]


def test_frames_arrive_with_their_figures(gateway):
    with viewer(gateway) as page:
        until(lambda: gateway._want)
        gateway.offer(picture(90), request(), {"wait": 1.0, "lbs": 0.5, "render": 9.0})
        header, image = split(page.recv(2))
        assert header["width"] == SIZE[1] and header["height"] == SIZE[0] and header["driver"] == "client" and header["latency_ms"] is None
        assert header["timings"].items() >= {"wait": 1.0, "lbs": 0.5, "render": 9.0}.items() and header["timings"]["page"] > 0
        assert image.shape == (*SIZE, 3) and np.abs(image.astype(int) - 90).max() <= 3
        time.sleep(0.05)
        page.send(json.dumps({"drawn": header["id"]}))
        until(lambda: gateway._want)
        gateway.offer(picture(91), request(), {"wait": 1.0, "render": 9.0})
        assert 60 <= split(page.recv(2))[0]["latency_ms"] < 2000     # 10 until it was rendered, 50 until it was drawn


def test_no_viewer_costs_nothing(gateway):
    rgba = np.zeros((2048, 2048, 4), np.uint8)
    best = min(_timed(lambda: gateway.offer(rgba, request(), {})) for _ in range(200))
    assert best < 50e-6 and gateway._rgba.size == 0


def _timed(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_slow_viewer_gets_few_but_new_frames(gateway):
    with viewer(gateway) as slow:
        until(lambda: gateway._want)
        for level in range(100):
            gateway.offer(picture(level), request(), {})
            time.sleep(0.002)
        header, image = split(slow.recv(2))
        assert image.mean() < 5                         # the first one; the others were not even copied
        with pytest.raises(TimeoutError):
            slow.recv(0.1)
        slow.send(json.dumps({"drawn": header["id"]}))
        until(lambda: gateway._want)
        gateway.offer(picture(200), request(), {})
        assert abs(split(slow.recv(2))[1].mean() - 200) < 3


def test_a_slow_viewer_does_not_slow_another(gateway):
    with viewer(gateway), viewer(gateway) as quick:
        levels = []
        for level in range(10, 200, 10):
            until(lambda: gateway._want)
            gateway.offer(picture(level), request(), {})
            header, image = split(quick.recv(2))
            levels.append(round(image.mean()))
            quick.send(json.dumps({"drawn": header["id"]}))
        assert np.abs(np.array(levels) - np.arange(10, 200, 10)).max() <= 3


def test_paused_viewer_gets_nothing(gateway):
    with viewer(gateway) as page:
        until(lambda: gateway._want)
        page.send('{"watch": false}')
        until(lambda: not gateway._want)
        gateway.offer(picture(9), request(), {})
        with pytest.raises(TimeoutError):
            page.recv(0.1)
        page.send('{"watch": true}')
        until(lambda: gateway._want)
        gateway.offer(picture(99), request(), {})
        assert abs(split(page.recv(2))[1].mean() - 99) < 3


@pytest.mark.parametrize("message", ["", "x", "[]", "{}", '{"drawn": "1"}', '{"watch": 1}', '{"backdrop": "../x"}', b"\xff\xfe", "[" * 200,
                                     "x" * 1000])
def test_strange_messages_end_only_their_sender(gateway, message):
    with viewer(gateway) as good, viewer(gateway) as bad:
        bad.send(message)
        with pytest.raises(ConnectionClosed):
            bad.recv(2)
        until(lambda: len(gateway._viewers) == 1)
        gateway.offer(picture(50), request(), {})
        assert abs(split(good.recv(2))[1].mean() - 50) < 3


def test_backdrop_shows_through_and_straight_colour_is_multiplied(gateway):
    half = np.full((*SIZE, 4), 128, np.uint8)        # premultiplied: white at half opacity
    with viewer(gateway) as page:
        means = {}
        for name, straight in (("light", False), ("dark", False), ("dark", True)):
            page.send(json.dumps({"backdrop": name}))
            until(lambda name=name: [v.backdrop for v in gateway._viewers] == [name] and gateway._want)
            gateway.offer(half, request(straight), {})
            header, image = split(page.recv(2))
            means[name, straight] = image.mean()
            page.send(json.dumps({"drawn": header["id"]}))
    assert means["light", False] > 128 + 0.4 * 212 and means["dark", False] < 128 + 0.6 * 78
    assert abs(means["dark", False] - means["dark", True] - 64) < 3


def test_busy_port_is_one_clear_error(gateway):
    with pytest.raises(DinarError, match=f"{gateway.port}.*in use.*--page-port"):
        Gateway(INFO, port=gateway.port).start()
    with pytest.raises(InputError, match="page port: got 70000"):
        Gateway(INFO, port=70000)


def test_port_is_free_again_after_close():
    with Gateway(INFO, port=0) as first, viewer(first):
        port = first.port
    first.offer(picture(1), request(), {})          # a late frame is ignored
    with Gateway(INFO, port=port) as second:
        assert get(second, "/")[0] == 200


class Source:
    """A renderer whose grey level says whether the request had a pose."""

    def __init__(self):
        self.without_pose = 0

    def __call__(self, request):
        self.without_pose += request.pose is None
        return RenderedFrame(picture(40 if request.pose is None else 160), None, {"lbs": 0.1})


@pytest.fixture
def served():
    source = Source()
    with Gateway(INFO, port=0) as gateway, Server(source, {"size": list(SIZE)}, on_frame=gateway.offer) as server:
        gateway.drive_idle(server.endpoint, lambda: CAMERA)
        yield gateway, server, source
        gateway.close()


def watch(page, seconds):
    """(header, mean level) of every frame shown in `seconds`."""
    frames, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            header, image = split(page.recv(0.1))
            page.send(json.dumps({"drawn": header["id"]}))
            frames.append((header, round(image.mean())))
    return frames


def test_idle_motion_only_while_someone_watches(served):
    gateway, _, source = served
    time.sleep(0.3)
    assert source.without_pose == 0
    with viewer(gateway) as page:
        frames = watch(page, 1.0)
        assert 10 <= len(frames) <= 35 and all(h["driver"] == "idle" and level in range(37, 44) for h, level in frames)
        assert 15 <= frames[-1][0]["rate"] <= 40
    until(lambda: not gateway._watched)
    time.sleep(0.1)
    count = source.without_pose
    time.sleep(0.3)
    assert source.without_pose == count


def test_a_client_takes_over_from_the_idle_motion(served):
    gateway, server, source = served
    pose = SimpleNamespace(body=np.zeros((55, 3), np.float32), transl=np.zeros(3, np.float32), expression=np.zeros(0, np.float32))
    with viewer(gateway) as page:
        assert watch(page, 0.3)[-1][0]["driver"] == "idle"
        with Client(server.endpoint) as client:
            for _ in range(4):
                client.render(pose, CAMERA)
                time.sleep(0.02)
            count = source.without_pose
            for _ in range(20):
                client.render(pose, CAMERA)
                watched = watch(page, 0.02)
            assert source.without_pose <= count + 1
            assert watched[-1][0]["driver"] == "client" and abs(watched[-1][1] - 160) < 4
        until(lambda: source.without_pose > count + 3)     # and back


def test_server_lives_on_when_viewers_vanish(served):
    gateway, server, _ = served
    for _ in range(3):
        with connect(f"ws://127.0.0.1:{gateway.port}/ws") as page:
            page.recv(2)
            page.socket.shutdown(socket.SHUT_RDWR)        # no goodbye
    with viewer(gateway) as page:
        assert len(watch(page, 0.5)) >= 5
    until(lambda: not gateway._viewers)
    with Client(server.endpoint) as client:
        assert client.render(None, CAMERA).rgba.shape == (*SIZE, 4)


def test_a_problem_of_the_idle_motion_is_shown():
    def refuse(request):
        raise DinarError("no motion here")

    with Gateway(INFO, port=0) as gateway, Server(refuse, {"size": list(SIZE)}, on_frame=gateway.offer) as server:
        gateway.drive_idle(server.endpoint, lambda: CAMERA)
        with viewer(gateway) as page:
            message = json.loads(page.recv(3))
            assert message["type"] == "problem" and "no motion here" in message["text"]
        gateway.close()
