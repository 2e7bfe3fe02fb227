"""clients/csharp: the codec, planes and session against the golden messages and a server, under mono; the
Unity part against stand-ins."""

import json
import pathlib
import shutil
import struct
import subprocess
import threading

import numpy as np
import pytest
import zmq

from dinar_live.runtime.stream import RenderedFrame, Server
from dinar_live.runtime.stream.protocol.image_codec import decode_view
from dinar_live.runtime.stream.protocol.messages_codec import decode

HERE = pathlib.Path(__file__).parent
EXAMPLE = HERE.parents[1] / "clients" / "csharp"
MCS, MONO = shutil.which("mcs"), shutil.which("mono")
PLAIN = [
    EXAMPLE / f"Dinar{part}.cs" for part in ("Constants", "Messages", "Encode", "Decode", "Planes", "Session")
]

pytestmark = pytest.mark.skipif(
    not (MCS and MONO), reason="needs mono: apt-get install mono-mcs mono-runtime"
)


def compiled(out: pathlib.Path, *arguments) -> pathlib.Path:
    command = [MCS, "-langversion:7", "-warnaserror", f"-out:{out}", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("csharp") / "program.exe", *PLAIN, HERE / "csharp" / "Program.cs")


@pytest.fixture(scope="module")
def golden(program, data):
    """name -> (values.json's entry, what the program found in the message)."""
    folder = data / "golden_messages"
    entries = json.loads((folder / "values.json").read_text())
    result = subprocess.run(
        [MONO, str(program), "golden", *(str(folder / f"{name}.bin") for name in entries)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    found = {o["name"]: o for o in map(json.loads, result.stdout.splitlines())}
    assert found.keys() == entries.keys()
    return {name: (entry, found[name]) for name, entry in entries.items()}


@pytest.fixture(scope="module")
def data():
    return HERE.parents[0] / "data"


def alike(found, expected) -> bool:
    """Equality where floats are float32."""
    if isinstance(expected, dict):
        return found is not None and all(alike(found.get(k), v) for k, v in expected.items())
    if isinstance(expected, list):
        return found is not None and len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(expected, float):
        return np.float32(found) == np.float32(expected)
    return found == expected


def test_golden_messages_decode_to_their_values(golden):
    same_name = {"pose_time_ns": "client_time_ns", "client_ns": "client_time_ns"}
    for name, (entry, found) in golden.items():
        assert found["type"] == entry["kind"]
        for field, value in entry["values"].items():
            assert alike(found.get(same_name.get(field, field)), value), f"{name}: {field}"


def test_golden_messages_encode_to_their_bytes(golden):
    assert {name for name, (_, found) in golden.items() if not found["same"]} == set()


def test_planes_decode_to_the_pixels(golden, data):
    checked = 0
    for name, (entry, found) in golden.items():
        if entry["kind"] != "frame":
            continue
        message = decode((data / "golden_messages" / f"{name}.bin").read_bytes())
        for view, theirs in zip(message.views, found["views"], strict=True):
            ours, rect = decode_view(view, message.straight, message.background), view.rect
            window = np.s_[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width]
            if view.alpha is not None:
                alpha = np.array(theirs["alpha_pixels"]).reshape(rect.height, rect.width)
                assert np.abs(alpha - ours.rgba[window][..., 3]).max() <= 1, name
                checked += 1
            if view.depth is not None:
                depth = np.array(theirs["depth_pixels"]).reshape(rect.height, rect.width)
                np.testing.assert_allclose(depth, ours.depth[window], rtol=1e-5)
                checked += 1
    assert checked >= 6


def exactly(stream, count: int) -> bytes:
    """`count` bytes of an unbuffered pipe, fewer only at its end."""
    data = b""
    while len(data) < count and (part := stream.read(count - len(data))):
        data += part
    return data


def test_session_against_a_server(program):
    """The program's messages over a pipe to a DEALER: hello, clock, five pictures one after the other,
    goodbye."""
    seen = []

    def render(request):
        seen.append(request)
        return RenderedFrame(np.full((*request.cameras[0].size, 4), 255, np.uint8))

    with Server(render, {"name": "stub"}) as server:
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.connect(server.endpoint)
        process = subprocess.Popen(
            [MONO, str(program), "session"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        watch = threading.Timer(60, process.kill)
        watch.start()
        poller = zmq.Poller()
        poller.register(dealer, zmq.POLLIN)
        poller.register(process.stdout, zmq.POLLIN)
        try:
            ended = False
            while not ended:
                ready = dict(poller.poll(20_000))
                assert ready, "neither side says anything"
                if dealer in ready:
                    data = dealer.recv()
                    process.stdin.write(struct.pack("<I", len(data)) + data)
                    process.stdin.flush()
                if process.stdout.fileno() in ready:
                    head = exactly(process.stdout, 4)
                    ended = not head
                    if head:
                        dealer.send(exactly(process.stdout, struct.unpack("<I", head)[0]))
            errors = process.stderr.read().decode()
        finally:
            watch.cancel()
            process.kill()
            process.communicate()
            dealer.close(500)
            context.term()
        assert [line for line in errors.splitlines() if line.startswith("frame")] == [
            f"frame {i} 48x64 3072" for i in range(1, 6)
        ], errors
        assert "clock True" in errors
    assert len(seen) in (5, 6) and seen[0].pose.body.shape == (55, 3) and seen[0].cameras[0].fov[1] > 0


@pytest.mark.parametrize("limits", ["{}", '{"limits":{"max_rate":1000.0}}', '{"limits":{"max_rate": 40}}'])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_what_is_rendered_when_the_renderer_is_free_is_the_newest(program, window, limits):
    """Of 20 requests in 20 ms to a server that is busy with the first; nothing piles up, and the rate is
    bounded: to 250 a second, or a quarter of max_rate."""
    run = subprocess.run(
        [MONO, str(program), "overload", str(window), limits], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    rendered, unanswered, came = map(int, run.stdout.split())
    assert rendered == 20 and unanswered == (1 if window == 1 else 3)
    assert came == 2 if window == 1 else came == 3 if "40" in limits else 5 <= came <= 9


def test_unity_component_compiles_against_stand_ins(tmp_path):
    """It was never run in Unity; this finds typing errors and what the other files no longer offer."""
    stand_ins = compiled(
        tmp_path / "StandIns.dll", "-target:library", "-nowarn:0649", HERE / "csharp" / "StandIns.cs"
    )
    compiled(
        tmp_path / "Avatar.dll",
        "-target:library",
        f"-r:{stand_ins}",
        "-nowarn:0649",
        *PLAIN,
        EXAMPLE / "DinarAvatar.cs",
    )
