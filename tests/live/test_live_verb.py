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
