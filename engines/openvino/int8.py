"""Networks whose convolutions work in 8 bits: on processors with VNNI but without bfloat16, as in most laptops, several
times as fast as float32.

Activations get one range a tensor, as seen on example inputs, and 256 levels; weights one range a channel. OpenVINO
makes 8-bit convolutions of the FakeQuantize operators that are put in here (its low precision transformations).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .quiet_import import openvino

Ranges = dict[str, tuple[float, float]]
"""Name of the operator whose output a convolution reads -> least and largest value."""
_ROOM = 1.1  # what other poses may exceed the examples by
# Weights use half of their 8 bits: without VNNI, pairs of products are added in 16 bits, which would overflow.
_HALF = 2.0


def activation_ranges(core: openvino.Core, model: openvino.Model, examples: Iterable[np.ndarray]) -> Ranges:
    """What convolutions of a model with one input read, on examples f32[N,C,H,W]."""
    ranges: Ranges = {}
    watched = model.clone()
    sources = {
        op.input_value(0).get_node().get_friendly_name(): op.input_value(0) for op in _convolutions(watched)
    }
    inner = {name: port for name, port in sources.items() if port.get_node().get_type_name() != "Parameter"}
    watched.add_outputs([port for port in inner.values()])
    first = len(model.outputs)
    compiled: dict[tuple[int, ...], openvino.CompiledModel] = {}
    for example in examples:
        if example.shape not in compiled:
            sized = watched.clone()
            sized.reshape(list(example.shape))
            compiled[example.shape] = core.compile_model(sized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results = compiled[example.shape](example)
        seen = {name: results[first + i] for i, name in enumerate(inner)}
        seen |= {name: example for name in sources if name not in inner}
        for name, values in seen.items():
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
    return ranges


def quantized(model: openvino.Model, ranges: Ranges) -> openvino.Model:
    """The model with 8-bit convolutions wherever their weights are constant."""
    made = model.clone()
    limited: dict[str, openvino.Output] = {}
    for op in _convolutions(made):
        source = op.input_value(0)
        name = source.get_node().get_friendly_name()
        if name not in ranges:
            continue
        if name not in limited:
            low, high = (_ROOM * value for value in ranges[name])
            limited[name] = _fake_quantize(source, low, max(high, low + 1e-6), 256)
        weights = _constant(op.input_value(1))
        assert weights is not None  # see _convolutions
        most = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), 1e-9).astype(np.float32)
        op.input(0).replace_source_output(limited[name])
        op.input(1).replace_source_output(_fake_quantize(op.input_value(1), -_HALF * most, _HALF * most, 255))
    made.validate_nodes_and_infer_types()
    return made


def _convolutions(model: openvino.Model) -> list:
    """Those of two dimensions with constant weights."""
    return [
        op
        for op in model.get_ordered_ops()
        if op.get_type_name() == "Convolution"
        and len(op.input_value(1).get_partial_shape()) == 4
        and _constant(op.input_value(1)) is not None
    ]


def _constant(port) -> np.ndarray | None:
    """Weights, also those that are kept in float16 and converted."""
    node = port.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.data, np.float32) if node.get_type_name() == "Constant" else None


def _fake_quantize(port, low, high, levels: int):
    low, high = (openvino.opset13.constant(np.asarray(value, np.float32)) for value in (low, high))
    return openvino.opset13.fake_quantize(port, low, high, low, high, levels).output(0)
