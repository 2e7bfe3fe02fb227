"""clients/javascript against the golden messages and a real server."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.avatar.avatar import RendererSpec

HERE = pathlib.Path(__file__).parent
EXAMPLE = HERE.parents[1] / "clients" / "javascript"
NODE = shutil.which("node")


def node_version() -> tuple[int, int]:
    if NODE is None:
        return 0, 0
    found = re.match(
        r"v(\d+)\.(\d+)",
        subprocess.run([NODE, "--version"], capture_output=True, text=True, timeout=20).stdout,
    )
    return (int(found[1]), int(found[2])) if found else (0, 0)


VERSION = node_version()
needs_node = pytest.mark.skipif(VERSION < (18, 0), reason="needs node 18 or newer")
needs_websocket = pytest.mark.skipif(
    VERSION < (20, 10), reason="needs node 20.10 or newer, which has a WebSocket"
)


@contextlib.contextmanager
def serving(bundle, *arguments):
    """The address of the WebSocket and of the page of a server that is ready."""
    command = [
        sys.executable,
        "-m",
        "dinar_live.cli.main",
        "serve",
        bundle,
        "--endpoint",
        "tcp://127.0.0.1:0",
        "--page-port",
        "0",
        "--size",
        "128",
        "--threads",
        "1",
        *arguments,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready "):
                break
        else:
            pytest.fail(f"not ready: {said}")
        page = line.split()[2]
        yield page.replace("http", "ws", 1).partition("#")[0] + "ws", page
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("avatar") / "tiny"
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    Avatar(name="tiny", rig=Body.open().rig(), renderers={"texture": RendererSpec(texture)}).save(path)
    return str(path)


def node(*arguments):
    flags = ["--experimental-websocket"] if VERSION < (22, 0) else []
    return subprocess.run([NODE, *flags, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@needs_node
def test_golden_messages(data):
    result = subprocess.run(
        [NODE, str(HERE / "golden.js"), str(data / "golden_messages")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    count = len(list((data / "golden_messages").glob("*.bin")))
    assert result.returncode == 0 and result.stdout == f"{count} messages\n", result.stderr


@needs_websocket
def test_node_client_draws_what_the_server_sends(bundle, tmp_path):
    with serving(bundle) as (socket, _):
        result = node(
            EXAMPLE / "node_client.js", socket, "--frames", 9, "--size", 160, "--out", tmp_path / "frame.png"
        )
        assert result.returncode == 0 and re.search(
            r"9 frames, [\d.]+ fps, latency p50 [\d.]+ ms", result.stdout
        ), result.stderr
        assert result.stdout.startswith("tiny: ")
    picture = cv2.imread(str(tmp_path / "frame.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (160, 160, 4)
    rows, columns = np.nonzero(picture[..., 3] > 128)
    assert rows.min() > 2 and rows.max() < 157 and np.ptp(rows) > 100, "a person, whole, from top to bottom"
    assert 60 < columns.mean() < 100 and len(np.unique(picture[picture[..., 3] == 255])) > 50


@needs_websocket
def test_node_client_needs_the_key_of_a_page_with_one(bundle, tmp_path):
    with serving(bundle, "--page-key") as (socket, page):
        key = page.partition("#key=")[2]
        assert key
        refused = node(
            EXAMPLE / "node_client.js", socket, "--frames", 1, "--size", 64, "--out", tmp_path / "frame.png"
        )
        assert (
            refused.returncode != 0
            and "the key is missing or wrong" in refused.stderr
            and not (tmp_path / "frame.png").exists()
        )
        result = node(
            EXAMPLE / "node_client.js",
            socket,
            "--key",
            key,
            "--frames",
            2,
            "--size",
            64,
            "--out",
            tmp_path / "frame.png",
        )
        assert result.returncode == 0, result.stderr


@needs_node
@pytest.mark.parametrize("every", [0, 8])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_what_is_rendered_when_the_renderer_is_free_is_the_newest(window, every):
    """Of 20 requests to a server that is busy with the first; nothing piles up, and the rate is bounded."""
    program, modules = HERE / "overload.js", [EXAMPLE / "client.js", EXAMPLE / "dinar.js"]
    command = [NODE, *map(str, (program, *modules, window, every))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    rendered, unanswered, sent, took = json.loads(run.stdout)
    assert rendered == 20 and unanswered == (1 if window == 1 else 3)
    assert sent <= (2 if window == 1 else 3 + took / 4)


@needs_websocket
def test_the_readme_shows_the_whole_person(bundle, tmp_path):
    """Its example, as it stands there but for the addresses."""
    text = (EXAMPLE / "README.md").read_text()
    (example,) = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    assert "ws://127.0.0.1:8080/ws" in example
    with serving(bundle) as (socket, _):
        program = tmp_path / "example.mjs"
        program.write_text(
            example.replace('"./', f'"{EXAMPLE.as_uri()}/').replace("ws://127.0.0.1:8080/ws", socket)
            + "\nconst { rect, camera } = frame.views[0];"
            + "\nconsole.log(JSON.stringify([rect.y, rect.y + rect.height, camera.height]));\n"
        )
        result = node(program)
    assert result.returncode == 0, result.stderr
    top, bottom, height = json.loads(result.stdout.splitlines()[-1])
    assert 0 < top < 0.15 * height and 0.85 * height < bottom < height


CLIENT = """
import { DinarClient, RemoteError } from "{example}/client.js";
import { orbit } from "{example}/cameras.js";
const states = [], client = new DinarClient("{socket}", { onstate: (state) => states.push(state) }), caps = await client.ready;
const ask = (more = {}) => client.ask({ cameras: [orbit(caps, 0, 64, 64)], ...more });
const pair = await client.ask({ cameras: [orbit(caps, 0, 64, 64), orbit(caps, 0.1, 64, 48)] });
const [old, replaced, newest] = await Promise.all([ask(), ask(), ask()]);
let refused = null;
try { await ask({ cameras: [orbit(caps, 0, 60000, 60000)] }); } catch (error) { refused = error; }
let wrong = null;
try { await client.ask({ cameras: [] }); } catch (error) { wrong = error; }
const posed = await ask({ pose: { body: new Float32Array(165) }, format: { depth: 2 } });
console.log(JSON.stringify([caps.name, pair.views.length, pair.views[1].camera.height, old !== null, replaced === null, newest !== null,
  refused instanceof RemoteError && refused.code, wrong instanceof RangeError, posed.views[0].depth !== null,
  Math.abs(Number(client.clockOffsetNs)) >= 0]));
client.close();
console.log(JSON.stringify(states));
"""


@needs_websocket
def test_client_keeps_the_rules(bundle, tmp_path):
    """Stereo, the newest request replaces the one that waits, refusals, the clock; and the program ends by
    itself."""
    with serving(bundle) as (socket, _):
        program = tmp_path / "program.mjs"
        program.write_text(CLIENT.replace("{example}", EXAMPLE.as_uri()).replace("{socket}", socket))
        result = node(program)
    assert result.returncode == 0, result.stderr
    facts, states = result.stdout.splitlines()
    assert facts == '["tiny",2,48,true,true,true,6,true,true,true]'
    assert states == '["connecting","ready","closed"]'


WEBXR = """
import { DinarClient } from "{example}/client.js";
import { lookAt, ofWebXR } from "{example}/cameras.js";
import { RAW } from "{example}/dinar.js";
import { pictureOf } from "{example}/planes.js";
const client = new DinarClient("{socket}"), size = 96, [fx, fy, cx, cy] = [80, 90, 40, 55];
await client.ready;
const matrices = { ...lookAt([0.2, -0.3, 3], [0.2, -0.3, 0], 1, size, size), K: [fx, 0, cx, 0, fy, cy, 0, 0, 1] };
const projectionMatrix = new Float32Array(16);
projectionMatrix.set([(2 * fx) / size], 0);
projectionMatrix.set([(2 * fy) / size], 5);
projectionMatrix.set([1 - (2 * cx) / size, (2 * cy) / size - 1, -1, -1], 8);
const transform = { position: { x: 0.2, y: -0.3, z: 3 }, orientation: { x: 0, y: 0, z: 0, w: 1 } };
const cameras = [matrices, ofWebXR({ projectionMatrix, transform }, size, size)];
const frame = await client.ask({ cameras, pose: { body: new Float32Array(165) }, format: { color: RAW } });
const [a, b] = frame.views.map((view) => pictureOf(view, view.color.data, null, frame));
console.log(a.filter((v) => v).length, Math.max(...a.map((v, i) => Math.abs(v - b[i]))), a.filter((v, i) => v !== b[i]).length);
client.close();
"""


@needs_websocket
def test_webxr_cameras_see_what_matrices_see(bundle, tmp_path):
    """With an asymmetric frustum, as headsets have."""
    with serving(bundle) as (socket, _):
        program = tmp_path / "program.mjs"
        program.write_text(WEBXR.replace("{example}", EXAMPLE.as_uri()).replace("{socket}", socket))
        result = node(program)
    assert result.returncode == 0, result.stderr
    seen, worst, different = map(int, result.stdout.split())
    assert seen > 1500 and (worst <= 2 or different < seen / 200), result.stdout


PATIENT = """
import { DinarClient } from "{example}/client.js";
import { orbit } from "{example}/cameras.js";
const client = new DinarClient("{socket}"), caps = await client.ready;
for (let i = 0; i < 2; i++) {
  let frame = null;
  while (!frame) frame = await client.ask({ cameras: [orbit(caps, 0, 64, 64)] });
  console.log(i);
  if (!i) while (client.caps) await new Promise((next) => setTimeout(next, 20));
}
client.close();
"""


@needs_websocket
def test_client_comes_back_to_a_new_server(bundle, tmp_path):
    program = tmp_path / "program.mjs"
    with serving(bundle) as (socket, page):
        program.write_text(PATIENT.replace("{example}", EXAMPLE.as_uri()).replace("{socket}", socket))
        flags = ["--experimental-websocket"] if VERSION < (22, 0) else []
        process = subprocess.Popen(
            [NODE, *flags, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout.readline() == "0\n"
        except BaseException:
            process.kill()
            raise
    try:
        with serving(bundle, "--page-port", page.rstrip("/").rpartition(":")[2]):
            out, errors = process.communicate(timeout=120)
        assert process.returncode == 0 and out == "1\n", errors
    finally:
        process.kill()
