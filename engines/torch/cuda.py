"""Sessions of the torch engine on a GPU: one CUDA graph per size, captured after an eager run and checked
against it.

torch's allocator may not be used while somebody else captures: the memory would be given away again. So a
session captures its own graph, whose memory torch keeps for it, and `enqueue_on` launches that; on a stream
that is being captured it becomes a child of the other graph.
"""

import logging

import numpy as np
import torch

from dinar_live.engines.base import Buffers, DeviceSession, DeviceTensor, EngineError, Session
from dinar_live.engines.gpu import cuda_errors
from dinar_live.engines.replay_check import replay_problem
from dinar_live.kernels.cuda import embed, no_captures

from .graph import TorchGraph

_DTYPE = {"float32": torch.float32, "float16": torch.float16}
_log = logging.getLogger(__name__)


class Cuda:
    """What the sessions use of torch.cuda and of the CUDA layer, in one place."""

    def __init__(self, device: torch.device):
        self.device = device

    def stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self.device)

    def reserved(self) -> int:
        """Bytes that torch holds of the GPU's memory, pools of graphs included."""
        return torch.cuda.memory_reserved(self.device)

    def existing(self, handle: int) -> torch.cuda.Stream:
        return torch.cuda.ExternalStream(handle, device=self.device)

    def settle(self) -> None:
        """Wait until everything queued so far is done: our streams do not wait for the default stream, which
        filled the weights."""
        with no_captures():
            torch.cuda.synchronize(self.device)

    def on(self, stream):
        """Context in which torch queues on `stream`."""
        return torch.cuda.stream(stream)

    def is_capturing(self) -> bool:
        return torch.cuda.is_current_stream_capturing()

    def capture(self, stream, work):
        """Graph (replay(), raw_cuda_graph()) of what `work` queues; RuntimeError if it cannot be captured."""
        graph = torch.cuda.CUDAGraph(keep_graph=True)
        with no_captures(), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()  # entering waits for the device, which would end another capture
        graph.instantiate()
        return graph

    def embed(self, handle: int, graph) -> None:
        with cuda_errors():
            embed(handle, graph.raw_cuda_graph())

    def pinned(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.zeros(shape, pin_memory=True)


def _described(tensors: dict[str, torch.Tensor], io: str) -> Buffers:
    return Buffers({name: DeviceTensor(t.data_ptr(), tuple(t.shape), io) for name, t in tensors.items()})


class TorchDeviceSession(DeviceSession):
    """See DeviceSession. mode: "graph", or "eager: " and why there is no graph."""

    def __init__(
        self, graph: TorchGraph, shapes: dict[str, tuple[int, ...]], io: str, cuda: Cuda | None = None
    ):
        self._network: TorchGraph | None = graph
        self._cuda = cuda or Cuda(graph.device)
        before = self._cuda.reserved()
        self.device = graph.device.index or 0
        self._stream = self._cuda.stream()
        self._cuda.settle()
        # cuDNN times its algorithms for these shapes here; the capture takes what was fastest
        with self._cuda.on(self._stream), torch.backends.cudnn.flags(enabled=True, benchmark=True):
            self._in = {
                name: torch.zeros(shape, dtype=_DTYPE[io], device=graph.device)
                for name, shape in shapes.items()
            }
            results = graph.run(self._in)
            self._out = {
                name: torch.zeros(tuple(value.shape), dtype=_DTYPE[io], device=graph.device)
                for name, value in results.items()
            }
            del results
            self._eager()  # once more: cuDNN has chosen its algorithms, tables are on the device
        self._stream.synchronize()
        self._graph, self.mode = self._captured()
        self.inputs = _described(self._in, io)
        self.outputs = _described(self._out, io)
        self.memory = max(0, self._cuda.reserved() - before)

    def _eager(self) -> None:
        assert self._network is not None  # enqueue_on has looked
        for name, value in self._network.run(self._in).items():
            self._out[name].copy_(value)

    def _captured(self):
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=True):
                graph = self._cuda.capture(self._stream, self._eager)
        except (
            RuntimeError,
            TypeError,
            EngineError,
        ) as error:  # TypeError: torch before 2.8 cannot keep the graph
            problem = f"the network cannot be captured ({' '.join(str(error).split())[:300]})"
        else:
            problem = replay_problem(
                {name: tuple(x.shape) for name, x in self._in.items()},
                lambda x: self._run(x, self._eager),
                lambda x: self._run(x, graph.replay),
            )
            if not problem:
                return graph, "graph"
            problem = f"the graph was not trusted: {problem}"
        _log.warning("torch on %s: %s; running eagerly", f"cuda:{self.device}", problem)
        return None, f"eager: {problem}"

    def _run(self, inputs: dict[str, np.ndarray], work) -> dict[str, np.ndarray]:
        with self._cuda.on(self._stream):
            for name, array in inputs.items():
                self._in[name].copy_(torch.from_numpy(array))
            work()
            return {
                name: value.float().cpu().numpy().copy() for name, value in self._out.items()
            }  # .cpu() waits

    def warm_up(self, stream: int) -> None:
        self.enqueue_on(stream)
        self._cuda.existing(stream).synchronize()

    def enqueue_on(self, stream: int) -> None:
        if self._network is None:
            raise EngineError("this session is closed; compile another one")
        with self._cuda.on(self._cuda.existing(stream)):
            try:
                if not self._cuda.is_capturing():
                    self._graph.replay() if self._graph is not None else self._eager()
                elif self._graph is not None:
                    self._cuda.embed(stream, self._graph)
                else:
                    raise EngineError(
                        f"this session cannot become part of a CUDA graph ({self.mode}); enqueue it between two graphs"
                    )
            except RuntimeError as error:
                raise EngineError(
                    f"torch cannot queue a run on the GPU: {' '.join(str(error).split())[:400]}"
                ) from error

    def close(self) -> None:
        self._graph = self._network = None
        self._in.clear()
        self._out.clear()


class TorchCudaSession(Session):
    """Arrays in page-locked memory; copies in, the run and the copies back are queued on a stream of the
    session's own."""

    def __init__(self, graph: TorchGraph, shapes: dict[str, tuple[int, ...]], cuda: Cuda | None = None):
        self._device_session = TorchDeviceSession(graph, shapes, "float32", cuda)
        self._cuda = self._device_session._cuda
        self._stream = self._cuda.stream()
        self._handle = self._stream.cuda_stream
        inputs, outputs = self._device_session.inputs, self._device_session.outputs
        self._in = {name: self._cuda.pinned(tensor.shape) for name, tensor in inputs.items()}
        self._out = {name: self._cuda.pinned(tensor.shape) for name, tensor in outputs.items()}
        super().__init__(
            {name: t.numpy() for name, t in self._in.items()},
            {name: t.numpy() for name, t in self._out.items()},
        )
        self.mode = self._device_session.mode

    def _start(self) -> None:
        session = self._device_session
        with self._cuda.on(self._stream):
            for name, tensor in self._in.items():
                session._in[name].copy_(tensor, non_blocking=True)
            session.enqueue_on(self._handle)
            for name, tensor in self._out.items():
                tensor.copy_(session._out[name], non_blocking=True)

    def _wait(self) -> None:
        try:
            self._stream.synchronize()
        except RuntimeError as error:
            raise EngineError(f"a run on the GPU failed: {' '.join(str(error).split())[:400]}") from error
