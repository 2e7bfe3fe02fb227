"""Fixtures of the engine tests."""

import importlib.machinery
import importlib.util
import pathlib
import sys
import types

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(params=["openvino", "torch"])
def name(request) -> str:
    """Each engine in turn."""
    return request.param


@pytest.fixture(scope="session")
def tiny() -> bytes:
    """A model: features [N,4,H,W] -> rgb = 2 * features[:, :3], alpha = features[:, 3:]."""

    def value(name, channels):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels, "H", "W"])

    nodes = [
        helper.make_node("Mul", ["features", "weight"], ["scaled"], name="scale"),
        helper.make_node("Split", ["scaled", "parts"], ["rgb", "alpha"], name="split", axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.array([2, 2, 2, 1], np.float32).reshape(1, 4, 1, 1), "weight"),
        numpy_helper.from_array(np.array([3, 1]), "parts"),
    ]
    graph = helper.make_graph(
        nodes, "graph", [value("features", 4)], [value("rgb", 3), value("alpha", 1)], weights
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def module_at(path: pathlib.Path):
    """The module in a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def light():
    """The module benchmarks/light_network.py."""
    return module_at(pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "light_network.py")


@pytest.fixture(scope="session")
def fakes():
    """The modules fake_cuda.py and fake_tensorrt.py."""
    folder = pathlib.Path(__file__).parent
    return types.SimpleNamespace(
        cuda=module_at(folder.parent / "fake_cuda.py"), tensorrt=module_at(folder / "fake_tensorrt.py")
    )


@pytest.fixture
def nvidia(monkeypatch, fakes, tmp_path):
    """A machine with a fake GPU and a fake TensorRT: cuda (the fake GPU), trt (the fake module), options for
    create_engine."""
    from dinar_live import engines
    from dinar_live.engines import nvidia
    from dinar_live.kernels import cuda as layer

    cuda = fakes.cuda.FakeCuda("NVIDIA Fake 1")
    monkeypatch.setattr(layer, "Device", cuda.Device)
    trt = fakes.tensorrt.make(cuda)
    packages = [types.ModuleType(name) for name in ("cuda", "cuda.bindings", "cuda.core")]
    for package in packages:
        package.__path__ = []
    entries = [f"dinar_live.engines.tensorrt.{name}" for name in ("standard", "rtx")]
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)  # not installed
    for module in (*packages, trt):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in entries:  # they hold the module they were imported with
        monkeypatch.delitem(sys.modules, name, raising=False)
    for module in (engines.registry, nvidia):
        monkeypatch.setattr(module, "nvidia_problem", lambda: "")
    cache = tmp_path / "engines"
    monkeypatch.setattr("dinar_live.engines.cache.default_folder", lambda: cache)
    yield types.SimpleNamespace(
        cuda=cuda, trt=trt, world=trt.world, cache=cache, options={"cache_dir": cache}
    )
    for name in entries:
        sys.modules.pop(name, None)


@pytest.fixture
def nvidia_rtx(nvidia, monkeypatch, fakes):
    """The same machine with a fake TensorRT for RTX in place of TensorRT: rtx (the fake module), world."""
    rtx, libraries = fakes.tensorrt.make_rtx(nvidia.cuda), types.ModuleType("tensorrt_rtx_libs")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for module in (rtx, libraries):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    nvidia.rtx, nvidia.world = rtx, rtx.world
    nvidia.cuda.compute_capability = (8, 9)
    return nvidia


@pytest.fixture(scope="session")
def run():
    """run(session, features): fill the input, run, wait."""

    def run(session, features):
        session.inputs["features"][...] = features
        session.enqueue()
        session.synchronize()

    return run
