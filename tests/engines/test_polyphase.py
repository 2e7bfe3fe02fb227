"""benchmarks/polyphase.py: the same pictures, borders included."""

import pathlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def polyphase(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import polyphase

    return polyphase.polyphase


def enlarging(rng, bias=True, pads=(1, 1, 1, 1), mode="linear"):
    """x -> Resize by two -> Conv 3x3 -> y"""
    kernel = rng.standard_normal((5, 3, 3, 3)).astype(np.float32)
    constants = {"scales": np.array([1, 1, 2, 2], np.float32), "kernel": kernel}
    if bias:
        constants["bias"] = rng.standard_normal(5).astype(np.float32)
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["large"], mode=mode),
        helper.make_node("Conv", ["large", "kernel", *(["bias"] if bias else [])], ["y"], pads=pads),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [info("y", TensorProto.FLOAT, ["N", 5, "H2", "W2"])],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(proto, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(proto).run(None, {"x": x})[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (6, 4)])
def test_every_pixel_is_the_same(polyphase, bias, size):
    rng = np.random.default_rng(0)
    proto = enlarging(rng, bias)
    x = rng.standard_normal((2, 3, *size)).astype(np.float32)
    new = polyphase(proto)
    onnx.checker.check_model(new, full_check=True)
    assert "DepthToSpace" in {node.op_type for node in new.graph.node}
    np.testing.assert_allclose(run(new, x), run(proto, x), rtol=0, atol=2e-5)


@pytest.mark.parametrize("other", [{"pads": (0, 0, 0, 0)}, {"mode": "nearest"}])
def test_what_it_does_not_know_stays(polyphase, other):
    proto = enlarging(np.random.default_rng(0), **other)
    assert [n.op_type for n in polyphase(proto).graph.node] == ["Resize", "Conv"]


@pytest.mark.slow
def test_the_full_renderer_gives_the_same_pictures_and_builds(polyphase, tmp_path):
    pytest.importorskip("torch", reason="the exporter needs torch")
    ort = pytest.importorskip("onnxruntime")
    from dinar_live.engines import can_build_ahead, create_builder
    from dinar_live.export.checkpoint import load_checkpoint
    from dinar_live.export.dinar.bake import renderer_onnx
    from dinar_live.export.networks import random_state_dict
    from dinar_live.export.networks.model import required

    model = renderer_onnx(required(load_checkpoint(random_state_dict(0), networks=("renderer",)).renderer))
    new = polyphase(onnx.load_model_from_string(model)).SerializeToString()
    x = np.random.default_rng(0).standard_normal((1, 24, 96, 64)).astype(np.float32)
    old, rewritten = (
        ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"features": x})
        for data in (model, new)
    )
    for a, b in zip(old, rewritten, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    if can_build_ahead("tensorrt-rtx"):
        with create_builder(new, "tensorrt-rtx", cache_dir=tmp_path) as builder:
            assert builder.prepare((1, 256, 256), "float16") > 10_000_000
