"""Explicit int8: QuantizeLinear and DequantizeLinear around the large convolutions of a network, with ranges that were
measured on real frames.

model = with_ranges(model, {"up0.resize": 3.1, ...})        # into the file itself
proto = quantized(lower(proto, "f16", "float16"), ranges_of(proto))

What TensorRT then runs in int8 is written in the graph, as every other type is. Activations have one scale a tensor,
weights one an output channel, both symmetric. The first convolutions, which read the features, and narrow ones (colour
and alpha come out of these) stay in float16: they take little time, and rounding them would show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dinar_live.engines.base import EngineError

from .graph import opset_of, replace_nodes

KEY = "dinar.int8"
"""Of the file's metadata: JSON, tensor -> largest magnitude."""
LEAST_CHANNELS = 32
OPSET = 19  # the first whose QuantizeLinear takes float16
_MOVES = frozenset(
    "Split Concat Pad Slice Identity Resize Transpose Reshape DepthToSpace SpaceToDepth".split()
)


def convolutions(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that run in int8."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    given = {value.name for value in proto.graph.input}
    found = []
    for node in proto.graph.node:
        if node.op_type in _MOVES and any(name in given for name in node.input):
            given.update(node.output)
        wide = min(shapes.get(node.input[1], (0, 0))[:2], default=0) if len(node.input) > 1 else 0
        if node.op_type == "Conv" and wide >= LEAST_CHANNELS and node.input[0] not in given:
            found.append(node)
    return found


def with_ranges(model: bytes, ranges: Mapping[str, float]) -> bytes:
    """The ONNX file with the largest magnitudes of the tensors that `convolutions` read. EngineError for what is no
    range."""
    for name, value in ranges.items():
        if not (math.isfinite(value) and value > 0):
            raise EngineError(f"the range of {name!r} is {value!r}; expected a positive number")
    proto = onnx.load_model_from_string(model)
    kept = [entry for entry in proto.metadata_props if entry.key != KEY]
    copies = [(entry.key, entry.value) for entry in kept]
    del proto.metadata_props[:]
    helper.set_model_props(proto, dict(copies) | {KEY: json.dumps(dict(sorted(ranges.items())))})
    return proto.SerializeToString()


def ranges_of(proto: onnx.ModelProto) -> dict[str, float]:
    """What `with_ranges` wrote; EngineError where there is nothing."""
    for entry in proto.metadata_props:
        if entry.key == KEY:
            try:
                found = {str(name): float(value) for name, value in json.loads(entry.value).items()}
            except (ValueError, AttributeError, TypeError):
                break
            if found and all(math.isfinite(value) and value > 0 for value in found.values()):
                return found
    raise EngineError("precision int8 needs a network with ranges that were measured on frames")


def quantized(proto: onnx.ModelProto, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of a network, as `lower` writes it, whose `convolutions` read int8. EngineError where one of them has no
    range."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    if opset_of(out) < OPSET:  # what a renderer uses means the same in all of them
        next(entry for entry in out.opset_import if entry.domain in ("", "ai.onnx")).version = OPSET
    weights = {tensor.name: tensor for tensor in out.graph.initializer}
    chosen = {node.output[0] for node in convolutions(out)}
    nodes: list[onnx.NodeProto] = []
    new: list[TensorProto] = []
    done: dict[str, str] = {}

    def put(name: str, array: np.ndarray) -> str:
        new.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    for node in out.graph.node:
        if node.op_type != "Conv" or node.output[0] not in chosen:
            nodes.append(node)
            continue
        source = node.input[0]
        if source not in ranges:
            raise EngineError(
                f"no range was measured for {source!r}, which {node.name or node.output[0]!r} reads"
            )
        dtype = numpy_helper.to_array(weights[node.input[1]]).dtype
        if source not in done:
            scale = put(f"{source}.scale", np.array(ranges[source] / 127, dtype))
            zero = put(f"{source}.zero", np.array(0, np.int8))
            small, back = f"{source}.int8", f"{source}.from_int8"
            nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [small]))
            nodes.append(helper.make_node("DequantizeLinear", [small, scale, zero], [back]))
            done[source] = back
        kernel = node.input[1]
        if kernel not in done:
            values, scales = _int8_weights(numpy_helper.to_array(weights[kernel]))
            names = put(f"{kernel}.int8", values), put(f"{kernel}.scales", scales.astype(dtype))
            zeros = put(f"{kernel}.zeros", np.zeros(len(scales), np.int8))
            done[kernel] = f"{kernel}.from_int8"
            nodes.append(helper.make_node("DequantizeLinear", [*names, zeros], [done[kernel]], axis=0))
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        changed.input[0], changed.input[1] = done[source], done[kernel]
        nodes.append(changed)
    replace_nodes(out, nodes)
    used = {name for node in out.graph.node for name in node.input}
    left = [tensor for tensor in out.graph.initializer if tensor.name in used]
    copies = [TensorProto() for _ in left]
    for copy, tensor in zip(copies, left, strict=True):
        copy.CopyFrom(tensor)
    del out.graph.initializer[:]
    out.graph.initializer.extend([*copies, *new])
    del out.graph.value_info[:]
    return out


def _int8_weights(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i8 of the kernel's shape, f32 scales [out]) of [out,in,kh,kw]."""
    kernel = kernel.astype(np.float32)
    # never below the least normal of float16, in which the scale is written
    scales = np.maximum(np.abs(kernel).reshape(len(kernel), -1).max(1) / 127, 2.0**-14)
    scales = scales.astype(np.float16).astype(np.float32)
    values = np.rint(kernel / scales[:, None, None, None])
    return np.clip(values, -127, 127).astype(np.int8), scales
