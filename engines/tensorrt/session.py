"""Sessions of the TensorRT engine: on the GPU's memory, or on arrays of the host with a CUDA graph of copy,
run and copy."""

import logging

import numpy as np
import tensorrt as trt

from dinar_live.engines.base import Buffers, DeviceSession, DeviceTensor, EngineError, Session
from dinar_live.engines.nvidia import Gpu, Graph
from dinar_live.engines.replay_check import replay_problem

_DTYPES = {trt.DataType.FLOAT: "float32", trt.DataType.HALF: "float16"}
_log = logging.getLogger(__name__)


class TensorRTDeviceSession(DeviceSession):
    """See DeviceSession. One execution context; its tensors are bound once, by name."""

    def __init__(self, gpu: Gpu, plan):
        self._gpu, self._plan, self.device = gpu, plan, gpu.index
        self._memory: list[int] = []
        gpu.activate()
        plan.log.take()
        engine = plan.engine
        context = engine.create_execution_context()
        if context is None:
            raise plan.log.failure("TensorRT cannot make an execution context (is the GPU's memory full?)")
        self._context = context
        tensors = {trt.TensorIOMode.INPUT: {}, trt.TensorIOMode.OUTPUT: {}}
        try:
            for i in range(engine.num_io_tensors):
                name = engine.get_tensor_name(i)
                dtype = _DTYPES.get(engine.get_tensor_dtype(name))
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
                tensor = DeviceTensor(self._malloc(DeviceTensor(0, shape, dtype).nbytes), shape, dtype)
                if not context.set_tensor_address(name, tensor.pointer):
                    raise plan.log.failure(f"TensorRT does not accept the memory of tensor {name!r}")
                tensors[engine.get_tensor_mode(name)][name] = tensor
        except BaseException:
            self.close()
            raise
        self.inputs, self.outputs = (
            Buffers(tensors[trt.TensorIOMode.INPUT]),
            Buffers(tensors[trt.TensorIOMode.OUTPUT]),
        )

    def _malloc(self, nbytes: int) -> int:
        self._memory.append(self._gpu.malloc(nbytes))
        return self._memory[-1]

    def warm_up(self, stream: int) -> None:
        self.enqueue_on(stream)
        self._gpu.synchronize(stream)

    def enqueue_on(self, stream: int) -> None:
        context = self._context
        if context is None:
            raise EngineError("this session is closed; compile another one")
        if stream == 0:
            raise EngineError(
                "the default stream (0) would make TensorRT wait for the whole GPU; give a stream of your own"
            )
        self._gpu.activate()
        if not context.execute_async_v3(stream):
            raise self._plan.log.failure("TensorRT could not queue a run")

    def close(self) -> None:
        self._context = None
        while self._memory:
            self._gpu.free(self._memory.pop())

    def __del__(self):
        memory, gpu = getattr(self, "_memory", ()), getattr(self, "_gpu", None)
        for pointer in memory:
            gpu.release("cudaFree", pointer)


class TensorRTSession(Session):
    """Arrays in page-locked memory. mode: "graph" (copy, run and copy back are one launch), or "eager: " and
    why there is no graph."""

    def __init__(self, gpu: Gpu, plan):
        self._gpu = gpu
        self._device_session = session = TensorRTDeviceSession(gpu, plan)
        self._graph: Graph | None = None
        self._stream = gpu.stream()
        super().__init__(
            {name: gpu.pinned(tensor.shape) for name, tensor in session.inputs.items()},
            {name: gpu.pinned(tensor.shape) for name, tensor in session.outputs.items()},
        )
        for name, tensor in (*session.inputs.items(), *session.outputs.items()):
            if tensor.dtype != "float32":
                raise EngineError(
                    f"tensor {name!r} of the plan is {tensor.dtype}; a session on host arrays needs a plan with float32"
                )
        self._graph, self.mode = self._captured()
        for array in (*self.inputs.values(), *self.outputs.values()):
            array.fill(0)  # of the trial runs

    def _queue(self) -> None:
        session = self._device_session
        for name, array in self.inputs.items():
            self._gpu.upload(session.inputs[name].pointer, array, self._stream)
        session.enqueue_on(self._stream)
        for name, array in self.outputs.items():
            self._gpu.download(array, session.outputs[name].pointer, self._stream)

    def _captured(self) -> tuple[Graph | None, str]:
        """A trusted graph and "graph", or None and why: the engine then runs eagerly, which is slower by some
        microseconds."""
        self._run({}, self._queue)  # whatever happens only once must not happen in the capture
        try:
            graph = self._gpu.capture(self._stream, self._queue)
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
        _log.warning("TensorRT on %s: %s; running eagerly", self._gpu.info.name, problem)
        return None, f"eager: {problem}"

    def _run(self, inputs: dict[str, np.ndarray], work) -> dict[str, np.ndarray]:
        for name, array in inputs.items():
            self.inputs[name][...] = array
        for array in self.outputs.values():
            array.fill(np.nan)  # what is not written shows
        work()
        self._gpu.synchronize(self._stream)
        return {name: array.copy() for name, array in self.outputs.items()}

    def _start(self) -> None:
        self._gpu.activate()
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._queue()

    def _wait(self) -> None:
        self._gpu.synchronize(self._stream)

    def __del__(self):
        gpu, stream = getattr(self, "_gpu", None), getattr(self, "_stream", None)
        if stream is None:
            return
        if getattr(self, "_pending", False):
            gpu.release(
                "cudaStreamSynchronize", stream
            )  # it still writes into arrays that are about to be freed
        if self._graph is not None and self._graph.executable is not None:
            gpu.release("cudaGraphExecDestroy", self._graph.executable)
        gpu.release("cudaStreamDestroy", stream)
