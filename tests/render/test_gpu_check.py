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
    plain = {"precision": "f32", "smooth_edges": False}  # what is not part of it
    with Renderer(avatar, SIZE, renderer=renderer, device="cpu", **plain) as r:
        expected = r.render(pose, camera).rgba
    assert expected[..., 3].any() and tuple(times) == STAGES
    # single pixels at silhouettes, which a network spreads
    assert compare(picture, expected).psnr > {"texture": 35, "light": 32}[renderer]


ABSENT = """import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("zmq", "openvino", "websockets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the emulated driver is built for Linux")
@pytest.mark.parametrize(
    "parts", ["kernels frames times", pytest.param("all", marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_the_emulated_driver_where_much_is_missing(tmp_path, parts):
    """The command as it is run on a machine with a GPU, without pyzmq, openvino and websockets."""
    pytest.importorskip("cuda.bindings")
    pytest.importorskip("cuda.core")
    pytest.importorskip("torch", reason="the reference, where there is no openvino")
    if not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("no C++ compiler")
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    done = run_script(
        *(BENCHMARKS / "gpu_check.py", "-o", tmp_path / "out", "--size", "64", "--frames", "10"),
        *("--rounds", "1", "--seconds", "0.2", "--renderers", "texture"),
        *("--tests", "tests/cuda_kernels/test_smooth_cuda.py"),
        *(("--parts", *parts.split()) if parts != "all" else ()),
        DINAR_EMULATED_CUDA="1",
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((tmp_path / "out" / "gpu_check.json").read_text())
    checks = {c["name"]: c for c in report["checks"]}
    passed = {name for name, c in checks.items() if c["passed"]}
    assert {
        "lbs",
        "rasterize, native",
        "gather",
        "frames: texture, auto, native",
        "graph: texture, auto, native",
    } <= passed
    stages = [s["name"] for s in report["runs"][0]["stages"]]
    assert stages == ["lbs", "rasterize", "gather", "compose", "download"]
    assert (tmp_path / "out" / "gpu_check.svg").stat().st_size > 500
    if parts != "all":
        assert "not asked for: memory" in report["notes"]
        return
    others = {"background, texture", "close while building, texture", "memory, 10 frames", "pytest -m gpu"}
    assert others <= passed
    assert checks["over 127.0.0.1"]["text"] == "needs the package zmq"
    assert [load["name"] for load in report["loads"]] == ["paced, texture"] * 3


def test_the_report_is_written_after_every_check_and_nothing_ends_it(modules, tmp_path, monkeypatch):
    monkeypatch.delenv("DINAR_EMULATED_CUDA", raising=False)
    import gpu_check

    class Gpu:
        class device:
            name, arch, driver_version = "A GPU", "sm_90", (13, 0)

    def args(minutes):
        return type("Args", (), {"size": 64, "out": tmp_path / "out", "minutes": minutes})()

    def read():
        return json.loads((tmp_path / "out" / "gpu_check.json").read_text())

    def lacks():
        raise ModuleNotFoundError("No module named 'x'", name="x")

    examination = gpu_check.Examination(Gpu(), args(5.0))
    assert examination.attempt("one", lambda: 3) == 3
    examination.attempt("two", lambda: 1 / 0)
    assert [(c["name"], c["passed"]) for c in read()["checks"]] == [("two", False)]
    examination.attempt("three", lacks)
    last = read()["checks"][-1]
    assert last["passed"] is None and last["text"] == "needs the package x" and not read()["passed"]
    examination.clock.cancel()
    late = gpu_check.Examination(Gpu(), args(0.0))
    late.attempt("four", lambda: pytest.fail("it was begun"))
    assert "minutes were over" in read()["checks"][-1]["text"]
    late.clock.cancel()


def test_a_report_with_loads(modules, tmp_path):
    r = modules[0]
    report = r.Report("GPU", (64, 64), {}, checks=[r.Check("a", True, "")])
    report.loads = [
        r.Load("paced, light", 30.0, 29.9, 5.0, 7.5, 9.0),
        r.Load("x", None, 0, *[float("nan")] * 3),
    ]
    files = r.write(report, tmp_path)
    assert "| paced, light | 30 | 29.9 | 5.00 | 7.50 | 9.00 |" in files[1].read_text()
    text = files[2].read_text()
    ElementTree.fromstring(text)
    assert "paced, light at 30 Hz: 30 fps" in text and "nan" not in text
    assert not r.Report("GPU", (64, 64), {}, checks=[r.Check("a", None, "")]).passed, "nothing was checked"


def test_carried_wheels_are_chosen_by_what_is_lacking(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_machine

    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    lacking, other = (
        pathlib.Path(f"a_package_that_is_absent-1-{tag}.whl") for tag in ("py3-none-any", "cp27-cp27m-win32")
    )
    assert gpu_machine.fits(lacking) and gpu_machine.lacking(lacking) and not gpu_machine.fits(other)
    assert not gpu_machine.lacking(pathlib.Path(f"numpy-1-{here}-{here}-linux_x86_64.whl"))
