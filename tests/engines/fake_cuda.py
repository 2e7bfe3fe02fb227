"""A strict fake of cuda.bindings.runtime: device memory is host memory, streams run at once, captures record.

What the real module has not, this has not; what a stream may not do while it is captured, fails here as well.
test_cuda_api.py compares its functions with the real module's.
"""

import ctypes
import enum
import types

import numpy as np


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class cudaStreamCaptureStatus(enum.IntEnum):
    cudaStreamCaptureStatusNone = 0
    cudaStreamCaptureStatusActive = 1


class cudaStreamUpdateCaptureDependenciesFlags(enum.IntEnum):
    cudaStreamSetCaptureDependencies = 1


OK = cudaError_t.cudaSuccess
BAD = cudaError_t.cudaErrorInvalidValue
NOT_IN_CAPTURE = cudaError_t.cudaErrorStreamCaptureUnsupported


class FakeRuntime:
    """Functions return (status, *results) as the real ones do. `fail[name]` = a status makes function `name`
    fail."""

    cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode = cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode
    cudaStreamCaptureStatus = cudaStreamCaptureStatus
    cudaStreamUpdateCaptureDependenciesFlags = cudaStreamUpdateCaptureDependenciesFlags
    cudaStreamNonBlocking = 1
    cudaGraph_t = int

    def __init__(self, name="NVIDIA Fake 1", compute_capability=(9, 0), count=1):
        self.properties = types.SimpleNamespace(
            name=name.encode() + b"\0" * 8,
            major=compute_capability[0],
            minor=compute_capability[1],
            totalGlobalMem=80 << 30,
        )
        self.count, self.fail, self.calls = count, {}, []
        self.memory: dict[int, np.ndarray] = {}  # address -> device or pinned memory
        self.streams: dict[int, list | None] = {}  # handle -> what is being captured, None = nothing
        self.graphs: dict[int, list] = {}
        self.launches = 0
        self._next = 1000

    # for the fakes of what runs on a stream

    def queue(self, stream: int, work) -> bool:
        """Run `work`, or record it where the stream is being captured; False for a stream that does not
        exist."""
        if stream not in self.streams:
            return False
        if self.streams[stream] is None:
            work()
        else:
            self.streams[stream].append(work)
        return True

    def array(self, pointer: int, shape, dtype) -> np.ndarray:
        """The memory at an address; an error if it is not all inside one allocation."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._check(pointer, nbytes)
        return (
            np.ctypeslib.as_array((ctypes.c_ubyte * nbytes).from_address(pointer)).view(dtype).reshape(shape)
        )

    def _check(self, pointer: int, nbytes: int) -> None:
        if not any(
            start <= pointer and pointer + nbytes <= start + block.nbytes
            for start, block in self.memory.items()
        ):
            raise AssertionError(f"{nbytes} bytes at {pointer:#x} are in no allocation")

    def _handle(self) -> int:
        self._next += 1
        return self._next

    def _status(self, name: str, *, in_capture: bool = True) -> cudaError_t:
        self.calls.append(name)
        if not in_capture and any(recorded is not None for recorded in self.streams.values()):
            return NOT_IN_CAPTURE
        return self.fail.get(name, OK)

    def _allocate(self, name: str, size: int):
        status = self._status(name, in_capture=False)
        if status:
            return status, None
        block = np.full(size, 0xAB, np.uint8)  # memory is not zero when one gets it
        self.memory[block.ctypes.data] = block
        return OK, block.ctypes.data

    def _free(self, name: str, pointer: int):
        self.calls.append(name)
        return (OK,) if self.memory.pop(pointer, None) is not None else (BAD,)

    # the runtime's functions

    def cudaGetErrorString(self, error):
        return OK, error.name.encode()

    def cudaGetDeviceCount(self):
        return self._status("cudaGetDeviceCount"), self.count

    def cudaSetDevice(self, device):
        return (self._status("cudaSetDevice") if 0 <= device < self.count else BAD,)

    def cudaGetDeviceProperties(self, device):
        return self._status("cudaGetDeviceProperties"), self.properties

    def cudaMalloc(self, size):
        return self._allocate("cudaMalloc", size)

    def cudaFree(self, devPtr):
        return self._free("cudaFree", devPtr)

    def cudaMallocHost(self, size):
        return self._allocate("cudaMallocHost", size)

    def cudaFreeHost(self, ptr):
        return self._free("cudaFreeHost", ptr)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        device = dst if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else src
        self._check(device, count)
        status = self._status("cudaMemcpyAsync")
        if status:
            return (status,)
        return (OK,) if self.queue(stream, lambda: ctypes.memmove(dst, src, count)) else (BAD,)

    def cudaStreamCreateWithFlags(self, flags):
        status = self._status("cudaStreamCreateWithFlags", in_capture=False)
        if status or flags != self.cudaStreamNonBlocking:
            return status or BAD, None
        handle = self._handle()
        self.streams[handle] = None
        return OK, handle

    def cudaStreamDestroy(self, stream):
        self.calls.append("cudaStreamDestroy")
        return (OK,) if self.streams.pop(stream, 0) is None else (BAD,)

    def cudaStreamSynchronize(self, stream):
        return (self._status("cudaStreamSynchronize", in_capture=False) if stream in self.streams else BAD,)

    def cudaStreamIsCapturing(self, stream):
        if stream not in self.streams:
            return BAD, None
        return self._status("cudaStreamIsCapturing"), cudaStreamCaptureStatus(
            self.streams[stream] is not None
        )

    def cudaStreamBeginCapture(self, stream, mode):
        status = self._status("cudaStreamBeginCapture", in_capture=False)
        if not status:
            self.streams[stream] = []
        return (status,)

    def cudaStreamEndCapture(self, stream):
        recorded, self.streams[stream] = self.streams[stream], None
        status = self._status("cudaStreamEndCapture")
        if recorded is None or status:
            return status or BAD, None
        handle = self._handle()
        self.graphs[handle] = recorded
        return OK, handle

    def cudaStreamGetCaptureInfo(self, stream):
        recorded = self.streams[stream]
        active = cudaStreamCaptureStatus(recorded is not None)
        return self._status("cudaStreamGetCaptureInfo"), active, 7, recorded, [len(recorded)], [], 1

    def cudaGraphAddChildGraphNode(self, graph, pDependencies, numDependencies, childGraph):
        assert pDependencies == [len(graph)] and numDependencies == 1
        graph.extend(self.graphs[childGraph])
        return self._status("cudaGraphAddChildGraphNode"), 99

    def cudaStreamUpdateCaptureDependencies(
        self, stream, dependencies, dependencyData, numDependencies, flags
    ):
        assert dependencies == [99] and dependencyData is None and numDependencies == 1 and flags == 1
        return (self._status("cudaStreamUpdateCaptureDependencies"),)

    def cudaGraphInstantiate(self, graph, flags):
        status = self._status("cudaGraphInstantiate")
        if status:
            return status, None
        handle = self._handle()
        self.graphs[handle] = list(self.graphs[graph])
        return OK, handle

    def cudaGraphLaunch(self, graphExec, stream):
        status = self._status("cudaGraphLaunch")
        if status:
            return (status,)
        self.launches += 1
        for work in self.graphs[graphExec]:
            if not self.queue(stream, work):
                return (BAD,)
        return (OK,)

    def cudaGraphExecDestroy(self, graphExec):
        self.calls.append("cudaGraphExecDestroy")
        return (OK,) if self.graphs.pop(graphExec, None) is not None else (BAD,)

    def cudaGraphDestroy(self, graph):
        self.calls.append("cudaGraphDestroy")
        return (OK,) if self.graphs.pop(graph, None) is not None else (BAD,)
