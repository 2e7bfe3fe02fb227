"""Makes a network cheaper without changing what it computes: `fold(proto)`.

- constants of constants (equalised weights: weight * scale) are computed once
- batch normalization becomes part of the convolution before it, or one multiplication and one addition
- a per-channel multiplication or addition by a constant after a convolution becomes part of it; so does a
  multiplication before it, and a positive gain behind a (leaky) ReLU, which is positively homogeneous
- zero padding before a convolution becomes its own padding
- identities and what no output needs are removed

Exact but for rounding: weights are combined in float64 and rounded to float32 once. The names of inputs and
    outputs stay.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .graph import (
    check_flat,
    constant_nodes_to_initializers,
    constants_of,
    inferred_types,
    replace_nodes,
)

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_HOMOGENEOUS = ("Relu", "LeakyRelu")
_COMPUTED = frozenset(
    "Add Sub Mul Div Neg Sqrt Reciprocal Pow Reshape Transpose Unsqueeze Squeeze Cast Identity Concat".split()
)
_MOST_COMPUTED = 1 << 26  # elements; more would be a texture, not weights


def fold(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A cheaper copy of a model; EngineError if it has branches, loops, functions or inconsistent shapes."""
    check_flat(proto)
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    constant_nodes_to_initializers(out)
    _Folder(out).run()
    return out


class _Folder:
    def __init__(self, proto: onnx.ModelProto):
        self.proto = proto
        self.graph = proto.graph
        self.constants = constants_of(proto)
        self.nodes = list(proto.graph.node)
        self.outputs = {value.name for value in proto.graph.output}
        typed = inferred_types(proto).graph
        dims = {
            value.name: value.type.tensor_type.shape.dim
            for part in (typed.input, typed.value_info, typed.output)
            for value in part
            if value.type.tensor_type.HasField("shape")
        }
        self.rank = {name: len(dim) for name, dim in dims.items()}
        self.channels = {
            name: dim[1].dim_value for name, dim in dims.items() if len(dim) > 1
        }  # 0 where it is not known
        self.changed: dict[str, np.ndarray] = {}

    def run(self) -> None:
        rules = (
            self._computed,
            self._identity,
            self._normalization,
            self._padding,
            self._gain_behind_activation,
            self._scale_before,
            self._after,
        )
        again = True
        while again:
            again = False
            self._index()
            for node in list(self.nodes):
                if any(rule(node) for rule in rules):
                    again = True
                    self._index()
        self._write()

    # the graph

    def _index(self) -> None:
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.users.setdefault(name, []).append(node)
        self.present = {id(node) for node in self.nodes}

    def _only_user(self, name: str) -> bool:
        return name not in self.outputs and len(self.users.get(name, ())) == 1

    def _remove(self, node: onnx.NodeProto) -> None:
        self.nodes = [other for other in self.nodes if other is not node]

    def _splice(self, node: onnx.NodeProto, kept: str) -> bool:
        """Drop `node`, whose first output is now what `kept` (an input of it, made by a node) is; that one
        takes the output's name."""
        self._remove(node)
        maker = self.maker[kept]
        maker.output[list(maker.output).index(kept)] = node.output[0]
        return True

    def _new_constant(self, near: str, array: np.ndarray) -> str:
        name, i = f"{near}.folded", 0
        while name in self.constants or name in self.maker:
            i += 1
            name = f"{near}.folded{i}"
        self.constants[name] = self.changed[name] = np.ascontiguousarray(array)
        return name

    def _write(self) -> None:
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        replace_nodes(self.proto, kept[::-1])
        initializers = [
            tensor
            for tensor in self.graph.initializer
            if tensor.name in needed and tensor.name not in self.changed
        ]
        initializers += [
            numpy_helper.from_array(array, name) for name, array in self.changed.items() if name in needed
        ]
        copies = [onnx.TensorProto() for _ in initializers]
        for copy, tensor in zip(copies, initializers, strict=True):
            copy.CopyFrom(tensor)
        del self.graph.initializer[:]
        self.graph.initializer.extend(copies)
        del self.graph.value_info[:]

    # rules: each returns whether it changed the graph

    def _computed(self, node: onnx.NodeProto) -> bool:
        if (
            node.op_type not in _COMPUTED
            or node.domain
            or not node.input
            or node.output[0] in self.outputs
            or id(node) not in self.present
        ):
            return False
        if not all(name in self.constants for name in node.input if name):
            return False
        if sum(self.constants[name].size for name in node.input if name) > _MOST_COMPUTED:
            return False
        names = [name for name in dict.fromkeys(node.input) if name]
        inputs = [
            helper.make_tensor_value_info(
                n, helper.np_dtype_to_tensor_dtype(self.constants[n].dtype), self.constants[n].shape
            )
            for n in names
        ]
        graph = helper.make_graph([node], "constant", inputs, [onnx.ValueInfoProto(name=node.output[0])])
        model = helper.make_model(
            graph, opset_imports=self.proto.opset_import, ir_version=self.proto.ir_version
        )
        (value,) = ReferenceEvaluator(model).run(None, {name: self.constants[name] for name in names})
        self.constants[node.output[0]] = self.changed[node.output[0]] = np.asarray(value)
        self._remove(node)
        return True

    def _identity(self, node: onnx.NodeProto) -> bool:
        if node.domain or id(node) not in self.present:
            return False
        if node.op_type == "Dropout":
            training = node.input[2] if len(node.input) > 2 else ""
            if (training and not (training in self.constants and not self.constants[training].any())) or len(
                node.output
            ) > 1:
                return False
        elif node.op_type != "Identity":
            return False
        source, result = node.input[0], node.output[0]
        if result not in self.outputs:
            for user in self.users.get(result, ()):
                for i, name in enumerate(user.input):
                    if name == result:
                        user.input[i] = source
            self._remove(node)
            return True
        if source in self.maker and self._only_user(source):
            return self._splice(node, source)
        return False

    def _normalization(self, node: onnx.NodeProto) -> bool:
        if (
            node.op_type != "BatchNormalization"
            or node.domain
            or id(node) not in self.present
            or len([n for n in node.output if n]) > 1
        ):
            return False
        attributes = _attributes(node)
        if attributes.get("training_mode", 0) or not all(name in self.constants for name in node.input[1:]):
            return False
        weight, bias, mean, variance = (self.constants[name].astype(np.float64) for name in node.input[1:])
        scale = weight / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        shift = bias - mean * scale
        if self._into_convolution(node, node.input[0], scale, shift):
            return True
        rank = self.rank.get(node.input[0])
        if rank is None:
            return False
        shape = (1, -1, *[1] * (rank - 2))
        result = node.output[0]
        scale_name, shift_name = (
            self._new_constant(f"{result}.{what}", array.astype(np.float32).reshape(shape))
            for what, array in (("scale", scale), ("shift", shift))
        )
        mul = helper.make_node(
            "Mul", [node.input[0], scale_name], [f"{result}.scaled"], name=f"{node.name}.scale"
        )
        add = helper.make_node("Add", [f"{result}.scaled", shift_name], [result], name=f"{node.name}.shift")
        at = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes[at : at + 1] = [mul, add]
        return True

    def _after(self, node: onnx.NodeProto) -> bool:
        """convolution -> Mul, Div, Add or Sub by a constant per channel."""
        found = self._per_channel(node)
        if found is None:
            return False
        source, scale, shift = found
        return self._into_convolution(node, source, scale, shift)

    def _into_convolution(
        self, node: onnx.NodeProto, source: str, scale: np.ndarray, shift: np.ndarray
    ) -> bool:
        """Let the convolution that makes `source` do scale * x + shift, and drop `node`, which did."""
        conv = self.maker.get(source)
        if conv is None or not self._is_convolution(conv) or not self._only_user(source):
            return False
        if not self._scale_outputs(conv, scale, shift):
            return False
        return self._splice(node, source)

    def _gain_behind_activation(self, node: onnx.NodeProto) -> bool:
        """convolution -> (leaky) ReLU -> * g, g > 0: the gain moves before the activation."""
        found = self._per_channel(node)
        if found is None or found[2].any() or not (found[1] > 0).all():
            return False
        act = self.maker.get(found[0])
        if act is None or act.op_type not in _HOMOGENEOUS or act.domain or not self._only_user(act.output[0]):
            return False
        conv = self.maker.get(act.input[0])
        if conv is None or not self._is_convolution(conv) or not self._only_user(act.input[0]):
            return False
        if not self._scale_outputs(conv, found[1], found[2]):
            return False
        return self._splice(node, found[0])

    def _scale_before(self, node: onnx.NodeProto) -> bool:
        """* constant per channel -> convolution of one group. An addition cannot move: the padding would not
        have it."""
        if (
            not self._is_convolution(node)
            or id(node) not in self.present
            or _attributes(node).get("group", 1) != 1
        ):
            return False
        mul = self.maker.get(node.input[0])
        found = self._per_channel(mul) if mul is not None else None
        if mul is None or found is None or found[2].any() or not self._only_user(mul.output[0]):
            return False
        weight = self.constants[node.input[1]].astype(np.float64)
        axis = 1 if node.op_type == "Conv" else 0
        scale = found[1]
        if scale.size != 1 and not scale.size == weight.shape[axis] == self.channels.get(found[0]):
            return False  # or it makes several channels out of one
        shape = [1] * weight.ndim
        shape[axis] = -1
        node.input[1] = self._new_constant(node.input[1], (weight * scale.reshape(shape)).astype(np.float32))
        node.input[0] = found[0]
        self._remove(mul)
        return True

    def _padding(self, node: onnx.NodeProto) -> bool:
        """Pad with zeros along the picture -> Conv with explicit pads."""
        if node.op_type != "Conv" or node.domain or id(node) not in self.present:
            return False
        pad = self.maker.get(node.input[0])
        if (
            pad is None
            or pad.op_type != "Pad"
            or pad.domain
            or not self._only_user(pad.output[0])
            or len(pad.input) > 3
        ):
            return False
        attributes = _attributes(node)
        value = self.constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
        amounts = self.constants.get(pad.input[1])
        if (
            _attributes(pad).get("mode", b"constant") != b"constant"
            or value is None
            or value.any()
            or amounts is None
            or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
        ):
            return False
        amounts, rank = [int(v) for v in amounts], len(amounts) // 2
        if node.input[1] not in self.constants or self.constants[node.input[1]].ndim != rank:
            return False
        if min(amounts) < 0 or any(amounts[axis] or amounts[rank + axis] for axis in (0, 1)):
            return False
        own = (
            attributes.get("pads", [0] * (2 * rank - 4))
            if attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
            else [0] * (2 * rank - 4)
        )
        pads = [a + b for a, b in zip(own, amounts[2:rank] + amounts[rank + 2 :], strict=True)]
        kept = [a for a in node.attribute if a.name not in ("pads", "auto_pad")] + [
            helper.make_attribute("pads", pads)
        ]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.input[0] = pad.input[0]
        self._remove(pad)
        return True

    # convolutions

    def _is_convolution(self, node: onnx.NodeProto) -> bool:
        return (
            node.op_type in _CONVOLUTIONS
            and not node.domain
            and node.input[1] in self.constants
            and self.constants[node.input[1]].dtype == np.float32
            and (len(node.input) < 3 or not node.input[2] or node.input[2] in self.constants)
        )

    def _scale_outputs(self, conv: onnx.NodeProto, scale: np.ndarray, shift: np.ndarray) -> bool:
        """Give a convolution weights and bias of scale * conv(x) + shift (a value per output channel, or
        one); False if they do not fit."""
        weight = self.constants[conv.input[1]].astype(np.float64)
        groups = _attributes(conv).get("group", 1)
        channels = weight.shape[0] if conv.op_type == "Conv" else weight.shape[1] * groups
        if scale.size not in (1, channels) or shift.size not in (1, channels):
            return False
        scale, shift = (
            np.broadcast_to(scale.reshape(-1), channels),
            np.broadcast_to(shift.reshape(-1), channels),
        )
        if conv.op_type == "Conv":
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        else:  # [in, out/groups, ...]: group g of the inputs makes the outputs g * out/groups ...
            per_group = scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
            weight = (weight.reshape(groups, -1, *weight.shape[1:]) * per_group).reshape(weight.shape)
        has_bias = len(conv.input) > 2 and conv.input[2]
        bias = self.constants[conv.input[2]].astype(np.float64) if has_bias else np.zeros(channels)
        bias = bias * scale + shift
        conv.input[1] = self._new_constant(conv.input[1], weight.astype(np.float32))
        if has_bias or bias.any():
            del conv.input[2:]
            conv.input.append(self._new_constant(f"{conv.input[1]}.bias", bias.astype(np.float32)))
        return True

    def _per_channel(self, node: onnx.NodeProto) -> tuple[str, np.ndarray, np.ndarray] | None:
        """(x, scale, shift) where `node` is scale * x + shift with constants per channel (or one for all),
        float64; else None."""
        if node.op_type not in ("Mul", "Div", "Add", "Sub") or node.domain or id(node) not in self.present:
            return None
        a, b = node.input
        if (a in self.constants) == (b in self.constants):
            return None
        source, name = (b, a) if a in self.constants else (a, b)
        array, rank = self.constants[name], self.rank.get(source)
        if (
            array.dtype != np.float32
            or rank is None
            or rank < 3
            or array.ndim > rank
            or (node.op_type == "Div" and name == a)
        ):
            return None
        full = (1,) * (rank - array.ndim) + array.shape
        if any(size != 1 for axis, size in enumerate(full) if axis != 1):
            return None
        value, one, zero = array.astype(np.float64).reshape(-1), np.ones(1), np.zeros(1)
        if node.op_type == "Mul":
            return source, value, zero
        if node.op_type == "Div":
            return (source, 1 / value, zero) if value.all() else None
        if node.op_type == "Add":
            return source, one, value
        return (source, -one, value) if name == a else (source, one, -value)


def _attributes(node: onnx.NodeProto) -> dict:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
