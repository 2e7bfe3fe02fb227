"""Explicit int8: what is written into the graph, what it costs in accuracy, and that TensorRT for RTX builds it."""

import numpy as np
import onnx
import pytest

from dinar_live import engines
from dinar_live.engines import EngineError, create_builder, create_engine
from dinar_live.engines.cache import EngineCache
from dinar_live.engines.onnx import quantize
from dinar_live.engines.onnx.file import load_onnx
from dinar_live.engines.onnx.fold import fold
from dinar_live.engines.onnx.graph import at_least_opset, load_proto
from dinar_live.engines.onnx.lower import lower
from dinar_live.engines.tensorrt.int8 import with_examples
from dinar_live.runtime import Avatar
from dinar_live.runtime.render import parity

pytest.importorskip("torch", reason="int8 is calibrated with torch")
SIZE = (128, 128)


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """(avatar, spec of its light renderer, the network with ranges)."""
    avatar = Avatar.demo()
    spec, cache = avatar.renderers["light"], EngineCache(tmp_path_factory.mktemp("cache") / "c")
    given, file = [], load_onnx(spec.network)

    def examples():
        given.append(1)
        return parity.inputs_for(avatar, spec, (1, *SIZE), SIZE)

    model = with_examples(file, "int8", examples, cache)
    assert with_examples(file, "int8", examples, cache).data == model.data and len(given) == 1, "it was kept"
    assert with_examples(file, "f16", None, cache) is file
    assert with_examples(model, "int8", None, cache) is model
    with pytest.raises(EngineError, match="needs `examples`"):
        with_examples(file, "int8", None, cache)
    return avatar, spec, model.data


def folded(model):
    return fold(at_least_opset(load_proto(load_onnx(model))))


def test_wide_convolutions_read_int8_and_the_rest_stays(light):
    proto = folded(light[2])
    out = quantize.quantized(lower(proto, "f16", "float16"), quantize.ranges_of(proto))
    onnx.checker.check_model(out, full_check=True)
    weights = {tensor.name: tensor for tensor in out.graph.initializer}
    made = {name: node for node in out.graph.node for name in node.output}
    convolutions = [node for node in out.graph.node if node.op_type == "Conv"]
    dequantized = {name for name, node in made.items() if node.op_type == "DequantizeLinear"}
    small = [node for node in convolutions if node.input[0] in dequantized]
    assert 3 < len(small) < len(convolutions)
    for node in small:
        kernel = made[node.input[1]]
        values = onnx.numpy_helper.to_array(weights[kernel.input[0]])
        assert values.dtype == np.int8 and np.abs(values).max() == 127 and min(values.shape[:2]) >= 32
        scales = onnx.numpy_helper.to_array(weights[kernel.input[1]])
        assert scales.shape == (len(values),) and scales.dtype == np.float16
    outputs = {value.name for value in out.graph.output}
    assert not any(outputs & set(node.output) for node in small), "the last one would show"


def test_its_frames_pass_the_gate_and_wrong_ranges_do_not(light):
    """On the CPU: onnxruntime computes what the graph says."""
    ort = pytest.importorskip("onnxruntime")
    avatar, spec, model = light
    proto = folded(model)
    ranges = quantize.ranges_of(proto)

    def runner(graph):
        session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return lambda x: dict(zip(names, session.run(None, {"features": x}), strict=True))

    exact = lower(proto, "f32", "float32")
    inputs = list(parity.inputs_for(avatar, spec, (1, *SIZE), SIZE))
    good = parity.measure(spec, iter(inputs), runner(exact), runner(quantize.quantized(exact, ranges)))
    assert good.passes("int8") and good.psnr > 50, good
    tight = {name: value / 20 for name, value in ranges.items()}
    bad = parity.measure(spec, iter(inputs), runner(exact), runner(quantize.quantized(exact, tight)))
    assert not bad.passes("int8") and bad.psnr < good.psnr - 10, bad


def test_it_builds_and_is_another_plan(light, tmp_path):
    pytest.importorskip("tensorrt_rtx_libs", reason="needs the packages of the extra rtx")
    key = (1, *(side // light[1].type.blocks for side in SIZE))
    sizes = {}
    for precision in ("f16", "int8"):
        with create_builder(light[2], "tensorrt-rtx", precision, cache_dir=tmp_path) as builder:
            sizes[precision] = builder.prepare(key, builder.device_io)
            assert (
                builder.built == 1 and builder.device_io == "float16" and builder.info.precision == precision
            )
    assert sizes["int8"] != sizes["f16"]


def test_what_cannot_be_is_refused(light, tiny):
    with pytest.raises(EngineError, match="no convolution of this network is wide enough"):
        from dinar_live.engines.onnx.ranges import measured_ranges

        measured_ranges(tiny, [])
    proto = folded(light[2])
    with pytest.raises(EngineError, match="no range was measured for"):
        quantize.quantized(lower(proto, "f16"), {"other": 1.0})
    with pytest.raises(EngineError, match="needs a network with ranges"):
        quantize.ranges_of(folded(light[1].network))
    with pytest.raises(EngineError, match="the range of 'a' is nan"):
        quantize.with_ranges(light[1].network, {"a": float("nan")})
    if not engines.available_engines()["torch"]:
        with pytest.raises(EngineError, match="int8 is not offered by the torch engine"):
            create_engine(light[2], "torch", "int8")
