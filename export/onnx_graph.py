"""An ONNX graph under construction: what the writers of our networks share. No torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper


class Graph:
    """Nodes and weights in the order they were added; every method returns the name of what it made."""

    def __init__(self):
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def constant(self, name: str, array) -> str:
        """A tensor of the file."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        """An operator with one output, of the same name."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def split(self, x: str, name: str, parts: list[str], sizes: str) -> None:
        """x cut along its channels into `parts`; `sizes` is the constant that says how many each gets."""
        self.nodes.append(helper.make_node("Split", [x, sizes], parts, name=name, axis=1))

    def save(
        self,
        name: str,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        opset: int,
        ir_version: int,
    ) -> bytes:
        """The file. inputs, outputs: name -> channels of a float32 [N,channels,H,W]; N, H, W symbolic."""
        graph = helper.make_graph(self.nodes, name, _values(inputs), _values(outputs), self.weights)
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=ir_version, producer_name="dinar-live"
        )
        return model.SerializeToString()


def _values(channels: Mapping[str, int]) -> list[ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, "H", "W"])
        for name, count in channels.items()
    ]
