"""dinar live as users run it: sender script -> server -> a client without poses gets moving pictures."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dinar_live.runtime import Avatar, Body, Camera
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.motion import load_motion
from dinar_live.runtime.stream import Client

DINAR = [sys.executable, "-m", "dinar_live.cli.main"]
SENDER = Path(__file__).resolve().parents[2] / "examples" / "vmc_sender.py"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("avatar") / "tiny"
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    Avatar(name="tiny", rig=Body.open().rig(), renderers={"texture": RendererSpec(texture)}).save(path)
    return str(path)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(lines, text, seconds=30):
    end = time.monotonic() + seconds
    while not (found := [line for line in lines if text in line]):
        assert time.monotonic() < end, lines
        time.sleep(0.05)
    return found[0]


def test_a_viewer_sees_the_performer(bundle):
    port, lines = free_port(), []
    command = [
        *DINAR,
        "live",
        f"vmc:{port}",
        "--avatar",
        bundle,
        "--no-page",
        "--endpoint",
        "tcp://127.0.0.1:0",
        "--size",
        "128",
        "--threads",
        "1",
        "--hold",
        "0.2",
        "--ease",
        "0.3",
    ]
    live = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reader = threading.Thread(target=lambda: lines.extend(live.stdout), daemon=True)
    reader.start()
    sender = None
    try:
        endpoint = wait_for(lines, "ready ").split()[1]
        assert str(port) in wait_for(lines, "waiting for packets")
        camera = Camera.look_at((0, 1, 4), (0, 1, 0), (128, 128), fov_y=0.6)
        with Client(endpoint) as client:
            still = client.render(None, camera).rgba.astype(int)
            sender = subprocess.Popen([sys.executable, SENDER, "--port", str(port), "--fps", "30"])
            assert "calibration not needed" in wait_for(lines, "live ")
            frames = []
            for _ in range(10):
                time.sleep(0.1)
                frames.append(client.render(None, camera).rgba.astype(int))
            assert frames[0][..., 3].max() == 255
            assert (
                all(np.abs(a - b).max() > 20 for a, b in zip(frames, frames[1:], strict=False))
                and np.abs(frames[-1] - still).max() > 20
            )
        sender.kill()
        sender.wait()
        count = len(lines)
        end = time.monotonic() + 10
        while not any("waiting for packets" in line for line in lines[count:]):
            assert time.monotonic() < end, lines
            time.sleep(0.05)
        live.send_signal(signal.SIGINT)
        assert live.wait(10) == 0
        assert "samples" in wait_for(lines, "samples")
    finally:
        for process in (live, sender):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


def test_errors_are_one_line(bundle):
    cases = {
        "nothing": "expected vmc",
        "vmc:99999": "port number",
        "smplx:here": "tcp://",
        "file:none.bvh": "no such file",
    }
    for source, words in cases.items():
        done = subprocess.run(
            [*DINAR, "live", source, "--avatar", bundle, "--no-page"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1, (
            done.stderr
        )


@pytest.fixture
def live(bundle):
    """Starts `dinar live` with these sources and options; returns (process, its lines, endpoint)."""
    started = []

    def start(*arguments):
        lines = []
        process = subprocess.Popen(
            [*DINAR, "live", *arguments, "--no-page", "--endpoint", "tcp://127.0.0.1:0", "--size", "128"]
            + ["--threads", "1", "--hold", "0.2", "--ease", "0.3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
        return process, lines, wait_for(lines, "ready ").split()[1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def width(client):
    """Pixels across the avatar: arms out to the sides make it wide."""
    camera = Camera.look_at((0, 1, 4), (0, 1, 0), (128, 128), fov_y=0.6)
    return int((client.render(None, camera).rgba[..., 3] > 127).any(axis=0).sum())


def becomes_wide(client, seconds=20):
    end = time.monotonic() + seconds
    while width(client) < 75 and time.monotonic() < end:
        time.sleep(0.05)
    return width(client)


@pytest.fixture
def t_pose(sender):
    """Sends a T-pose over VMC to a port until the test ends."""
    stop, threads = threading.Event(), []

    def send(port):
        def run():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                while not stop.wait(1 / 30):
                    messages = sender.Performer().messages(np.zeros((55, 3)), (0, 1, 0), (), time.monotonic())
                    sock.sendto(sender.bundle(messages, time.time()), ("127.0.0.1", port))

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()

    yield send
    stop.set()
    for thread in threads:
        thread.join()


def test_two_performers_on_two_ports_move_an_avatar_each_and_are_recorded(bundle, live, t_pose, tmp_path):
    ports, out = (free_port(), free_port()), tmp_path / "take.dmot"
    process, lines, endpoint = live(
        f"vmc:{ports[0]}", f"vmc:{ports[1]}", "--avatar", bundle, "--avatar", bundle, "--record", str(out)
    )
    with Client(endpoint) as one, Client(endpoint, avatar="tiny 2") as two:
        assert width(one) < 60 and width(two) < 60  # both stand by
        t_pose(ports[1])
        assert becomes_wide(two) >= 75 and width(one) < 60
        wait_for(lines, f"vmc:{ports[1]}: live")
        assert any(f"vmc:{ports[0]}: waiting" in line for line in lines)
        t_pose(ports[0])
        assert becomes_wide(one) >= 75
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    for i in (1, 2):
        assert np.abs(load_motion(tmp_path / f"take.{i}.dmot").body).max() < 1e-3


def test_the_first_that_performs_moves_the_one_avatar(bundle, live, t_pose, tmp_path):
    ports, out = (free_port(), free_port()), tmp_path / "take.dmot"
    process, lines, endpoint = live(
        f"mocopi:{ports[0]}", f"vmc:{ports[1]}", "--avatar", bundle, "--record", str(out)
    )
    with Client(endpoint) as client:
        t_pose(ports[1])
        assert becomes_wide(client) >= 75
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert load_motion(out).frames >= 1 and "samples" in wait_for(lines, f"vmc:{ports[1]}: ")


def test_a_performer_without_a_take_leaves_no_file(bundle, live, tmp_path):
    process, lines, _ = live(
        f"vmc:{free_port()}", "--avatar", bundle, "--record", str(tmp_path / "take.dmot")
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert wait_for(lines, "nothing was recorded") and not list(tmp_path.iterdir())


def test_errors_of_several_sources_are_one_line(bundle, tmp_path):
    (tmp_path / "there.dmot").touch()
    cases = (
        (["vmc:1", "vmc:2", "vmc:3", "--avatar", bundle, "--avatar", bundle], "2 avatars for 3 sources"),
        (["vmc:39777", "vmc:39777"], "given twice"),
        (["smplx:5560"], "tcp://127.0.0.1:5560"),
        (["vmc", "--record", "take.npz"], "expected .dmot"),
        (["vmc", "--record", str(tmp_path / "there.dmot")], "--overwrite"),
    )
    for arguments, words in cases:
        done = subprocess.run(
            [*DINAR, "live", *arguments, "--no-page"], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1, (
            done.stderr
        )
        assert "free port" not in done.stderr
