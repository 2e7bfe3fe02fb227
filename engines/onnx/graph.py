"""ONNX graphs as protobuf: read, made static, typed. Needs the onnx package."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from dinar_live.engines.base import EngineError

from .file import OnnxFile

OLDEST_OPSET = (
    18  # of what TensorRT is given; its parser documents 9 to 20, and newer files are passed on as they are
)
_ERRORS_OF_ONNX = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    RuntimeError,
    ValueError,
    TypeError,
)


def load_proto(model: OnnxFile) -> onnx.ModelProto:
    """The model as protobuf, checked; EngineError if onnx does not accept it."""
    try:
        proto = onnx.load_model_from_string(model.data)
        onnx.checker.check_model(proto)
    except (
        Exception
    ) as error:  # protobuf and the checker raise types without a common base; any of them means a broken file
        raise EngineError(f"onnx cannot read {model.source}: {' '.join(str(error).split())[:400]}") from error
    return proto


def opset_of(proto: onnx.ModelProto) -> int:
    """Version of the standard operators that the model uses."""
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def at_least_opset(proto: onnx.ModelProto, oldest: int = OLDEST_OPSET) -> onnx.ModelProto:
    """The same model in a newer opset, itself if it is new enough already."""
    if opset_of(proto) >= oldest:
        return proto
    try:
        return version_converter.convert_version(proto, oldest)
    except _ERRORS_OF_ONNX as error:
        raise EngineError(
            f"the model cannot be converted from opset {opset_of(proto)} to {oldest}: export it with opset {oldest} or newer "
            f"({' '.join(str(error).split())[:300]})"
        ) from error


def check_flat(proto: onnx.ModelProto) -> None:
    """EngineError for models with branches, loops or functions of their own, which the rewriting passes do
    not follow."""
    if proto.functions:
        raise EngineError(
            "the model defines functions of its own; inline them (onnx.inliner.inline_local_functions)"
        )
    for node in proto.graph.node:
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise EngineError(
                f"node {node.name!r} ({node.op_type}) holds a graph of its own; a renderer may have no branches and no loops"
            )


def static(proto: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """A copy for fixed input shapes. EngineError where they contradict the graph."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    for value in out.graph.input:
        if value.name in shapes:
            value.CopyFrom(
                helper.make_tensor_value_info(
                    value.name, value.type.tensor_type.elem_type, shapes[value.name]
                )
            )
    for value in out.graph.output:  # inferred anew, so that no symbol of the file is left
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    del out.graph.value_info[:]
    inferred = inferred_types(out)
    for value, typed in zip(out.graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(typed)
    return out


def inferred_types(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the type and shape of every value; EngineError if they contradict each other."""
    try:
        return onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except _ERRORS_OF_ONNX as error:
        raise EngineError(
            f"the model's shapes or types contradict each other; are H and W multiples of the network's stride? "
            f"{' '.join(str(error).split())[:400]}"
        ) from error


def element_types(proto: onnx.ModelProto) -> dict[str, int]:
    """TensorProto data type of every value of the main graph, as far as it can be inferred."""
    graph = inferred_types(proto).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for part in (graph.input, graph.value_info, graph.output)
        for value in part
    }
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def constants_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Initializers as arrays."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def constant_nodes_to_initializers(proto: onnx.ModelProto) -> None:
    """Turn Constant nodes of numbers into initializers, in place."""
    kept = []
    for node in proto.graph.node:
        tensor = _constant(node)
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            proto.graph.initializer.append(tensor)
    replace_nodes(proto, kept)


def replace_nodes(proto: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Set the nodes of the graph, in place."""
    copies = [onnx.NodeProto() for _ in nodes]  # `nodes` may be part of what is deleted
    for copy, node in zip(copies, nodes, strict=True):
        copy.CopyFrom(node)
    del proto.graph.node[:]
    proto.graph.node.extend(copies)


def _constant(node: onnx.NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    dtypes = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(value)
            return tensor
        if attribute.name in dtypes:
            return numpy_helper.from_array(np.asarray(value, dtypes[attribute.name]))
    return None
