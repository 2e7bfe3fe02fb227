"""benchmarks/gpu_check.py: one line without a GPU; its arithmetic, report and torch baseline; all of it on
the emulated driver."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from dinar_live.runtime import Avatar, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.bench.images import compare
from dinar_live.runtime.render.framing import whole_body_camera

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
ROOT = BENCHMARKS.parent
SIZE = (160, 160)

pytest.importorskip("onnx")


@pytest.fixture
def modules(monkeypatch):
    """gpu_report, gpu_work, light_network, importable as the script sees them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_report
    import gpu_work
    import light_network

    return gpu_report, gpu_work, light_network


@pytest.fixture
def avatar(modules) -> Avatar:
    network = modules[2]
    demo = Avatar.demo()
    texture = np.random.default_rng(0).standard_normal((64, 64, 16)).astype(np.float16)
    light = RendererSpec(
        texture,
        model=network.build(),
        hardsegm=True,
        threshold=0.3,
        margin=network.reach(),
        stride=network.STRIDE,
    )
    return Avatar("a", demo.rig, {"texture": demo.renderers["texture"], "light": light})


def run_script(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_without_a_gpu_it_says_so_at_once():
    if run_script("-c", "from dinar_live.kernels.cuda import Device; Device()").returncode == 0:
        pytest.skip("there is a GPU")
    done = run_script(BENCHMARKS / "gpu_check.py")
    assert (
        done.returncode == 2 and done.stdout == "" and done.stderr.startswith("gpu_check: no NVIDIA driver")
    )
    assert len(done.stderr.splitlines()) == 1


def test_floors(modules, avatar):
    _, work, network = modules
    model = avatar.renderers["light"].model
    # the network's own count leaves out what is small
    assert work.network_flop(model, 1, 512, 512) == pytest.approx(network.gflop() * 1e9, rel=0.01)
    assert work.network_flop(model, 2, 256, 128) == pytest.approx(
        2 * network.gflop(size=(256, 128)) * 1e9, rel=0.01
    )
    one = work.stage_bytes(avatar, "light", (256, 256), (512, 512), 2)
    assert one["gather"] == 256 * 256 * (8 + 19 * 2) and one["download"] == 512 * 512 * 4
    assert work.stage_bytes(avatar, "texture", (256, 256), (512, 512), 4)["gather"] == 4 * 256 * 256 * (
        8 + 6 * 4
    )  # 2x2 samples


def test_report(modules, tmp_path):
    r = modules[0]
    run = r.Run(
        "torch f16, native",
        "light",
        "one CUDA graph per frame",
        {"p50": 0.5, "p99": 0.75},
        [r.Stage("lbs", 0.01, 0.02, 0.005, "1 MB"), r.Stage("network", 0.3, 0.31, None, "6.6 GFLOP")],
        0.2,
    )
    report = r.Report(
        "GPU <1>",
        (256, 512),
        {"python": "3"},
        3000.0,
        700.0,
        [r.Check("lbs", True, "fine"), r.Check("nvdiffrast", None, "not there")],
        [run],
        ["a note"],
    )
    assert report.passed
    report.checks.append(r.Check("graph", False, "differs"))
    assert not report.passed
    files = r.write(report, tmp_path / "new")
    text = files[1].read_text()
    assert (
        "# GPU <1>, 512x256, copies at 3000 GB/s, fp16 matrices at 700 TFLOP/s" in text
        and "| graph | **FAILED** | differs |" in text
    )
    assert (
        "| light | torch f16, native | one CUDA graph per frame | 0.500 | 0.750 | 0.2 (**missed**) |" in text
    )
    assert (
        "| network | 0.3000 | 0.3100 |  | 6.6 GFLOP |" in text
        and "not tried" in text
        and "Note: a note" in text
    )
    assert json.loads(files[0].read_text())["passed"] is False
    rectangles = [e for e in ElementTree.parse(files[2]).iter() if e.tag.endswith("rect") and len(e)]
    widths = [float(e.get("width")) for e in rectangles]
    assert sum(widths) == pytest.approx(520) and widths[1] / widths[0] == pytest.approx(
        30, rel=0.02
    )  # lbs, network, other


@pytest.mark.parametrize("renderer", ["texture", "light"])
def test_the_baseline_draws_the_same_picture(modules, avatar, renderer):
    pytest.importorskip("torch")
    from gpu_baseline import STAGES, Baseline

    rng = np.random.default_rng(0)
    pose = Pose(rng.normal(0, 0.2, (55, 3)), rng.normal(0, 0.1, 3), rng.random(20) * 0.5)
    camera = whole_body_camera(avatar.rig, avatar.rig.joints[0], SIZE, azimuth=0.5)
    picture, times = Baseline(avatar, renderer, SIZE, "cpu", half=False).render(pose, camera)
    with Renderer(avatar, SIZE, renderer=renderer, device="cpu", precision="f32") as r:
        expected = r.render(pose, camera).rgba
    assert expected[..., 3].any() and tuple(times) == STAGES
    assert compare(picture, expected).psnr > 35  # single pixels at silhouettes, which a network spreads


@pytest.mark.skipif(sys.platform != "linux", reason="the emulated driver is built for Linux")
def test_everything_on_the_emulated_driver(tmp_path):
    pytest.importorskip("cuda.bindings")
    pytest.importorskip("cuda.core")
    if not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("no C++ compiler")
    code = f"""
import importlib.util, sys
sys.path.insert(0, {str(BENCHMARKS)!r})
spec = importlib.util.spec_from_file_location("emulate", {str(ROOT / "tests" / "cuda_kernels" / "emulate.py")!r})
emulate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(emulate)
emulate.load()
import gpu_check, gpu_work
gpu_work.COPY_BYTES, gpu_work.REPEATS, gpu_check.POSES = 1 << 16, 1, 1
sys.exit(gpu_check.main(["-o", {str(tmp_path)!r}, "--size", "64", "--frames", "10", "--rounds", "1", "--renderers", "texture"]))
"""
    done = run_script("-c", code)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    passed = {c["name"] for c in report["checks"] if c["passed"]}
    assert {
        "lbs",
        "rasterize, native",
        "gather",
        "frames: texture, auto, native",
        "graph: texture, auto, native",
    } <= passed
    assert [s["name"] for s in report["runs"][0]["stages"]] == [
        "lbs",
        "rasterize",
        "gather",
        "compose",
        "download",
    ]
    assert (tmp_path / "gpu_check.svg").stat().st_size > 500
