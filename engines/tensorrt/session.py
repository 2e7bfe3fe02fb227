"""Sessions of the TensorRT engine: on the GPU's memory, or on arrays of the host with a CUDA graph of copy,
run and copy."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dinar_live.engines.base import Buffers, DeviceSession, DeviceTensor, EngineError, Session
from dinar_live.engines.gpu import cuda_errors
from dinar_live.engines.replay_check import replay_problem

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import Device, DeviceArray, Graph, Scratch

    from .library import Plan

_log = logging.getLogger(__name__)


class TensorRTDeviceSession(DeviceSession):
    """See DeviceSession. One execution context; its tensors are bound once, by name. scratch: what it holds of memory
    besides the plan's weights comes from there."""

    def __init__(self, device: Device, plan: Plan, scratch: Scratch | None = None):
        self._device = device
        self._plan = plan
        self._scratch = scratch
        self._layers: DeviceArray | None = None
        self.memory = plan.size
        self.device = device.index
        self.arrays: dict[str, DeviceArray] = {}
        self._context: Any = None
        plan.log.take()
        try:
            with cuda_errors():
                device.make_current()
                context = plan.library.open_context(plan, scratch is not None)
                if context is None:
                    raise plan.log.failure(
                        "TensorRT cannot make an execution context (is the GPU's memory full?)"
                    )
                if scratch is not None and (size := int(plan.engine.device_memory_size_v2)):
                    self._layers = scratch.take("TensorRT", (size,), np.uint8)
                    context.set_device_memory(self._layers.pointer, size)
                tensors = self._bind(context)
                self._context = context
        except BaseException:
            self.close()
            raise
        trt = plan.library.trt
        self.inputs = Buffers(tensors[trt.TensorIOMode.INPUT])
        self.outputs = Buffers(tensors[trt.TensorIOMode.OUTPUT])

    def _bind(self, context) -> dict:
        """Memory for every tensor of the plan, made known to `context`: DeviceTensors by mode (input or
        output) and name."""
        engine, plan = self._plan.engine, self._plan
        trt = plan.library.trt
        dtypes = {trt.DataType.FLOAT: "float32", trt.DataType.HALF: "float16"}
        tensors = {trt.TensorIOMode.INPUT: {}, trt.TensorIOMode.OUTPUT: {}}
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            dtype = dtypes.get(engine.get_tensor_dtype(name))
            shape = tuple(int(dim) for dim in engine.get_tensor_shape(name))
            if dtype is None or any(dim < 1 for dim in shape):
                raise EngineError(
                    f"tensor {name!r} of the plan is {engine.get_tensor_dtype(name)} {shape}; expected float32 or "
                    "float16 and a fixed shape"
                )
            if engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
                raise EngineError(
                    f"tensor {name!r} of the plan has the format {engine.get_tensor_format(name)}; expected LINEAR"
                )
            array = self.arrays[name] = self._memory(name, shape, dtype)
            if not context.set_tensor_address(name, array.pointer):
                raise plan.log.failure(f"TensorRT does not accept the memory of tensor {name!r}")
            tensors[engine.get_tensor_mode(name)][name] = DeviceTensor(array.pointer, shape, dtype)
        return tensors

    def _memory(self, name: str, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        if self._scratch is not None:
            return self._scratch.take(f"tensor {name}", shape, dtype)
        array = self._device.empty(shape, dtype)
        self.memory += array.nbytes
        return array

    def warm_up(self, stream: int) -> None:
        self.enqueue_on(stream)
        with cuda_errors():
            self._device.existing_stream(stream).synchronize()
        refused = self._plan.library.ran(self._plan, self._context, stream)
        if refused:
            self.mode = f"eager: {refused}"

    def enqueue_on(self, stream: int) -> None:
        context = self._context
        if context is None:
            raise EngineError("this session is closed; compile another one")
        if stream == 0:
            raise EngineError(
                "the default stream (0) would make TensorRT wait for the whole GPU; give a stream of your own"
            )
        with cuda_errors():
            self._device.make_current()
        if not context.execute_async_v3(stream):
            raise self._plan.log.failure("TensorRT could not queue a run")

    def close(self) -> None:
        self._context = self._layers = None
        while self.arrays:
            array = self.arrays.popitem()[1]
            if self._scratch is None:
                array.free()


class TensorRTSession(Session):
    """Arrays in page-locked memory. mode: "graph" (copy, run and copy back are one launch), or "eager: " and
    why there is no graph."""

    def __init__(self, device: Device, plan: Plan):
        self._device = device
        self._device_session = session = TensorRTDeviceSession(device, plan)
        self._graph: Graph | None = None
        with cuda_errors():
            self._stream = device.stream()
            super().__init__(
                {name: device.pinned(tensor.shape, np.float32) for name, tensor in session.inputs.items()},
                {name: device.pinned(tensor.shape, np.float32) for name, tensor in session.outputs.items()},
            )
        for name, tensor in (*session.inputs.items(), *session.outputs.items()):
            if tensor.dtype != "float32":
                raise EngineError(
                    f"tensor {name!r} of the plan is {tensor.dtype}; a session on host arrays needs a plan with float32"
                )
        with cuda_errors():
            self._graph, self.mode = self._captured()
        for array in (*self.inputs.values(), *self.outputs.values()):
            array.fill(0)  # of the trial runs

    def _queue(self) -> None:
        session = self._device_session
        for name, array in self.inputs.items():
            session.arrays[name].copy_from(array, self._stream)
        session.enqueue_on(self._stream.handle)
        for name, array in self.outputs.items():
            session.arrays[name].copy_to(array, self._stream)

    def _captured(self) -> tuple[Graph | None, str]:
        """A trusted graph and "graph", or None and why: the engine then runs eagerly, which is slower by some
        microseconds."""
        self._device_session.warm_up(
            self._stream.handle
        )  # what happens only once must not happen in the capture
        self._run({}, self._queue)
        if self._device_session.mode != "graph":
            return None, self._device_session.mode
        try:
            with cuda_errors(), self._stream.capture() as graph:
                self._queue()
        except EngineError as error:
            problem = f"the run cannot be captured ({error})"
        else:
            problem = replay_problem(
                {name: array.shape for name, array in self.inputs.items()},
                lambda x: self._run(x, self._queue),
                lambda x: self._run(x, lambda: graph.launch(self._stream)),
            )
            if not problem:
                return graph, "graph"
            graph.close()
            problem = f"the graph was not trusted: {problem}"
        _log.warning("TensorRT on %s: %s; running eagerly", self._device.name, problem)
        return None, f"eager: {problem}"

    def _run(self, inputs: dict[str, np.ndarray], work: Callable[[], None]) -> dict[str, np.ndarray]:
        for name, array in inputs.items():
            self.inputs[name][...] = array
        for array in self.outputs.values():
            array.fill(np.nan)  # what is not written shows
        work()
        self._stream.synchronize()
        return {name: array.copy() for name, array in self.outputs.items()}

    def _start(self) -> None:
        with cuda_errors():
            self._device.make_current()
            if self._graph is not None:
                self._graph.launch(self._stream)
            else:
                self._queue()

    def _wait(self) -> None:
        with cuda_errors():
            self._device.make_current()
            self._stream.synchronize()

    def __del__(self):
        if getattr(self, "_pending", False):  # it still writes into arrays that are about to be freed
            with contextlib.suppress(
                Exception
            ):  # nobody can handle an error here, and the process may be ending
                self._wait()
