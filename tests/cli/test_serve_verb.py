"""dinar serve and dinar play as users run them: processes, ports, Ctrl-C."""

import argparse
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from dinar_live.cli.serve import limit, mebibytes
from dinar_live.runtime import Avatar, Body, Camera, Pose
from dinar_live.runtime.avatar.avatar import RendererSpec
from dinar_live.runtime.core.errors import RemoteError
from dinar_live.runtime.motion import demo_motion, save_motion
from dinar_live.runtime.stream import Client, Spectator
from dinar_live.runtime.stream.protocol.messages import Hello
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode

DINAR = [sys.executable, "-m", "dinar_live.cli.main"]
SECONDS = 30


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("avatar") / "tiny"
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    Avatar(name="tiny", rig=Body.open().rig(), renderers={"texture": RendererSpec(texture)}).save(path)
    return str(path)


@contextlib.contextmanager
def started(*arguments, **options):
    process = subprocess.Popen(
        [*DINAR, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextlib.contextmanager
def serving(bundle, *arguments, endpoint="tcp://127.0.0.1:0", page=("--page-port", "0"), **options):
    """(process, endpoint, page address) of a server that is ready."""
    with started(
        "serve",
        bundle,
        "--endpoint",
        endpoint,
        "--size",
        "128",
        "--threads",
        "1",
        *page,
        *arguments,
        **options,
    ) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready "):
                break
        else:
            pytest.fail(f"not ready: {said}")
        yield process, *line.split()[1:]


def run(*arguments):
    return subprocess.run([*DINAR, *arguments], capture_output=True, text=True, timeout=SECONDS)


def test_serves_frames_and_page_and_ends_on_ctrl_c(bundle):
    with serving(bundle) as (process, endpoint, page):
        with Client(endpoint) as client:
            assert client.capabilities["name"] == "tiny" and client.capabilities["size"] == [128, 128]
            assert client.render(Pose(), Camera.look_at((0, 1, 5), (0, 1, 0), (128, 128))).rgba[..., 3].any()
        assert b"<canvas" in urllib.request.urlopen(page, timeout=5).read()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert (
            process.returncode == 0
            and "served 1 frames" in rest
            and "Traceback" not in rest
            and "leak" not in rest
        )


def test_several_avatars_spectators_and_limits(bundle):
    arguments = (
        "demo",
        "--endpoint",
        "tcp://127.0.0.1:0",
        "--size",
        "96",
        "--threads",
        "1",
        "--no-page",
        "--spectators",
        "tcp://127.0.0.1:0",
        "--limit",
        "max_clients=1",
        "--limit",
        "idle_timeout=7.5",
    )
    with started("serve", bundle, *arguments) as process:
        said = {}
        for line in process.stdout:
            name, _, rest = line.partition(" connect to ")
            said[name] = rest.strip()
            if line.startswith("ready "):
                break
        endpoint = line.split()[1]
        with Spectator(said["spectators"]) as spectator:
            assert spectator.read().rgba[..., 3].any()  # the overview
        with Client(endpoint) as client:
            assert client.capabilities["avatars"] == ["tiny", Avatar.demo().name]
            assert client.capabilities["limits"]["idle_timeout"] == 7.5
            camera = Camera.look_at((0, 1, 5), (0, 1, 0), (96, 96))
            tiny = client.render(Pose(), camera).rgba
            client.select(Avatar.demo().name)
            assert not np.array_equal(client.render(Pose(), camera).rgba, tiny)
            with pytest.raises(RemoteError, match="limit"):
                Client(endpoint)


def test_limits_that_are_none():
    assert limit("max_rate=12.5") == ("max_rate", 12.5) and limit("send_queue=3") == ("send_queue", 3)
    for text in ("clients=3", "max_clients=many", "max_clients=1.5", "max_clients"):
        with pytest.raises(argparse.ArgumentTypeError, match="max_clients"):
            limit(text)


def test_ends_on_sigterm_and_when_standard_input_closes(bundle):
    with serving(bundle, page=["--no-page"]) as (process, _, page):
        assert page == "-"
        process.terminate()
        assert "Traceback" not in process.communicate(timeout=60)[0] and process.returncode == 0
    with serving(bundle, "--until-stdin-closes", page=["--no-page"], stdin=subprocess.PIPE) as (process, *_):
        time.sleep(0.2)
        assert process.poll() is None
        process.stdin.close()
        process.stdin = None
        assert process.wait(10) == 0


def test_memory_is_in_mebibytes():
    assert mebibytes("1024") == 1024
    for text in ("1G", "0", "-5", "1.5", "", "99999999999"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number of MiB"):
            mebibytes(text)


COMPILING = """
import sys, time
from dinar_live.engines.openvino.engine import OpenVINOEngine

def slow(compile):
    def slower(self, size):
        if max(size[1:]) > 64:  # blocks of 2x2 pixels
            print("compiling", flush=True)
            time.sleep(60)
        return compile(self, size)
    return slower

OpenVINOEngine.compile = slow(OpenVINOEngine.compile)
OpenVINOEngine.compile_channels_last = slow(OpenVINOEngine.compile_channels_last)
from dinar_live.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_end_waits_for_no_compiler():
    serve = ["serve", "demo", "--renderer", "light", "--size", "128x128", "--device", "cpu", "--no-page"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILING, *serve, "--endpoint", "tcp://127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(process.stdout.readline, "")
        endpoint = next(line.split()[1] for line in lines if line.startswith("ready"))
        with Client(endpoint) as client:
            client.send(Pose(), Camera.orbit((0.0, 0.0, 0.0), (192, 192)), (192, 192))
            assert any(line.startswith("compiling") for line in lines)
            process.terminate()
            assert process.wait(30) == 0  # and not after a minute
            assert "served 0 frames" in process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_busy_ports_are_one_line_and_code_2(bundle):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for arguments in (
            ["--endpoint", f"tcp://127.0.0.1:{port}", "--no-page"],
            ["--endpoint", "tcp://127.0.0.1:0", "--page-port", str(port)],
        ):
            result = run("serve", bundle, "--size", "64", *arguments)
            assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result.stderr
            assert str(port) in result.stderr and "in use" in result.stderr and "ready" not in result.stdout


@pytest.mark.parametrize(
    "fps, told", [(["--fps", "24"], 24), ([], 30), (["--fps", "0"], None), (["--renderer", "texture"], None)]
)
def test_the_rate_to_hold_and_what_was_chosen_for_it_are_told(bundle, fps, told):
    arguments = ("--endpoint", "tcp://127.0.0.1:0", "--size", "64", "--threads", "1", "--no-page")
    with started("serve", bundle, *arguments, *fps) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("ready "):
                break
        said = [line for line in lines if line.startswith("quality of tiny: texture")]
        with Client(lines[-1].split()[1]) as client:
            quality = client.capabilities.get("quality")
    if told is None:
        assert quality is None and not said
    else:
        assert quality["fps"] == told and quality["why"] in said[0] and f"{told} a second" in said[0]


@pytest.mark.parametrize("fps", ["nan", "-1", "1000", "fast"])
def test_rates_that_cannot_be_held(bundle, fps):
    result = run("serve", bundle, "--fps", fps)
    assert result.returncode == 2 and f"argument --fps: got {fps!r}, expected 1 to 240" in result.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nowhere.*no such avatar"),
        (["{bundle}", "--endpoint", "http://x"], "expected tcp://HOST:PORT"),
        (["{bundle}", "--endpoint", "tcp://0.0.0.0:0", "--no-page"], "will not listen"),
        (["{bundle}", "--page-port", "70000"], "page port: got 70000"),
        (["{bundle}", "--motion", "nowhere.bvh"], "nowhere.bvh: no such file"),
        (["{bundle}", "--renderer", "dinar"], "renderer: got 'dinar'.*texture"),
    ],
)
def test_bad_arguments_are_one_line_and_code_2(bundle, arguments, message):
    arguments = [a.format(bundle=bundle) for a in arguments]
    if "--page-port" not in arguments and "--no-page" not in arguments:
        arguments += ["--page-port", "0"]
    result = run("serve", *arguments)
    assert (
        result.returncode == 2 and len(result.stderr.splitlines()) == 1 and re.search(message, result.stderr)
    ), result.stderr


def hello(page):
    """What a page's server says of itself."""
    address, _, fragment = page.partition("#key=")
    protocols = ["dinar-live", *([f"key.{fragment}"] if fragment else [])]
    with connect(address.replace("http", "ws", 1) + "ws", subprotocols=protocols) as viewer:
        viewer.send(bytes(encode(Hello({}))))
        return decode(viewer.recv(5)).info


def test_insecure_endpoint_is_reachable_and_the_page_works(bundle):
    with serving(bundle, "--insecure", endpoint="tcp://0.0.0.0:0") as (_, endpoint, page):
        assert (
            hello(page)["name"] == "tiny" and "0.0.0.0" in endpoint and page.startswith("http://127.0.0.1:")
        )


def test_a_page_for_others_has_a_key_and_offers_all_motions(bundle, tmp_path):
    save_motion(demo_motion().slice(0, 40), tmp_path / "look.npz")
    motion = ("--motion", "demo", "--motion", str(tmp_path / "look.npz"))
    with serving(bundle, "--page-host", "0.0.0.0", *motion) as (process, _, page):
        names = [source["name"] for source in hello(page)["sources"]]
        assert names[:2] == ["live", "demo"] and len(names) == 4 and "idle" in names
        address, _, key = page.partition("#key=")
        assert len(key) >= 20 and "0.0.0.0" not in address
        with pytest.raises(ConnectionClosed) as e:
            hello(address)
        assert e.value.rcvd.code == 4401


def test_play_once_drives_the_server(bundle):
    with (
        serving(bundle, page=["--no-page"]) as (_, endpoint, _),
        started("play", "demo", "--connect", endpoint, "--fps", "60") as player,
    ):
        lines = []
        while len(lines) < 3:
            lines.append(player.stdout.readline())
        assert "driving tiny" in lines[0] and "128x128" in lines[0]
        assert re.search(r"[1-9]\d*\.\d fps .*p50 .*p95 .*stale \d+ +superseded \d+", lines[2])
        player.send_signal(signal.SIGINT)
        rest, _ = player.communicate(timeout=60)
        assert player.returncode == 0 and "poses sent" in rest and "Traceback" not in rest


def test_play_waits_for_a_server_and_survives_its_restart(bundle):
    with socket.create_server(("127.0.0.1", 0)) as s:
        endpoint = f"tcp://127.0.0.1:{s.getsockname()[1]}"
    with started("play", "demo", "--connect", endpoint) as player:
        assert "does not answer" in player.stdout.readline()
        with serving(bundle, endpoint=endpoint, page=["--no-page"]):
            _read_until(player, "fps   latency")
        _read_until(player, "does not answer")
        with serving(bundle, endpoint=endpoint, page=["--no-page"]):
            _read_until(player, "fps   latency")


def _read_until(process, text):
    end = time.monotonic() + SECONDS
    while text not in (line := process.stdout.readline()):
        assert line and time.monotonic() < end, f"never said {text!r}"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere.npz"], "nowhere.npz: no such file"),
        (["demo", "--connect", "localhost"], "expected tcp://HOST:PORT"),
        (["demo", "--fps", "0"], "--fps: got 0"),
    ],
)
def test_play_refuses_bad_arguments(arguments, message):
    result = run("play", *arguments)
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1
