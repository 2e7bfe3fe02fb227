"""dinar demo end to end: two processes, a video, a sheet, figures; and the schedule that it and play
share."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import cv2
import numpy as np
import pytest

from dinar_live.cli import driving
from dinar_live.cli.demo import show
from dinar_live.cli.driving import Figures, Target, closed_loop, paced
from dinar_live.cli.server_process import ServerProcess
from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.core.errors import DinarError, RemoteError, StreamTimeout
from dinar_live.runtime.core.skeleton import PARENTS
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.stream import Client, Frame, RenderedFrame, Server

DINAR = [sys.executable, "-m", "dinar_live.cli.main"]


@pytest.fixture(scope="module")
def rig():
    return Body.open().rig()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, rig):
    path = tmp_path_factory.mktemp("avatar") / "tiny"
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    Avatar(name="tiny", rig=rig, renderers={"texture": RendererSpec(texture)}).save(path)
    return str(path)


def test_headless_demo_writes_video_sheet_and_figures(bundle, tmp_path):
    result = subprocess.run(
        [
            *DINAR,
            "demo",
            bundle,
            "--frames",
            "45",
            "--headless",
            "--size",
            "192x256",
            "--out",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    video = cv2.VideoCapture(str(tmp_path / "out" / "demo.mp4"))
    pictures = []
    while (read := video.read())[0]:
        pictures.append(read[1])
    assert len(pictures) == 30 and pictures[0].shape == (256, 192, 3) and video.get(cv2.CAP_PROP_FPS) == 30
    assert np.abs(pictures[0].astype(int) - pictures[-1]).max() > 60  # it moves
    assert pictures[0][128, 96].astype(int).min() < 225  # a person in the middle
    assert np.abs(pictures[0][4, 4].astype(int) - (232, 227, 223)).max() < 8  # on the background
    sheet = cv2.imread(str(tmp_path / "out" / "sheet.png"))
    assert sheet is not None and sheet.std() > 5
    assert sorted(os.listdir(tmp_path / "out")) == ["demo.mp4", "sheet.png"]
    rates = re.findall(r"([\d.]+) fps   latency p50", result.stdout)
    assert (
        len(rates) == 2 and 0 < float(rates[0]) <= 31 and float(rates[1]) > 0
    )  # how fast is the machine's affair
    for stage in ("lbs", "rasterize", "gather", "compose", "encode", "decode", "pose to picture"):
        assert re.search(rf"^  {stage} .*\d\.\d\d +\d+\.\d\d$", result.stdout, re.M), stage


def test_demo_with_a_page_runs_until_ctrl_c_and_takes_its_server_along(bundle):
    with socket.create_server(("127.0.0.1", 0)) as busy:  # as if 8080 were taken
        port = busy.getsockname()[1]
        demo, page = _demo(bundle, port)
        try:
            assert (
                page.endswith("/#source=demo")
                and str(port) not in page
                and b"<canvas" in urllib.request.urlopen(page, timeout=5).read()
            )
            time.sleep(1)
            demo.send_signal(signal.SIGINT)
            rest, _ = demo.communicate(timeout=60)
            assert demo.returncode == 0 and "Traceback" not in rest
        finally:
            demo.kill()
        _gone(page)


def test_a_killed_demo_leaves_no_server_behind(bundle):
    demo, page = _demo(bundle, 0)
    demo.kill()
    demo.communicate()
    _gone(page)


def _demo(bundle, port):
    demo = subprocess.Popen(
        [*DINAR, "demo", bundle, "--size", "64", "--page-port", str(port), "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in demo.stdout:
        if found := re.match(r"watch it on (\S+)", line):
            return demo, found[1]
    pytest.fail(f"no page: {demo.communicate()[1]}")


def _gone(page):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(page, timeout=1).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the server still runs")


def test_errors_of_the_server_end_the_demo_with_one_line(tmp_path):
    result = subprocess.run(
        [
            *DINAR,
            "demo",
            str(tmp_path / "nowhere"),
            "--headless",
            "--frames",
            "3",
            "--out",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 2 and "no such avatar" in result.stderr and "Traceback" not in result.stderr


def test_a_server_that_dies_ends_the_demo(bundle):
    with ServerProcess([bundle, "--size", "64", "--no-page"]) as server:
        threading.Timer(1.0, server.kill).start()
        with pytest.raises(DinarError, match="the server ended during the run .exit code -9"):
            show(server, 300, open_it=False)


@pytest.mark.parametrize(
    "arguments, message",
    [(["--frames", "0"], "--frames: got 0"), (["--page-port", "70000"], "--page-port: got 70000")],
)
def test_demo_refuses_bad_numbers(arguments, message):
    result = subprocess.run([*DINAR, "demo", *arguments], capture_output=True, text=True, timeout=30)
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1


SIZE = (32, 32)


class Stub:
    """A server's renderer that takes a given time."""

    def __init__(self, rig):
        self.seconds, self.poses = 0.0, []
        self.capabilities = {
            "name": "stub",
            "rest_joints": rig.joints.tolist(),
            "parents": PARENTS,
            "body_extent": [-1.0, 0.8],
            "expression_names": [],
            "size": list(SIZE),
        }

    def __call__(self, request):
        time.sleep(self.seconds)
        self.poses.append(request.pose)
        return RenderedFrame(np.zeros((*SIZE, 4), np.uint8), None, {"lbs": 0.1, "total": 1e3 * self.seconds})


@pytest.fixture
def stub(rig):
    return Stub(rig)


@pytest.fixture
def client(stub):
    with Server(stub, stub.capabilities) as server, Client(server.endpoint, window=2) as c:
        yield c


class Clock:
    """In the place of the module time: nothing passes but what somebody waits for."""

    def __init__(self):
        self.ns = 5_000_000_000

    def monotonic_ns(self):
        return self.ns

    def monotonic(self):
        return self.ns / 1e9

    def sleep(self, seconds):
        self.ns += round(seconds * 1e9)


class SimulatedClient:
    """A client and its server, which renders one request after the other, `seconds` each; one more waits, a
    newer one replaces it."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds_ns = clock, round(seconds * 1e9)
        self.planned, self.replaced, self.busy_ns = [], [], 0
        self._rendering = self._waiting = None  # (id, planned, sent), of the first one also when it is done

    def send(self, pose, camera, size, pose_time_ns=None):
        id, now = len(self.planned) + 1, self.clock.ns
        self.planned.append(now if pose_time_ns is None else pose_time_ns)
        request = id, self.planned[-1], now
        if self._rendering is None:
            self._begin(request, now)
        else:
            self.replaced += [self._waiting[0]] if self._waiting else []
            self._waiting = request
        return id

    def _begin(self, request, now):
        self._rendering, self._waiting = (*request, now + self.seconds_ns), None

    def async_read(self, timeout=5.0):
        end = self.clock.ns + max(1, round(timeout * 1e9))
        if self._rendering is None or self._rendering[3] > end:
            self.clock.ns = end
            raise StreamTimeout("nothing in time")
        id, planned, sent, done = self._rendering
        self._rendering, self.busy_ns = None, self.busy_ns + self.seconds_ns
        if self._waiting is not None:
            self._begin(self._waiting, done)
        self.clock.ns = max(self.clock.ns, done)
        return Frame(id, (), planned, {"total": self.seconds_ns / 1e6}, sent, sent, done, done, done, 0)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(driving, "time", made := Clock())
    return made


def test_paced_keeps_its_schedule_and_counts_a_quick_server_as_never_stale(stub, clock):
    client, figures, ticks = SimulatedClient(clock, 0.004), Figures(), []
    began = clock.ns
    paced(
        client,
        Target(stub.capabilities, demo_motion()),
        figures,
        fps=50,
        frames=40,
        on_frame=lambda frame, tick: ticks.append(tick),
    )
    assert client.planned == [began + 20_000_000 * tick for tick in range(40)]
    assert clock.ns - began == 39 * 20_000_000 + 4_000_000
    assert (
        ticks == list(range(40))
        and figures.sent == figures.frames == 40
        and figures.superseded == figures.stale == 0
    )
    assert set(figures.latency_ms) == {4.0} and figures.fps == pytest.approx(40 / 0.784)


def test_paced_leaves_out_the_ticks_that_it_slept_through(stub, clock):
    client, figures, ticks = SimulatedClient(clock, 0.004), Figures(), []
    began = clock.ns
    paced(
        client,
        Target(stub.capabilities, demo_motion()),
        figures,
        fps=50,
        frames=40,
        on_frame=lambda frame, tick: ticks.append(tick),
        on_tick=lambda tick: clock.sleep(0.1 if tick == 10 else 0),
    )
    late = (
        10 * 20_000_000 - 5_000_000 + 100_000_000
    )  # when tick 10 leaves: a quarter of a period before it is due, and 0.1 s
    assert ticks == [*range(11), *range(late // 20_000_000, 40)] and figures.sent == len(ticks)
    assert client.planned == [began + 20_000_000 * tick for tick in ticks]
    assert max(figures.latency_ms) == pytest.approx(late / 1e6 - 200 + 4)  # counted from when it was due


def test_paced_counts_what_a_slow_server_leaves_out(stub, clock):
    client, figures, ticks = SimulatedClient(clock, 0.09), Figures(), []
    paced(
        client,
        Target(stub.capabilities, demo_motion()),
        figures,
        fps=50,
        frames=50,
        on_frame=lambda frame, tick: ticks.append(tick),
    )
    assert figures.sent == 50 and figures.pending == 0 and figures.frames == len(ticks) == 12
    assert figures.superseded == len(client.replaced) == 38 and sorted(
        [*ticks, *(id - 1 for id in client.replaced)]
    ) == list(range(50))
    # Each picture is of a pose up to a period old when it is begun, and 4.5 periods more when it is there:
    # always stale from the first on.
    assert figures.stale == 50 - 5 and min(figures.latency_ms) == 90 and max(figures.latency_ms) <= 110


def test_closed_loop_gets_every_frame_and_keeps_the_server_busy(stub, clock):
    client, figures, indices = SimulatedClient(clock, 0.01), Figures(), []
    began = clock.ns
    closed_loop(
        client,
        Target(stub.capabilities, demo_motion()),
        figures,
        [0.1 * i for i in range(40)],
        lambda f, i: indices.append(i),
    )
    assert (
        indices == list(range(40))
        and figures.sent == figures.frames == 40
        and figures.superseded == 0
        and not client.replaced
    )
    assert client.busy_ns == clock.ns - began == 400_000_000 and figures.fps == pytest.approx(100)


def test_paced_with_a_real_server_accounts_for_every_pose(stub, client):
    figures, ticks = Figures(), []
    stub.seconds = 0.03
    paced(
        client,
        Target(client.capabilities, demo_motion()),
        figures,
        fps=50,
        frames=40,
        on_frame=lambda frame, tick: ticks.append(tick),
    )
    assert figures.frames + figures.superseded + figures.pending == figures.sent <= 40
    assert 1 <= len(ticks) == figures.frames and ticks == sorted(ticks) and min(figures.latency_ms) > 30


def test_closed_loop_with_a_real_server_ends_with_the_last_frame(stub, client):
    figures, indices = Figures(), []
    stub.seconds = 0.01
    closed_loop(
        client,
        Target(client.capabilities, demo_motion()),
        figures,
        [0.1 * i for i in range(40)],
        lambda f, i: indices.append(i),
    )
    assert figures.sent == 40 == figures.frames + figures.superseded and figures.pending == 0
    assert indices == sorted(indices) and indices[-1] == 39 and len(indices) == figures.frames


def test_stage_times_sum_to_the_latency(stub, client):
    stub.seconds = 0.005
    target = Target(client.capabilities, demo_motion())
    frame = client.render(*target.at(0.5), target.size)
    figures = Figures()
    figures.count_frame(frame)
    times = {stage: ms for stage, (ms,) in figures.stages().items()}
    assert sum(times.values()) == pytest.approx(frame.latency_ms, abs=1e-6)
    assert min(times.values()) > -0.01 and set(times) >= {"wait", "lbs", "encode", "transport", "decode"}


def test_refusals_are_raised(stub, client):
    def refuse(request):
        raise DinarError("not this one")

    with (
        Server(refuse, stub.capabilities) as server,
        Client(server.endpoint) as refused,
        pytest.raises(RemoteError, match="not this one"),
    ):
        paced(refused, Target(refused.capabilities, demo_motion()), Figures(), fps=30, frames=10)


@pytest.mark.parametrize("missing", ["rest_joints", "body_extent", "expression_names", "size"])
def test_target_names_what_the_capabilities_lack(stub, missing):
    with pytest.raises(DinarError, match=missing):
        Target({k: v for k, v in stub.capabilities.items() if k != missing}, demo_motion())
