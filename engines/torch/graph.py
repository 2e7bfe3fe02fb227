"""A network for torch: the nodes of an ONNX graph in order, run with the operators of ops.py."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from dinar_live.engines.base import EngineError
from dinar_live.engines.onnx.graph import opset_of

from . import pixel_ops as torch_pixel_ops  # noqa: F401  (joins the table)
from .ops import HOST_INPUTS, OPERATORS, OperatorError


@dataclass(frozen=True)
class _Step:
    """One node, ready to run. `released` are the values that no later step reads."""

    where: str
    function: Callable
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    released: tuple[str, ...]


class TorchGraph:
    """The nodes in order, with the weights on the device. Raises EngineError for what the operator table does
    not cover.

    Shapes, indices and what is read by the host are kept on the CPU: a run never waits for a GPU, so it can
    be captured.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        source: str,
        device: torch.device,
        threads: int,
        channels_last: bool = False,
    ):
        self.device = device
        self.channels_last = channels_last
        self._threads = threads
        self._source = source
        self._output_names = tuple(value.name for value in proto.graph.output)
        opset = opset_of(proto)
        on_host = {
            node.input[at]
            for node in proto.graph.node
            for at in HOST_INPUTS.get(node.op_type, ())
            if at < len(node.input)
        }
        try:
            self._constants = {
                tensor.name: self._tensor(numpy_helper.to_array(tensor), tensor.name in on_host)
                for tensor in proto.graph.initializer
            }
        except (TypeError, ValueError, RuntimeError) as error:  # a type that torch has not
            raise EngineError(
                f"torch cannot hold the weights of {source}: {' '.join(str(error).split())[:400]}"
            ) from error
        last_use = {name: i for i, node in enumerate(proto.graph.node) for name in node.input}
        self._steps = []
        for i, node in enumerate(proto.graph.node):
            where = f"node {node.name or i!r} ({node.op_type})"
            attributes = {a.name: _attribute(a) for a in node.attribute}
            if node.op_type == "Constant" and not node.domain:
                self._constants[node.output[0]] = self._constant(attributes, where, node.output[0] in on_host)
                continue
            if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
                operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
                raise EngineError(
                    f"the torch engine does not know the operator {operator} of {where} in {source}; "
                    "use the openvino engine or add it to engines/torch/ops.py"
                )
            attributes |= {
                "op_type": node.op_type,
                "n_outputs": len(node.output),
                "device": device,
                "tables": {},
            }
            released = tuple(
                name
                for name in dict.fromkeys(node.input)
                if name
                and last_use[name] == i
                and name not in self._output_names
                and name not in self._constants
            )
            function = functools.partial(OPERATORS[node.op_type], attributes, opset)
            self._steps.append(_Step(where, function, tuple(node.input), tuple(node.output), released))

    def _tensor(self, array: np.ndarray, on_host: bool) -> torch.Tensor:
        if array.dtype == "bfloat16":  # numpy knows it only by name, torch.from_numpy not at all
            tensor = torch.from_numpy(array.astype(np.float32)).bfloat16()
        else:
            tensor = torch.from_numpy(np.array(array))  # a copy: onnx hands out views of its buffers
        if not tensor.is_floating_point() or on_host:
            return tensor
        return self.arranged(tensor.to(self.device))

    def arranged(self, tensor: torch.Tensor) -> torch.Tensor:
        """A feature map or weight in the memory order in which convolutions run."""
        return (
            tensor.contiguous(memory_format=torch.channels_last)
            if self.channels_last and tensor.ndim == 4
            else tensor
        )

    def _constant(self, attributes: dict, where: str, on_host: bool) -> torch.Tensor:
        kinds = {
            "value": None,
            "value_float": np.float32,
            "value_floats": np.float32,
            "value_int": np.int64,
            "value_ints": np.int64,
        }
        for key, dtype in kinds.items():
            if key in attributes:
                return self._tensor(np.asarray(attributes[key], dtype), on_host)
        raise EngineError(f"{where}: only constants of numbers are covered, not {', '.join(attributes)}")

    def run(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs for inputs on this device, of the types that the graph gives them; EngineError naming the
        node that fails."""
        values = {name: self.arranged(value) for name, value in inputs.items()}
        threads = torch.get_num_threads()
        if self._threads and self.device.type == "cpu":
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                for step in self._steps:
                    self._run_step(step, values)
                return {
                    name: values[name] if name in values else self._constants[name]
                    for name in self._output_names
                }
        finally:
            if torch.get_num_threads() != threads:  # the setting is the process's, not ours
                torch.set_num_threads(threads)

    def _run_step(self, step: _Step, values: dict[str, torch.Tensor]) -> None:
        arguments = [
            None if not name else values[name] if name in values else self._constants[name]
            for name in step.inputs
        ]
        try:
            results = step.function(*arguments)
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError, OperatorError) as error:
            shapes = ", ".join("none" if x is None else str(tuple(x.shape)) for x in arguments)
            raise EngineError(
                f"{step.where} of {self._source} cannot run on inputs of shape {shapes}: {error}; "
                "are H and W multiples of the network's stride?"
            ) from error
        values.update(zip(step.outputs, results if isinstance(results, tuple) else (results,), strict=False))
        for name in step.released:
            values.pop(name, None)


def _attribute(attribute: onnx.AttributeProto):
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return list(value) if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value
