"""Writes a float32 network in float16 or bfloat16, as a strongly typed engine runs it: `lower(proto, "f16",
"float16")`.

Every value and every weight has the type that is written in the graph; nothing is left to the engine's
choice:
- weights are rounded once, to the nearest (ties to even); what float16 cannot hold (beyond 65504) keeps its
node in float32 - reductions, normalizations, exponentials, powers, roots and grid sampling are *islands*:
  they run in float32 between two casts, because float16 has no room for sums of squares and epsilons, and 11
  bits cannot name a position in a picture; so do element-wise nodes between two islands, and nodes with a
  constant that the type cannot hold to 1 in 1000 (an epsilon of 1e-8 is 0 in float16)
- shapes, indices and the scales of Resize are left alone, and so is arithmetic on numbers that were integers
(sizes times a factor) - inputs and outputs have the type `io`, under their own names
A cast is made once per value and type.
"""

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .graph import check_flat, constant_nodes_to_initializers, element_types, replace_nodes

ISLANDS = frozenset(
    "InstanceNormalization GroupNormalization LayerNormalization BatchNormalization MeanVarianceNormalization LpNormalization "
    "ReduceMean ReduceSum ReduceSumSquare ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd GlobalAveragePool GlobalLpPool LpPool "
    "CumSum Softmax LogSoftmax Exp Log Pow Sqrt Reciprocal Softplus Erf GridSample QuantizeLinear DequantizeLinear Range".split()
)
_ELEMENTWISE = frozenset(
    "Add Sub Mul Div Neg Abs Max Min Clip Identity Where Reshape Unsqueeze Squeeze Expand".split()
)
_FIXED_INPUTS = {"Resize": (1, 2)}  # float32 by the operator's definition
_IO = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}
_TARGET = {
    "f16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "bf16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
}
_SUFFIX: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
}
# relative error of a single constant in float16; bfloat16 has 8 bits and cannot keep it, so only its range
# counts there
_WORST = 1e-3


def lower(proto: onnx.ModelProto, precision: str, io: str = "float32") -> onnx.ModelProto:
    """A copy of a float32 model whose layers compute in `precision` ("f16", "bf16", or "f32": only its inputs
    and outputs change).

    io: "float32" or "float16", the type of inputs and outputs. EngineError if the model has branches, loops,
        functions or contradictions.
    """
    check_flat(proto)
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    constant_nodes_to_initializers(out)
    _Lowering(out, precision, _IO[io]).run()
    return out


class _Lowering:
    def __init__(self, proto: onnx.ModelProto, precision: str, io: int):
        self.proto = proto
        self.io = io
        self.low, self.dtype = _TARGET.get(precision, (TensorProto.FLOAT, np.dtype(np.float32)))
        self.types = element_types(proto)
        self.weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.has: dict[str, int] = {}  # float value -> the type it is made in
        self.made: dict[tuple[str, int], str] = {}  # (value, type) -> its name in that type
        self.new_weights: dict[str, onnx.TensorProto] = {}

    def run(self) -> None:
        graph = self.proto.graph
        inputs = [value for value in graph.input if value.name not in self.weights]
        outputs = {value.name for value in graph.output}
        for value in inputs:
            if self._is_float(value.name):
                value.type.tensor_type.elem_type = self.has[value.name] = self.io
        islands = self._islands()
        renamed = {}
        for i, old in enumerate(graph.node):
            node = onnx.NodeProto()
            node.CopyFrom(old)
            kind = self._kind(node, i in islands)
            for at, name in enumerate(old.input):
                if name and self._is_float(name) and at not in _FIXED_INPUTS.get(node.op_type, ()):
                    node.input[at] = self._in_type(name, kind or self.has.get(name, TensorProto.FLOAT))
                elif name in renamed:
                    node.input[at] = renamed[name]
            for at, name in enumerate(old.output):
                if name and self._is_float(name):
                    self.has[name] = kind or TensorProto.FLOAT
                    if name in outputs and self.has[name] != self.io:
                        renamed[name] = f"{name}.{_SUFFIX[self.has[name]]}"
                        self.made[name, self.has[name]] = node.output[at] = renamed[name]
            self.nodes.append(node)
        for value in graph.output:
            if self._is_float(value.name):
                if self.has.get(value.name, self.io) != self.io:
                    self._cast(renamed.get(value.name, value.name), value.name, self.io)
                value.type.tensor_type.elem_type = self.io
        replace_nodes(self.proto, self.nodes)
        self._write_weights()
        del graph.value_info[:]

    def _write_weights(self) -> None:
        used = {name for node in self.nodes for name in node.input} | {
            value.name for value in self.proto.graph.output
        }
        tensors = [tensor for name, tensor in (self.weights | self.new_weights).items() if name in used]
        copies = [onnx.TensorProto() for _ in tensors]
        for copy, tensor in zip(copies, tensors, strict=True):
            copy.CopyFrom(tensor)
        del self.proto.graph.initializer[:]
        self.proto.graph.initializer.extend(copies)
        weights = {value.name for value in self.proto.graph.input} & self.weights.keys()
        kept = [
            value for value in self.proto.graph.input if value.name not in weights
        ]  # IR < 4 lists weights as inputs
        if weights:
            copies = [onnx.ValueInfoProto() for _ in kept]
            for copy, value in zip(copies, kept, strict=True):
                copy.CopyFrom(value)
            del self.proto.graph.input[:]
            self.proto.graph.input.extend(copies)

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) == TensorProto.FLOAT

    def _kind(self, node: onnx.NodeProto, island: bool) -> int | None:
        """Type in which a node computes; None where it has none: it makes floats out of other things, or only
        asks for a shape."""
        if node.op_type in ("Shape", "Size", "ConstantOfShape"):
            return None
        if node.op_type == "Cast":
            from_float, to_float = self._is_float(node.input[0]), self._is_float(node.output[0])
            if not (from_float and to_float):
                return TensorProto.FLOAT if from_float else None
            node.op_type = "Identity"  # float32 to float32
            del node.attribute[:]
        return TensorProto.FLOAT if island else self.low

    def _islands(self) -> set[int]:
        nodes = self.proto.graph.node
        maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
        users: dict[str, list[int]] = {}
        for i, node in enumerate(nodes):
            for name in node.input:
                users.setdefault(name, []).append(i)
        islands = {i for i, node in enumerate(nodes) if node.op_type in ISLANDS or not self._fits(node)}
        counted = set()  # values that are integers, or made of such and constants
        for i, node in enumerate(nodes):
            floats = [name for name in node.input if self._is_float(name) and name not in self.weights]
            if (counted.issuperset(floats) and floats) or (
                node.op_type == "Cast" and not self._is_float(node.input[0])
            ):
                islands.add(i)
                counted.update(name for name in node.output if self._is_float(name))
        grown = True
        # what lies between islands joins them: there is no room for a variance plus epsilon in float16 either
        while grown:
            grown = False
            for i, node in enumerate(nodes):
                if i in islands or node.op_type not in _ELEMENTWISE:
                    continue
                before = [
                    maker.get(name)
                    for name in node.input
                    if self._is_float(name) and name not in self.weights
                ]
                after = [user for name in node.output for user in users.get(name, ())]
                if before and after and islands.issuperset(before) and islands.issuperset(after):
                    islands.add(i)
                    grown = True
        return islands

    def _fits(self, node: onnx.NodeProto) -> bool:
        """Whether the type can hold the node's constants: all in range, and a single number (an epsilon, a
        gain) precisely."""
        if self.low == TensorProto.FLOAT:
            return True
        for at, name in enumerate(node.input):
            if (
                name not in self.weights
                or not self._is_float(name)
                or at in _FIXED_INPUTS.get(node.op_type, ())
            ):
                continue
            array = numpy_helper.to_array(self.weights[name])
            with np.errstate(over="ignore"):
                rounded = array.astype(self.dtype).astype(np.float32)
            if not np.isfinite(rounded[np.isfinite(array)]).all():
                return False
            if (
                array.size == 1
                and self.low == TensorProto.FLOAT16
                and np.abs(rounded - array).max() > _WORST * np.abs(array).max()
            ):
                return False
        return True

    def _in_type(self, name: str, kind: int) -> str:
        """Name of a value or weight in a type, made where it does not exist yet."""
        key = (name, kind)
        if key in self.made:
            return self.made[key]
        if name in self.weights:
            if kind == TensorProto.FLOAT:
                return name
            array = numpy_helper.to_array(self.weights[name])
            self.made[key] = self._free_name(f"{name}.{_SUFFIX[kind]}")
            self.new_weights[self.made[key]] = numpy_helper.from_array(
                array.astype(self.dtype), self.made[key]
            )
            return self.made[key]
        own = self.has.get(name, TensorProto.FLOAT)
        if own == kind:
            return name
        self.made[key] = self._free_name(f"{name}.{_SUFFIX[kind]}")
        self._cast(self.made.get((name, own), name), self.made[key], kind)
        return self.made[key]

    def _free_name(self, name: str) -> str:
        while name in self.types:
            name += "_"
        return name

    def _cast(self, source: str, result: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [result], name=f"cast.{result}", to=kind))
