"""Fixtures of the engine tests."""

import importlib.util
import pathlib

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
    graph = helper.make_graph(nodes, "graph", [value("features", 4)], [value("rgb", 3), value("alpha", 1)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="session")
def light():
    """The module benchmarks/light_network.py."""
    path = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "light_network.py"
    spec = importlib.util.spec_from_file_location("light_network", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def run():
    """run(session, features): fill the input, run, wait."""

    def run(session, features):
        session.inputs["features"][...] = features
        session.enqueue()
        session.synchronize()

    return run
