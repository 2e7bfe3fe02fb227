"""torch: walks the ONNX graph with the operators of torch_ops.py. The reference for other engines; float32 on the CPU, float16 on a GPU.

Slower than OpenVINO on a CPU and it allocates its intermediates, but every step is readable and errors name the node.
"""
import functools
import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from .base import Engine, EngineError, EngineInfo, Session, aligned_zeros, static_input_shapes
from .onnx_file import OnnxFile
from .torch_ops import OPERATORS, OperatorError

_OLDEST_OPSET = 13   # from here on axes are inputs and Softmax has its present meaning
_DTYPE = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def open_engine(model: OnnxFile, precision: str, threads: int, reason: str, *, device: str = "auto") -> Engine:
    """Engine for one model; device: "auto" (a GPU if torch sees one), "cpu" or "cuda"."""
    return TorchEngine(model, precision, threads, reason, device)


@dataclass(frozen=True)
class _Step:
    """One node, ready to run. `released` are the values that no later step reads."""

    where: str
    function: Callable
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    released: tuple[str, ...]


class TorchEngine(Engine):
    """See `create_engine`."""

    def __init__(self, model: OnnxFile, precision: str, threads: int, reason: str, device: str):
        if device not in ("auto", "cpu", "cuda"):
            raise EngineError(f"device {device!r} is unknown; choose auto, cpu or cuda")
        has_gpu = torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            raise EngineError("device cuda was asked for, but torch sees no GPU: install a driver and a CUDA build of torch, or use cpu")
        on_gpu = has_gpu and device != "cpu"
        if precision == "auto":
            precision, why = ("f16", "a GPU") if on_gpu else ("f32", "the reference on a CPU")
        else:
            why = "asked for"
        if not on_gpu and precision != "f32":
            raise EngineError(f"precision {precision} of the torch engine needs a GPU; on the CPU it computes in f32 only: "
                              "use f32 or the openvino engine")
        self.inputs, self.outputs = model.inputs, model.outputs
        self._graph = TorchGraph(model, torch.device("cuda" if on_gpu else "cpu"), _DTYPE[precision], threads)
        name = torch.cuda.get_device_name() if on_gpu else f"CPU ({platform.processor() or platform.machine()})"
        version, used = importlib.metadata.version("torch"), threads or torch.get_num_threads()
        self.info = EngineInfo("torch", version, name, precision, used, f"{reason}; {precision}: {why}")

    def compile(self, size: tuple[int, int, int]) -> Session:
        if self._graph is None:
            raise EngineError("this engine is closed; create another one")
        shapes = static_input_shapes(self.inputs, size)
        graph = self._graph
        trial = graph.run({name: torch.zeros(shape, device=graph.device, dtype=graph.dtype) for name, shape in shapes.items()})
        return TorchSession(graph, shapes, {name: tuple(value.shape) for name, value in trial.items()})

    def close(self) -> None:
        self._graph = None


class TorchGraph:
    """The nodes in order, with the weights on the device. Raises EngineError for what the operator table does not cover."""

    def __init__(self, model: OnnxFile, device: torch.device, dtype: torch.dtype, threads: int):
        self.device, self.dtype = device, dtype
        self._threads, self._source, self._output_names = threads, model.source, tuple(model.outputs)
        try:
            proto = onnx.load_model_from_string(model.data)
            onnx.checker.check_model(proto)
            self._constants = {tensor.name: self._tensor(numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer}
        except Exception as error:   # protobuf, checker and numpy raise types without a common base; any of them means a broken file
            raise EngineError(f"onnx cannot read {model.source}: {' '.join(str(error).split())[:400]}") from error
        opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
        if opset < _OLDEST_OPSET:
            raise EngineError(f"{model.source} uses opset {opset}; the torch engine needs {_OLDEST_OPSET} or newer: export it again")
        last_use = {name: i for i, node in enumerate(proto.graph.node) for name in node.input}
        self._steps = []
        for i, node in enumerate(proto.graph.node):
            where = f"node {node.name or i!r} ({node.op_type})"
            attributes = {a.name: _attribute(a) for a in node.attribute}
            if node.op_type == "Constant" and not node.domain:
                self._constants[node.output[0]] = self._constant(attributes, where)
                continue
            if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
                operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
                raise EngineError(f"the torch engine does not know the operator {operator} of {where} in {model.source}; "
                                  "use the openvino engine or add it to torch_ops.py")
            attributes |= {"op_type": node.op_type, "n_outputs": len(node.output), "device": device, "float": dtype}
            released = tuple(name for name in dict.fromkeys(node.input)
                             if name and last_use[name] == i and name not in self._output_names and name not in self._constants)
            function = functools.partial(OPERATORS[node.op_type], attributes, opset)
            self._steps.append(_Step(where, function, tuple(node.input), tuple(node.output), released))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(array))   # a copy: onnx hands out views of its buffers
        if not tensor.is_floating_point():
            return tensor
        tensor = tensor.to(self.device, self.dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if self.device.type == "cuda" and tensor.ndim == 4 else tensor

    def _constant(self, attributes: dict, where: str) -> torch.Tensor:
        kinds = {"value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        for key, dtype in kinds.items():
            if key in attributes:
                return self._tensor(np.asarray(attributes[key], dtype))
        raise EngineError(f"{where}: only constants of numbers are covered, not {', '.join(attributes)}")

    def run(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs for inputs on this device, in this precision; EngineError naming the node that fails."""
        values = dict(inputs)
        threads = torch.get_num_threads()
        if self._threads and self.device.type == "cpu":
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                for step in self._steps:
                    self._run_step(step, values)
                return {name: values[name] if name in values else self._constants[name] for name in self._output_names}
        finally:
            if torch.get_num_threads() != threads:   # the setting is the process's, not ours
                torch.set_num_threads(threads)

    def _run_step(self, step: _Step, values: dict[str, torch.Tensor]) -> None:
        arguments = [None if not name else values[name] if name in values else self._constants[name] for name in step.inputs]
        try:
            results = step.function(*arguments)
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError, OperatorError) as error:
            shapes = ", ".join("none" if x is None else str(tuple(x.shape)) for x in arguments)
            raise EngineError(f"{step.where} of {self._source} cannot run on inputs of shape {shapes}: {error}; "
                              "are H and W multiples of the network's stride?") from error
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


class TorchSession(Session):
    """Runs at once on a CPU; on a GPU copies, kernels and the copy back are queued on the current stream."""

    def __init__(self, graph: TorchGraph, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]):
        self._graph = graph
        self._on_gpu = graph.device.type == "cuda"
        self._in = {name: self._buffer(shape) for name, shape in inputs.items()}
        self._out = {name: self._buffer(shape) for name, shape in outputs.items()}
        super().__init__({name: t.numpy() for name, t in self._in.items()}, {name: t.numpy() for name, t in self._out.items()})

    def _buffer(self, shape: tuple[int, ...]) -> torch.Tensor:
        # copies to and from a GPU are asynchronous only for page-locked memory
        return torch.zeros(shape, pin_memory=True) if self._on_gpu else torch.from_numpy(aligned_zeros(shape))

    def _start(self) -> None:
        graph = self._graph
        values = {name: t.to(graph.device, graph.dtype, non_blocking=True) for name, t in self._in.items()}
        if self._on_gpu:
            values = {name: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for name, t in values.items()}
        for name, value in graph.run(values).items():
            self._out[name].copy_(value, non_blocking=True)

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.current_stream(self._graph.device).synchronize()
