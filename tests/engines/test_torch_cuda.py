"""Sessions of the torch engine for a GPU, run on the CPU with a fake of streams and graphs; on a GPU (marker
gpu) with the real ones."""

import contextlib
import types

import numpy as np
import pytest
import torch

from dinar_live.engines import EngineError, create_engine
from dinar_live.engines.nvidia import nvidia_problem
from dinar_live.engines.onnx.file import load_onnx
from dinar_live.engines.onnx.fold import fold
from dinar_live.engines.onnx.graph import load_proto
from dinar_live.engines.onnx.lower import lower
from dinar_live.engines.torch.cuda import TorchCudaSession, TorchDeviceSession
from dinar_live.engines.torch.graph import TorchGraph


class FakeGraph:
    def __init__(self, work):
        self._work = work

    def replay(self):
        self._work()


class FakeCuda:
    """Streams run at once. `fail`: "capture", "stale", "empty", "replay" (a launch that fails)."""

    def __init__(self, fail=""):
        self.fail, self.log, self.capturing, self.handles = fail, [], False, {}

    def reserved(self):
        return 1000 * len(self.handles)

    def stream(self):
        stream = types.SimpleNamespace(
            cuda_stream=100 + len(self.handles), synchronize=lambda: self.log.append("synchronize")
        )
        self.handles[stream.cuda_stream] = stream
        return stream

    def existing(self, handle):
        return self.handles[handle]

    def settle(self):
        self.log.append("settle")

    @contextlib.contextmanager
    def on(self, stream):
        assert stream in self.handles.values()
        yield

    def is_capturing(self):
        return self.capturing

    def capture(self, stream, work):
        if self.fail == "capture":
            raise RuntimeError("operation not permitted when stream is capturing")
        if self.fail == "stale":
            work()
            return FakeGraph(lambda: None)
        return FakeGraph((lambda: None) if self.fail == "empty" else self._counted(work))

    def _counted(self, work):
        def replay():
            self.log.append("replay")
            if self.fail == "replay" and self.log.count("replay") > 2:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            work()

        return replay

    def embed(self, handle, graph):
        self.log.append(("embed", handle, graph))

    def pinned(self, shape):
        return torch.zeros(shape)


def network(data, precision="f16", io="float16"):
    proto = lower(fold(load_proto(load_onnx(data))), precision, io)
    return TorchGraph(proto, "the test's model", torch.device("cpu"), 0, channels_last=True)


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(-1, 1, (1, 4, 4, 6)).astype(np.float32)


def test_host_session_replays_its_graph(tiny, run, x):
    cuda = FakeCuda()
    session = TorchCudaSession(network(tiny, io="float32"), {"features": (1, 4, 4, 6)}, cuda)
    assert session.mode == "graph"
    cuda.log.clear()
    run(session, x)
    np.testing.assert_allclose(session.outputs["rgb"], 2 * x[:, :3], atol=2e-3)
    assert cuda.log == ["replay", "synchronize"]


@pytest.mark.parametrize("fail", ["capture", "stale", "empty"])
def test_without_a_trusted_graph_it_runs_eagerly(tiny, run, x, fail):
    session = TorchCudaSession(network(tiny, io="float32"), {"features": (1, 4, 4, 6)}, FakeCuda(fail))
    assert session.mode.startswith("eager: ") and ("cannot be captured" in session.mode) == (
        fail == "capture"
    )
    run(session, x)
    np.testing.assert_allclose(session.outputs["rgb"], 2 * x[:, :3], atol=2e-3)


def test_device_session_replays_or_joins_another_graph(tiny, x):
    cuda = FakeCuda()
    session = TorchDeviceSession(network(tiny), {"features": (1, 4, 4, 6)}, "float16", cuda)
    assert (
        cuda.log[0] == "settle"
    )  # before the first run, or it could read weights that are still being written
    assert session.inputs["features"].dtype == "float16" and session.outputs["alpha"].shape == (1, 1, 4, 6)
    stream = cuda.stream().cuda_stream
    tensor = session._in["features"]
    assert tensor.data_ptr() == session.inputs["features"].pointer and tensor.is_contiguous()
    tensor.copy_(torch.from_numpy(x))
    session.warm_up(stream)
    np.testing.assert_allclose(session._out["rgb"].float().numpy(), 2 * x[:, :3], atol=2e-3)
    assert session._out["rgb"].is_contiguous()  # kernels read it row by row
    cuda.capturing = True
    session.enqueue_on(stream)
    assert cuda.log[-1] == ("embed", stream, session._graph)
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.enqueue_on(stream)


def test_an_eager_session_cannot_join_a_graph_and_says_so(tiny):
    cuda = FakeCuda("capture")
    session = TorchDeviceSession(network(tiny), {"features": (1, 4, 4, 6)}, "float16", cuda)
    cuda.capturing = True
    with pytest.raises(EngineError, match="cannot become part of a CUDA graph .*not permitted"):
        session.enqueue_on(cuda.stream().cuda_stream)


def test_a_launch_that_fails_is_an_error(tiny):
    cuda = FakeCuda("replay")
    session = TorchDeviceSession(network(tiny), {"features": (1, 4, 4, 6)}, "float16", cuda)
    with pytest.raises(EngineError, match="cannot queue a run on the GPU: CUDA error"):
        session.enqueue_on(cuda.stream().cuda_stream)


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_channels_last_gives_the_same_picture(light, precision):
    """And no second run makes a table anew: a captured run may copy nothing to the device."""
    data = light.build(16)
    graph = network(data, precision, "float32")
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 19, 32, 32)).astype(np.float32))
    plain = TorchGraph(
        lower(load_proto(load_onnx(data)), precision, "float32"), "plain", torch.device("cpu"), 0
    )
    assert all(
        w.is_contiguous(memory_format=torch.channels_last) for w in graph._constants.values() if w.ndim == 4
    )
    first, want = graph.run({"features": x}), plain.run({"features": x})
    for name, value in want.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(first[name], value, atol=4e-3 if precision == "f16" else 1e-5, rtol=0)
    tables = [step.function.args[0]["tables"].copy() for step in graph._steps]
    graph.run({"features": x})
    assert [step.function.args[0]["tables"].keys() for step in graph._steps] == [
        table.keys() for table in tables
    ]


needs_gpu = pytest.mark.skipif(
    bool(nvidia_problem()) or not torch.cuda.is_available(), reason=nvidia_problem() or "torch without CUDA"
)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision, worst", [("f32", 1e-3), ("f16", 8e-3)])
def test_light_network_on_the_gpu(light, run, precision, worst):
    data, features = (
        light.build(16),
        np.random.default_rng(0).uniform(-1, 1, (1, 19, 64, 64)).astype(np.float32),
    )
    reference = create_engine(data, "torch", "f32", device="cpu").compile((1, 64, 64))
    run(reference, features)
    engine = create_engine(data, "torch", precision, device="cuda")
    session = engine.compile((1, 64, 64))
    assert session.mode == "graph"
    for _ in range(2):
        run(session, features)
        for name in ("rgb", "alpha"):
            assert np.abs(session.outputs[name] - reference.outputs[name]).max() < worst


@pytest.mark.gpu
@needs_gpu
def test_device_session_joins_a_captured_graph(light):
    from dinar_live.engines.gpu import open_device, run_once

    data, features = (
        light.build(16),
        np.random.default_rng(0).uniform(-1, 1, (1, 19, 64, 64)).astype(np.float32),
    )
    session, gpu = (
        create_engine(data, "torch", "f16", device="cuda").compile_device((1, 64, 64)),
        open_device(),
    )
    want = run_once(gpu, session, {"features": features})
    stream = gpu.stream()
    session.warm_up(stream.handle)
    inputs, rgb = (
        gpu.wrap(t.pointer, t.shape, t.dtype) for t in (session.inputs["features"], session.outputs["rgb"])
    )
    with stream.capture() as graph:
        session.enqueue_on(stream.handle)
    inputs.copy_from(features.astype(np.float16), stream)
    stream.synchronize()
    graph.launch(stream)
    out = rgb.numpy(stream)
    assert np.abs(out - want["rgb"]).max() < 1e-3 and want["rgb"].std() > 0.01
