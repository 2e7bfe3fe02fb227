"""Whole frames on a GPU against those of the CPU. Marked gpu; without one they run on the emulated driver of
tests/cuda_kernels."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dinar_live import engines
from dinar_live.engines import create_engine
from dinar_live.runtime import Avatar, Body, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.render.framing import whole_body_camera
from dinar_live.runtime.render.gpu import device as gpu_device

onnx = pytest.importorskip("onnx")
SIZE = (120, 152)
CHANNELS = 4
ODD_PIXELS = 1e-3  # share of pixels at silhouettes and seams that may differ on a device


def copying_network() -> bytes:
    """rgb = the first three channels of the texture, alpha = the mask: what a copy can do, so that it runs on
    every device."""
    h, n = onnx.helper, onnx.numpy_helper
    values = {"0": 0, "3": 3, "m": CHANNELS + 2, "end": CHANNELS + 3, "1": 1}
    constants = [n.from_array(np.array([value], np.int64), name) for name, value in values.items()]
    nodes = [
        h.make_node("Slice", ["features", "0", "3", "1"], ["rgb"]),
        h.make_node("Slice", ["features", "m", "end", "1"], ["alpha"]),
    ]
    info = h.make_tensor_value_info
    graph = h.make_graph(
        nodes,
        "copy",
        [info("features", 1, ["N", CHANNELS + 3, "H", "W"])],
        [info("rgb", 1, ["N", 3, "H", "W"]), info("alpha", 1, ["N", 1, "H", "W"])],
        constants,
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=10).SerializeToString()


class CopyEngine:
    """copying_network on the GPU itself, by copies on the stream; of "float16" or "float32"."""

    def __init__(self, gpu, dtype):
        self._gpu, self._dtype, self.built = gpu, dtype, 0
        self.info = engines.EngineInfo(
            "copy", "1", gpu.device.name, {"float16": "f16", "float32": "f32"}[dtype], 0, "made for the test"
        )

    def compile_device(self, size):
        return CopySession(self._gpu, size, self._dtype)

    def cancel(self):
        pass

    def unchecked(self, size, io):
        return False

    def close(self):
        pass


class CopySession:
    mode = "graph"

    def __init__(self, gpu, size, dtype):
        n, h, w = size
        self._call, self._plane = gpu.call, h * w * np.dtype(dtype).itemsize
        self._arrays = {
            name: gpu.device.empty((n, c, h, w), dtype)
            for name, c in (("features", CHANNELS + 3), ("rgb", 3), ("alpha", 1))
        }
        tensors = {name: engines.DeviceTensor(a.pointer, a.shape, dtype) for name, a in self._arrays.items()}
        self.inputs, self.outputs, self._views = {"features": tensors.pop("features")}, tensors, n

    def warm_up(self, stream):
        self.enqueue_on(stream)

    def enqueue_on(self, stream):
        for view in range(self._views):
            source = self._arrays["features"].pointer + view * (CHANNELS + 3) * self._plane
            for name, first, count in (("rgb", 0, 3), ("alpha", CHANNELS + 2, 1)):
                self._call(
                    "cuMemcpyDtoDAsync",
                    self._arrays[name].pointer + view * count * self._plane,
                    source + first * self._plane,
                    count * self._plane,
                    stream,
                )

    def close(self):
        self._arrays.clear()


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    rng = np.random.default_rng(1)
    return Avatar(
        "a",
        Body.open().rig(),
        {
            "texture": RendererSpec(rng.integers(0, 256, (64, 64, 3), np.uint8), samples=2),
            "plain": RendererSpec(rng.random((64, 64, 3), np.float32)),
            "copy": RendererSpec(
                rng.random((64, 64, CHANNELS), np.float32),
                model=copying_network(),
                hardsegm=True,
                threshold=0.4,
                margin=8,
                stride=8,
            ),
        },
    )


@pytest.fixture(params=["float32", "float16"])
def copies(request, monkeypatch):
    """The dtype of the network that "copy" runs with on the GPU."""
    from dinar_live.kernels.cuda.driver import call

    gpu = gpu_device.shared_gpu(0)
    gpu.call = call

    def create(model, name="auto", *, accept=None, **options):
        if not str(options.get("device", "cpu")).startswith("cuda"):
            return create_engine(model, name, accept=accept, **options)
        engine = CopyEngine(gpu, request.param)
        accept(engine)
        return engine

    monkeypatch.setattr(engines, "create_engine", create)
    yield request.param


def renderers(avatar, **options):
    options = {"background_compile": False, "depth": True, **options}
    return Renderer(avatar, SIZE, device="cuda", **options), Renderer(
        avatar, SIZE, device="cpu", precision="f32", **options
    )


def pose(seed=0) -> Pose:
    rng = np.random.default_rng(seed)
    return Pose(rng.normal(0, 0.25, (55, 3)), rng.normal(0, 0.1, 3), rng.normal(0, 0.5, 62))


def shots(avatar):
    places = [{}, {"azimuth": 1.5}, {"azimuth": 3, "fill": 0.3}, {"fill": 2.0}]
    return [
        (pose(i), whole_body_camera(avatar.rig, avatar.rig.joints[0], SIZE, **place))
        for i, place in enumerate(places)
    ]


def assert_close(frame, expected, steps=1):
    """Equal within `steps` of 255, but for the odd pixel."""
    assert expected.rgba[..., 3].any()
    off = (np.abs(frame.rgba.astype(int) - expected.rgba) > steps).any(-1)
    assert off.mean() <= ODD_PIXELS, f"{off.sum()} pixels differ"
    assert (~np.isclose(frame.depth, expected.depth, rtol=1e-4)).mean() <= ODD_PIXELS


@pytest.mark.gpu
@pytest.mark.parametrize(
    "options",
    [
        {"renderer": "texture"},
        {"renderer": "plain", "background": (0, 0.5, 1)},
        {"renderer": "texture", "straight": True},
        {"renderer": "plain", "crop": False},
    ],
)
def test_frames_without_a_network(avatar, options):
    gpu, cpu = renderers(avatar, **options)
    with gpu, cpu:
        assert "one CUDA graph per frame" in gpu.describe()
        for _ in range(2):  # a size's first frame runs without a graph
            for shot in shots(avatar):
                assert_close(gpu.render(*shot), cpu.render(*shot))


@pytest.mark.gpu
def test_frames_with_a_network(avatar, copies):
    gpu, cpu = renderers(avatar, renderer="copy")
    with gpu, cpu:
        assert "one CUDA graph per frame" in gpu.describe() and gpu.engine_info.name == "copy"
        for _ in range(2):
            for shot in shots(avatar):
                assert_close(gpu.render(*shot), cpu.render(*shot), steps=1 if copies == "float32" else 2)


@pytest.mark.gpu
def test_pairs_of_views(avatar, copies):
    gpu, cpu = renderers(avatar, renderer="copy")
    cameras = [camera for _, camera in shots(avatar)]
    with gpu, cpu:
        for i in range(8):
            pair = [cameras[i % 4], cameras[(i + 1) % 4]]
            for frame, expected in zip(
                gpu.render_views(pose(i), pair), cpu.render_views(pose(i), pair), strict=True
            ):
                assert_close(frame, expected, steps=2)


@pytest.mark.gpu
def test_frames_keep_and_memory_stays(avatar):
    gpu, cpu = renderers(avatar, renderer="texture")
    work = shots(avatar)
    with gpu, cpu:
        frames = [gpu.render(*shot) for shot in work[:3]]
        for frame, shot in zip(frames, work, strict=False):
            assert_close(frame, cpu.render(*shot))
        for shot in work * 2:
            gpu.render(*shot)
        free = gpu_device.shared_gpu(0).device.free_memory()
        for _ in range(3):
            for shot in work:
                gpu.render(*shot)
        assert gpu_device.shared_gpu(0).device.free_memory() >= free


@pytest.mark.gpu
def test_stages_are_measured(avatar):
    gpu, cpu = renderers(avatar, renderer="texture", stage_times=True)
    with gpu, cpu:
        shot = shots(avatar)[0]
        frame = gpu.render(*shot)
        assert_close(frame, cpu.render(*shot))
        assert all(frame.timings[stage] >= 0 for stage in ("lbs", "rasterize", "gather", "compose"))


@pytest.mark.skipif(sys.platform != "linux", reason="the emulated driver is built for Linux")
def test_on_the_emulated_driver():
    pytest.importorskip("cuda.bindings")
    pytest.importorskip("cuda.core")
    if not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("no C++ compiler")
    here = pathlib.Path(__file__)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "-x", str(here)]
    done = subprocess.run(
        command,
        cwd=here.parents[2],
        env={**os.environ, "DINAR_EMULATED_CUDA": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 9 and "skipped" not in done.stdout, done.stdout[-2000:]
