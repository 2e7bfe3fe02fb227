"""The GPU pipeline's host side against a strict stand-in for the device (tests/fake_cuda.py), with whole frames
compared to the CPU's."""

import gc
import importlib.util
import pathlib
import threading
import time
import types

import numpy as np
import pytest

from dinar_live import engines
from dinar_live.cli.common import BuildProgress
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.avatar.rig import Rig
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.render import parity
from dinar_live.runtime.render.frame import STAGES
from dinar_live.runtime.render.framing import whole_body_camera
from dinar_live.runtime.render.gpu import device as gpu_device
from dinar_live.runtime.render.gpu import pipeline as gpu_pipeline
from dinar_live.runtime.render.gpu import rasterizer as gpu_rasterizer

onnx = pytest.importorskip("onnx")


def beside(name):
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake_kernels, fake_network, views = beside("fake_kernels"), beside("fake_network"), beside("test_views")
SIZE = (200, 264)  # with windows of 128 pixels there are several sizes, and the last one overhangs
FRAME = ["upload", "lbs", "rasterize", "gather", "network", "compose", "download"]


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    rng = np.random.default_rng(1)
    neural = rng.random((64, 64, views.CHANNELS), np.float32)
    return Avatar(
        "a",
        Body.open().rig(),
        {
            "texture": RendererSpec(rng.integers(0, 256, (64, 64, 3), np.uint8), samples=2),
            "light": RendererSpec(neural, model=views.small_unet(), hardsegm=True, margin=16, stride=8),
        },
    )


@pytest.fixture
def cuda(monkeypatch):
    """The device that Renderers get; cuda.engines: the engines made on it. No nvdiffrast, whatever is
    installed."""
    monkeypatch.setattr(gpu_rasterizer.NvdiffrastRasterizer, "missing", staticmethod(lambda: "not installed"))
    cuda = fake_kernels.FakeCuda()
    gpu = gpu_device.SharedGpu(cuda, 0)
    cuda.engines, cuda.asked, cuda.dtype = [], [], "float32"
    real = engines.registry._open

    def open_one(name, model, precision, threads, reason, options):
        if not str(options.get("device", "")).startswith("cuda"):
            return real(name, model, precision, threads, reason, options)
        cuda.asked.append(name)
        cuda.progress = options.get("progress")
        cuda.engines.append(fake_network.FakeEngine(cuda, model.data, cuda.dtype, reason))
        return cuda.engines[-1]

    monkeypatch.setattr(gpu_device, "shared_gpu", lambda index: gpu)
    monkeypatch.setattr(engines.registry, "nvidia_problem", lambda: "")
    monkeypatch.setattr(engines.registry, "_open", open_one)
    return cuda


def gpu_renderer(avatar, size=SIZE, **options):
    return Renderer(avatar, size, **{"device": "cuda", "background_compile": False, "depth": True, **options})


def cpu_renderer(avatar, size=SIZE, **options):
    return Renderer(
        avatar,
        size,
        **{
            "device": "cpu",
            "background_compile": False,
            "depth": True,
            "precision": "f32",
            **options,
        },
    )


def pose(seed=0) -> Pose:
    return views.pose(seed)


def cameras(avatar, **kwargs):
    return [
        whole_body_camera(avatar.rig, avatar.rig.joints[0], SIZE, azimuth=a, **kwargs)
        for a in (0.0, 1.0, 2.5, 4.0)
    ]


def aside() -> Camera:
    return Camera.look_at((9, 0, 5), (9, 0, 0), SIZE, fov_y=0.1)


def assert_equal(frame, expected):
    np.testing.assert_array_equal(frame.rgba, expected.rgba)
    np.testing.assert_array_equal(frame.depth, expected.depth)


@pytest.mark.parametrize("error", [0.0, 0.02])
def test_an_engine_that_was_just_built_is_compared_with_the_network_before_it_is_used(
    avatar, cuda, monkeypatch, error
):
    """Once: the second Renderer shares it. One that is wrong is dropped from the cache, and "auto" goes on to
    the next."""
    compared = []

    def on_device(session, device, stream, turn):
        def run(x):
            compared.append(x.shape)
            session._session.inputs["features"][...] = x
            session._session.enqueue()
            session._session.synchronize()
            return {name: array + error for name, array in session._session.outputs.items()}

        return run

    real = fake_network.FakeEngine.compile_device

    def compile_device(engine, size):
        engine.built = int(
            len(cuda.engines) == 1
        )  # the first one builds, the second one has nothing to build
        return real(engine, size)

    monkeypatch.setattr(parity, "on_device", on_device)
    monkeypatch.setattr(fake_network.FakeEngine, "compile_device", compile_device)
    with (
        gpu_renderer(avatar, renderer="light", engine="auto") as r,
        gpu_renderer(avatar, renderer="light", engine="auto"),
    ):
        assert compared == [(1, views.CHANNELS + 3, *SIZE)]
        assert cuda.asked == (["tensorrt", "tensorrt-rtx"] if error else ["tensorrt"])
        assert cuda.engines[0].dropped == ([((1, *SIZE), "float32")] if error else []) and cuda.engines[
            0
        ].closed == bool(error)
        assert ("auto: what fake built in f32 is refused" in r.engine_info.reason) == bool(
            error
        )  # people are told why
    cuda.engines.clear()
    if error:
        with pytest.raises(
            DinarError,
            match=r"refused: PSNR 3\d.* dB, 99.9 % within .*, largest error 9.* on 1 view .*use --precision f32",
        ):
            gpu_renderer(avatar, renderer="light", engine="tensorrt")


@pytest.mark.parametrize(
    "options",
    [
        {"renderer": "texture"},
        {"renderer": "light"},
        {"renderer": "light", "crop": False},
        {"renderer": "light", "straight": True},
        {"renderer": "texture", "background": (0, 0.5, 1)},
    ],
)
def test_frames_are_those_of_the_cpu(avatar, cuda, options):
    with gpu_renderer(avatar, **options) as r, cpu_renderer(avatar, **options) as reference:
        sizes = set()
        for i, camera in enumerate(
            [*cameras(avatar), *cameras(avatar, fill=0.35), *cameras(avatar, fill=2.0)]
        ):
            frame, expected = r.render(pose(i), camera), reference.render(pose(i), camera)
            assert expected.rgba[..., 3].any()
            assert_equal(frame, expected)
            sizes.add(frame.window[2:])
        assert (
            r.device == "cuda:0" and "one CUDA graph per frame" in r.describe() and "Fake GPU" in r.describe()
        )
        assert len(sizes) == (1 if options.get("crop") is False else len(sizes)) and (
            len(sizes) > 1 or "crop" in options
        )


def test_one_upload_and_one_graph_launch_a_frame_and_no_new_graphs(avatar, cuda):
    with gpu_renderer(avatar, renderer="light") as r:
        camera = cameras(avatar)[0]
        for _ in range(6):
            r.render(pose(), camera)
        graphs, count = list(cuda.graphs), len(cuda.memory)
        for i in range(9):
            cuda.log.clear()
            r.render(pose(i % 2), camera)
            assert cuda.log == ["graph", *FRAME, "download", "event"]  # the second download is the depth
        assert cuda.graphs == graphs and len(cuda.memory) == count
        assert len(graphs) <= 2  # the start's full picture and this window


def test_frames_stay_valid_until_two_calls_later(avatar, cuda):
    camera = cameras(avatar)[0]
    with gpu_renderer(avatar) as r:
        r.render(pose(), camera)
        frames = [r.render(pose(i), camera) for i in range(3)]
        copies = [f.copy() for f in frames]
        for frame, copy in zip(frames, copies, strict=True):
            assert_equal(frame, copy)
        assert not np.array_equal(copies[0].rgba, copies[1].rgba)
        r.render(pose(9), camera)
        assert not np.array_equal(frames[0].rgba, copies[0].rgba)
    assert frames[2].rgba.any()  # also after close()


@pytest.mark.parametrize("renderer", ["texture", "light"])
def test_two_views_are_one_batch_and_equal_the_cpus(avatar, cuda, renderer):
    pairs = [cameras(avatar)[:2], [cameras(avatar, fill=0.4)[2], cameras(avatar)[3]]]
    options = {"renderer": renderer, "background": (1, 0, 0)}
    with gpu_renderer(avatar, **options) as r, cpu_renderer(avatar, **options) as c:
        for shot in range(7):
            pair = pairs[shot % 2]
            cuda.log.clear()
            frames = r.render_views(pose(shot), pair)
            assert cuda.log.count("lbs") == cuda.log.count("compose") == cuda.log.count("upload") == 1
            assert cuda.log.count("network") == (renderer == "light")
            for frame, expected in zip(frames, c.render_views(pose(shot), pair), strict=True):
                assert_equal(frame, expected)
        blank = np.broadcast_to(np.uint8([255, 0, 0, 255]), (*SIZE, 4))
        for pair, seen in (([pairs[0][0], aside()], 0), ([aside(), pairs[0][0]], 1)):
            for _ in range(4):
                frames = r.render_views(pose(), pair)
                assert_equal(frames[seen], c.render(pose(), pairs[0][0]))
                np.testing.assert_array_equal(frames[1 - seen].rgba, blank)
                assert frames[1 - seen].window is None and not frames[1 - seen].depth.any()
        cuda.log.clear()
        assert (
            all(frame.window is None for frame in r.render_views(pose(), [aside(), aside()])) and not cuda.log
        )


def test_no_pair_waits_for_the_compiler(avatar, cuda):
    pair = cameras(avatar)[:2]
    with (
        gpu_renderer(avatar, renderer="light", background_compile=True) as r,
        cpu_renderer(avatar, renderer="light") as c,
    ):
        expected = c.render_views(pose(), pair)
        cuda.log.clear()
        for frame, e in zip(r.render_views(pose(), pair), expected, strict=True):
            assert_equal(frame, e)
        assert cuda.log.count("network") == 2
        deadline = time.monotonic() + 90
        while cuda.log.count("network") != 1:
            assert time.monotonic() < deadline, "the instance for two views was never used"
            cuda.log.clear()
            frames = r.render_views(pose(), pair)
        for frame, e in zip(frames, expected, strict=True):
            assert_equal(frame, e)


def test_half_precision_features(avatar, cuda):
    cuda.dtype = "float16"
    camera = cameras(avatar)[1]
    with gpu_renderer(avatar, renderer="light") as r, cpu_renderer(avatar, renderer="light") as c:
        frame, expected = r.render(pose(), camera), c.render(pose(), camera)
    difference = np.abs(frame.rgba.astype(int) - expected.rgba)
    assert 0 < difference.max() <= 3


@pytest.mark.parametrize("fault", ["capture lbs", "capture network", "instantiate", "launch"])
def test_a_failed_capture_means_single_launches_and_says_so(avatar, cuda, fault, caplog):
    cuda.faults.add(fault)
    with gpu_renderer(avatar, renderer="light") as r, cpu_renderer(avatar, renderer="light") as c:
        text = r.describe()
        assert "single launches" in text and "made to fail" in text and "one CUDA graph per frame" not in text
        for i, camera in enumerate(cameras(avatar)):
            cuda.log.clear()
            assert_equal(r.render(pose(i), camera), c.render(pose(i), camera))
            assert "graph" not in cuda.log and cuda.log.count("lbs") == 1
    assert "single launches" in caplog.text


def test_a_capture_that_another_thread_ends_is_tried_again(avatar, cuda):
    """As a device-wide wait elsewhere does: this size's frame is single launches, the next one is a graph."""
    camera = cameras(avatar, fill=0.35)[0]
    with gpu_renderer(avatar, renderer="light") as r, cpu_renderer(avatar, renderer="light") as c:
        r.render(pose(), camera)  # a size's first frame: single launches
        cuda.faults.add("end capture")
        for i in range(gpu_pipeline.CAPTURES - 1):
            cuda.log.clear()
            assert_equal(r.render(pose(i), camera), c.render(pose(i), camera))
            assert "graph" not in cuda.log
        cuda.faults.clear()
        cuda.log.clear()
        assert_equal(r.render(pose(3), camera), c.render(pose(3), camera))
        assert cuda.log[0] == "graph" and "one CUDA graph" in r.describe()


def test_a_capture_that_keeps_failing_is_given_up_and_says_why(avatar, cuda):
    camera = cameras(avatar, fill=0.35)[0]
    with gpu_renderer(avatar, renderer="light") as r:
        cuda.faults.add("end capture")
        for i in range(gpu_pipeline.CAPTURES + 1):
            r.render(pose(i), camera)
        assert "single launches (a CUDA graph failed: end capture" in r.describe()


def test_no_frame_waits_for_the_capture_of_another_thread(avatar, cuda):
    camera = cameras(avatar, fill=0.35)[0]
    with gpu_renderer(avatar, renderer="light") as r, cpu_renderer(avatar, renderer="light") as c:
        cuda.busy = True
        for i in range(gpu_pipeline.CAPTURES + 2):
            assert_equal(r.render(pose(i), camera), c.render(pose(i), camera))
        assert "one CUDA graph" in r.describe()
        cuda.busy = False
        cuda.log.clear()
        r.render(pose(), camera)
        assert cuda.log[0] == "graph"


def test_graphs_that_do_not_see_their_inputs_are_not_used(avatar, cuda):
    cuda.stale_graphs = True
    with gpu_renderer(avatar, renderer="light") as r, cpu_renderer(avatar, renderer="light") as c:
        assert "single launches (replayed graphs differ" in r.describe()
        for i, camera in enumerate(cameras(avatar)):
            assert_equal(r.render(pose(i), camera), c.render(pose(i), camera))
    assert all(graph.closed for graph in cuda.graphs)


def test_a_failing_network_is_an_error_that_names_the_renderer(avatar, cuda):
    with gpu_renderer(avatar, renderer="light", stage_times=True) as r:
        cuda.engines[0].faults.add("enqueue")
        with pytest.raises(DinarError, match="renderer 'light'.*could not be queued"):
            r.render(pose(), cameras(avatar)[0])
        cuda.engines[0].faults.clear()
        assert r.render(pose(), cameras(avatar)[0]).rgba.any()


def test_a_failing_device_is_an_error(avatar, cuda):
    with gpu_renderer(avatar) as r:
        cuda.faults.add("synchronize")
        with pytest.raises(DinarError, match="Fake GPU: synchronize: CUDA_ERROR"):
            r.render(pose(), cameras(avatar)[0])
    cuda.faults = {"allocate"}
    with pytest.raises(DinarError, match="allocate"):
        gpu_renderer(avatar)


@pytest.mark.parametrize("fault", ["compile", "warm_up"])
def test_an_engine_that_cannot_start_is_an_error_or_the_cpu(avatar, cuda, monkeypatch, fault):
    open_one = engines.registry._open

    def broken(*arguments):
        engine = open_one(*arguments)
        if isinstance(engine, fake_network.FakeEngine):
            engine.faults.add(fault)
        return engine

    monkeypatch.setattr(engines.registry, "_open", broken)
    with pytest.raises(DinarError, match="made to fail"):
        gpu_renderer(avatar, renderer="light")
    assert (
        all(engine.closed for engine in cuda.engines)
        and cuda.asked == ["tensorrt", "tensorrt-rtx", "torch"][: 3 if fault == "compile" else 1]
    )
    with gpu_renderer(avatar, renderer="light", device="auto") as r:
        assert r.device == "cpu" and "CPU: " in r.describe() and "made to fail" in r.describe()


def test_a_body_that_the_kernels_do_not_take(avatar, cuda):
    def refuse(device, model):
        raise ValueError("the body has 200 joints; the CUDA kernels take up to 128")

    cuda.DeviceBody = refuse
    with pytest.raises(DinarError, match="renderer 'texture': Fake GPU: the body has 200 joints"):
        gpu_renderer(avatar)
    with gpu_renderer(avatar, device="auto") as r:
        assert r.device == "cpu" and "CPU: Fake GPU: the body has 200 joints" in r.describe()


def test_stage_times_come_from_events(avatar, cuda):
    with gpu_renderer(avatar, renderer="light", stage_times=True) as r:
        timings = r.render(pose(), cameras(avatar)[0]).timings
        assert "for the times of the stages" in r.describe() and not cuda.graphs
    gpu_stages = [stage for stage in STAGES if stage != "project"]
    # the fake clock ticks a quarter millisecond an operation: upload + lbs, and compose + two downloads
    assert [timings[s] for s in gpu_stages] == pytest.approx([0.5, 0.25, 0.25, 0.25, 0.75]) and timings[
        "project"
    ] > 0
    with gpu_renderer(avatar, renderer="light") as r:
        timings = r.render(pose(), cameras(avatar)[0]).timings
        assert (
            timings["gpu"] > 0
            and timings["total"] >= timings["gpu"]
            and list(timings)[: len(STAGES)] == list(STAGES)
        )


def test_renderers_share_what_is_the_same(avatar, cuda):
    other = Avatar(
        "b",
        avatar.rig,
        {
            "light": RendererSpec(
                avatar.renderers["light"].texture[::-1].copy(),
                model=views.small_unet(),
                hardsegm=True,
                margin=16,
                stride=8,
            )
        },
    )
    camera = cameras(avatar)[0]
    a, b, c = (
        gpu_renderer(avatar, renderer="light"),
        gpu_renderer(other, depth=False),
        gpu_renderer(avatar, (64, 64), renderer="light"),
    )
    assert len(cuda.engines) == 1 and cuda.asked == ["tensorrt"]
    with cpu_renderer(avatar, renderer="light") as x, cpu_renderer(other) as y:
        for i in range(4):
            assert_equal(a.render(pose(i), camera), x.render(pose(i), camera))
            np.testing.assert_array_equal(b.render(pose(i), camera).rgba, y.render(pose(i), camera).rgba)
    sessions = cuda.engines[0].sessions
    assert len({s.inputs["features"].shape for s in sessions}) == len(sessions)  # no size twice
    a.close()
    c.close()
    assert not cuda.engines[0].closed and b.render(pose(), camera).rgba.any()
    b.close()
    assert cuda.engines[0].closed and all(s.closed for s in sessions)
    with gpu_renderer(avatar, renderer="light"):
        assert len(cuda.engines) == 2
    del a, b, c
    gc.collect()


def test_a_build_tells_how_far_it_is(avatar, cuda, capsys):
    progress = BuildProgress()
    with gpu_renderer(avatar, renderer="light", progress=progress):
        assert cuda.progress is progress
    with gpu_renderer(avatar, renderer="light", progress=progress, engine="torch"):
        assert cuda.progress is None  # it builds in a moment, and has no such option
    for fraction in (0.0, 0.4, 1.0, 0.5, 1.0):
        progress(fraction, "phase")
    assert capsys.readouterr().err.count("building an engine for this GPU") == 2


def test_one_texture_on_two_bodies(avatar, cuda):
    """A RendererSpec that two avatars share is drawn on each one's own body."""
    arrays = avatar.rig.arrays()
    mirrored = Rig.from_arrays(
        {**arrays, "uv": np.ascontiguousarray(arrays["uv"][:, ::-1])}, avatar.rig.expression_names
    )
    other = Avatar("b", mirrored, avatar.renderers)
    camera = cameras(avatar)[0]
    for each in (avatar, other):
        with gpu_renderer(each) as r, cpu_renderer(each) as c:
            assert_equal(r.render(pose(), camera), c.render(pose(), camera))


def test_memory_goes_with_the_renderer(avatar, cuda):
    def alive():
        gc.collect()
        return sum(reference() is not None for reference in cuda.memory.values())

    gpu_renderer(avatar, renderer="light").close()
    before = alive()
    for _ in range(3):
        with gpu_renderer(avatar, renderer="light") as r:
            for camera in cameras(avatar):
                r.render(pose(), camera)
    del r
    assert alive() == before


def test_another_thread_may_render(avatar, cuda):
    frames = []
    with gpu_renderer(avatar) as r, cpu_renderer(avatar) as c:
        thread = threading.Thread(target=lambda: frames.append(r.render(pose(), cameras(avatar)[0])))
        thread.start()
        thread.join()
        assert_equal(frames[0], c.render(pose(), cameras(avatar)[0]))


def test_frames_go_on_while_an_engine_is_built(avatar, cuda, monkeypatch):
    """A renderer of another size is made on another thread, as the server does it."""
    building, built = threading.Event(), threading.Event()
    compile_device = fake_network.FakeEngine.compile_device

    def slow(self, size):
        if size[1:] == (64, 64):
            building.set()
            assert built.wait(90)
        return compile_device(self, size)

    monkeypatch.setattr(fake_network.FakeEngine, "compile_device", slow)
    made = []
    with gpu_renderer(avatar, renderer="light") as r, cpu_renderer(avatar, renderer="light") as c:
        thread = threading.Thread(
            target=lambda: made.append(gpu_renderer(avatar, (64, 64), renderer="light"))
        )
        thread.start()
        assert building.wait(90)
        for i in range(4):
            assert_equal(r.render(pose(i), cameras(avatar)[0]), c.render(pose(i), cameras(avatar)[0]))
        built.set()
        thread.join(90)
        assert made[0].render(pose(), cameras(avatar)[0]).rgba.shape == (64, 64, 4)
        made[0].close()


def test_a_rasterizer_that_cannot_be_captured_splits_the_graph(avatar, cuda, monkeypatch):
    class Outside:
        capturable = False
        name = "outside"

        def __init__(self, gpu):
            self._gpu = gpu

        def rasterize(self, stream, scene, parameters, projective, target, samples):
            cuda.not_capturing("rasterize")
            self._gpu.program.run(
                stream, self._gpu.program.rasterize(scene, parameters, projective, target, samples=samples)
            )

    monkeypatch.setattr(gpu_pipeline, "open_rasterizer", lambda name, gpu: Outside(gpu))
    with gpu_renderer(avatar, renderer="light") as r, cpu_renderer(avatar, renderer="light") as c:
        assert "several CUDA graphs per frame" in r.describe() and r.rasterizer_name == "outside"
        for i in range(6):
            cuda.log.clear()
            assert_equal(r.render(pose(i), cameras(avatar)[0]), c.render(pose(i), cameras(avatar)[0]))
        assert cuda.log == ["graph", *FRAME[:2], "rasterize", "graph", *FRAME[3:], "download", "event"]


def test_sizes_are_forgotten_and_their_graphs_closed(avatar, cuda, monkeypatch):
    monkeypatch.setattr(gpu_pipeline, "MAX_WORKS", 1)
    near, far = cameras(avatar)[0], cameras(avatar, fill=0.3)[0]
    with gpu_renderer(avatar) as r, cpu_renderer(avatar) as c:
        for i in range(8):
            camera = (near, near, near, far)[i % 4]
            assert_equal(r.render(pose(i), camera), c.render(pose(i), camera))
        assert sum(not graph.closed for graph in cuda.graphs) <= 1 and len(cuda.graphs) > 2
    assert all(graph.closed for graph in cuda.graphs)


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"device": "gpu"}, InputError, "device: got 'gpu'"),
        ({"device": "cuda:x"}, InputError, "device"),
        ({"device": "cuda", "engine": "openvino"}, InputError, "openvino runs on the CPU"),
        ({"device": "cpu", "rasterizer": "nvdiffrast"}, InputError, "nvdiffrast needs an NVIDIA GPU"),
        ({"rasterizer": "magic"}, InputError, "rasterizer"),
    ],
)
def test_bad_options(avatar, options, error, says):
    with pytest.raises(error, match=says):
        Renderer(avatar, SIZE, **options)


@pytest.mark.parametrize(
    "name, missing, broken, says",
    [
        ("native", None, None, None),
        ("auto", "not installed", None, None),
        ("auto", None, None, None),
        ("nvdiffrast", "not installed", "not installed", "raises"),
        ("nvdiffrast", None, "broken", "raises"),
        ("nvdiffrast", None, None, "nvdiffrast"),
    ],
)
def test_which_rasterizer(monkeypatch, name, missing, broken, says):
    """auto takes the kernels' own; nvdiffrast or an error where it is asked for."""

    class Adapter:
        name = "nvdiffrast"
        missing = staticmethod(lambda: missing)

        def __init__(self, program):
            if broken:
                raise gpu_rasterizer.CudaError(broken)

    monkeypatch.setattr(gpu_rasterizer, "NvdiffrastRasterizer", Adapter)
    gpu = types.SimpleNamespace(program=None)
    if says == "raises":
        with pytest.raises(DinarError, match=f"rasterizer nvdiffrast: {broken}"):
            gpu_rasterizer.open_rasterizer(name, gpu)
    else:
        assert getattr(gpu_rasterizer.open_rasterizer(name, gpu), "name", None) == says


def test_without_a_gpu(avatar, monkeypatch):
    """One sentence at once for cuda, and the CPU with the reason for auto."""

    def none(index):
        raise fake_kernels.CudaError(
            "no NVIDIA driver: libcuda.so.1 cannot be loaded; install the driver of your GPU, or use the CPU"
        )

    monkeypatch.setattr(gpu_device, "shared_gpu", none)
    with pytest.raises(DinarError, match="no NVIDIA driver.*install the driver") as caught:
        Renderer(avatar, SIZE, device="cuda")
    assert "\n" not in str(caught.value)
    with Renderer(avatar, SIZE) as r:
        assert r.device == "cpu" and "CPU: no NVIDIA driver" in r.describe()
    with pytest.raises(DinarError, match="nvdiffrast needs an NVIDIA GPU: no NVIDIA driver"):
        Renderer(avatar, SIZE, rasterizer="nvdiffrast")


def test_a_network_at_half_resolution(cuda, avatar):
    from dinar_live.export.fit import half

    rng = np.random.default_rng(2)
    rung = half.Rung("light", 16, 5, 1)
    weights = half.random_weights(rung)
    weights["head"] *= 0.1
    spec = RendererSpec(
        rng.integers(0, 256, (64, 64, 3), np.uint8),
        model=half.build_onnx(weights),
        neural=rng.integers(0, 256, (32, 32, rung.neural), np.uint8),
        margin=half.reach(rung),
        stride=half.STRIDE,
        hardsegm=True,
    )
    own = Avatar("a", avatar.rig, {"light": spec})
    # windows of a GPU come in other steps than a CPU's, but a crop is exact
    with gpu_renderer(own) as gpu, cpu_renderer(own, crop=False) as cpu:
        for seed in range(3):
            views_of = cameras(own)[: 1 + seed % 2]
            for got, want in zip(
                gpu.render_views(pose(seed), views_of), cpu.render_views(pose(seed), views_of), strict=True
            ):
                assert np.abs(got.rgba.astype(int) - want.rgba).max() <= 1 and want.rgba[..., 3].any()
                np.testing.assert_array_equal(got.depth, want.depth)
        assert gpu.describe().endswith("one CUDA graph per frame")
    assert all(s.inputs["features"].shape[2] < SIZE[0] for s in cuda.engines[0].sessions)


def near_and_far(avatar):
    """Cameras of which each has a window of its own."""
    rig = avatar.rig
    return [whole_body_camera(rig, rig.joints[0], SIZE, fill=fill) for fill in (0.3, 1.0, 2.5)]


def test_sizes_that_were_not_used_for_a_while_go_when_the_gpus_memory_is_full(avatar, cuda, monkeypatch):
    """And come back; every frame is right, and so are those of another renderer that had the same size in use."""
    monkeypatch.setattr("dinar_live.runtime.render.memory.REST_SECONDS", -1.0)
    budget, shots = gpu_device.shared_gpu(0).budget, near_and_far(avatar)
    with (
        gpu_renderer(avatar, renderer="light") as r,
        gpu_renderer(avatar, renderer="light") as other,
        cpu_renderer(avatar, renderer="light") as cpu,
    ):
        sizes = [(w.height, w.width) for w in (r.window(pose(), camera) for camera in shots)]
        assert len(set(sizes)) == 3 and (SIZE in sizes)
        full = cuda.engines[0].sessions[0].memory
        budget.limit = int(full * max(h * w for h, w in sizes if (h, w) != SIZE) / (SIZE[0] * SIZE[1])) + 1
        for _ in range(2):
            for camera in shots:
                for renderer in (r, other):
                    assert_equal(renderer.render(pose(), camera), cpu.render(pose(), camera))
        sessions = cuda.engines[0].sessions
        assert len(sessions) > 3, "none had to go"
        assert sum(not s.closed for s in sessions) == 2 and not sessions[0].closed, "the whole frame's stays"
        assert budget.used <= budget.limit
    assert budget.used == 0


def test_each_size_is_compared_at_its_first_use_and_a_wrong_one_is_not_used(avatar, cuda, monkeypatch):
    compared, vouched = [], []

    def on_device(session, device, stream, turn):
        def run(x):
            compared.append(x.shape[2:])
            session._session.inputs["features"][...] = x
            session._session.enqueue()
            session._session.synchronize()
            wrong = 0.02 if x.shape[2] * x.shape[3] < SIZE[0] * SIZE[1] else 0
            return {name: array + wrong for name, array in session._session.outputs.items()}

        return run

    monkeypatch.setattr(parity, "on_device", on_device)
    monkeypatch.setattr(fake_network.FakeEngine, "unchecked", lambda self, key, io: True)
    monkeypatch.setattr(fake_network.FakeEngine, "vouch", lambda self, key, io: vouched.append(key[1:]))
    far = near_and_far(avatar)[0]
    with gpu_renderer(avatar, renderer="light", background_compile=True) as r:
        r.render(pose(), far)
        ended = time.monotonic() + 20
        while not cuda.engines[0].dropped and time.monotonic() < ended:
            time.sleep(0.01)
        time.sleep(0.05)
        frame = r.render(pose(), far)
        assert frame.window is not None and (frame.window.height, frame.window.width) == SIZE
    assert compared[0] == SIZE and len(compared) == 2 and vouched == [SIZE]
    ((key, _),) = cuda.engines[0].dropped
    assert key[1:] == compared[1]
