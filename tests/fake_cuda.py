"""A strict stand-in for a GPU: the devices, streams, arrays, events and graphs of kernels.cuda, memory in the
host, work done when it is waited for.

What would be wrong on a GPU is an error here: waiting or allocating during a capture, reading memory that was
freed or is too small, host memory that is not page-locked, launching before the context is current. What is
put on a stream runs at the next synchronization, so a missing one shows, and a graph keeps addresses, not
values. tests/engines/test_cuda_api.py compares it with the real layer.
"""

import contextlib
import itertools
import math
import threading
import weakref

import numpy as np

from dinar_live.kernels import cuda as real
from dinar_live.kernels.cuda import CaptureBusy, CudaError
from dinar_live.kernels.cuda.device import missing_gpu


class FakeCuda:
    """In place of kernels.cuda. faults: names of operations that fail; log: every operation, in the order of
    running; launches: of graphs."""

    CudaError, CaptureBusy = CudaError, CaptureBusy

    def __init__(self, name="Fake GPU", compute_capability=(9, 0)):
        self.name, self.compute_capability = name, compute_capability
        self.faults: set[str] = set()
        self.log: list[str] = []
        self.memory: dict[int, weakref.ref] = {}
        self.pinned: dict[int, weakref.ref] = {}
        self.streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self.capturing: Stream | None = None
        self.graphs: list[Operations] = []
        self.launches = 0
        self.busy = False  # another thread captures
        self.stale_graphs = False  # graphs that keep the values of their capture, as a broken engine's would
        self.handles = itertools.count(0x5000, 16)

    def Device(self, index=0):
        return Device(self, index)

    def held(self) -> int:
        """How many blocks of memory are held, on the device and page-locked."""
        blocks = (*self.memory.values(), *self.pinned.values())
        return sum(reference() is not None for reference in blocks)

    def fault(self, name: str) -> None:
        if name in self.faults:
            raise CudaError(f"{name}: CUDA_ERROR_UNKNOWN (made to fail)")

    def not_capturing(self, what: str) -> None:
        if self.capturing is not None:
            raise CudaError(
                f"{what}: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED (operation not permitted when stream is capturing)"
            )

    def queue(self, handle: int, name: str, work) -> bool:
        """Put `work` of an engine on the stream of this handle; False if there is none."""
        stream = self.streams.get(handle)
        if stream is not None:
            stream.put(name, work)
        return stream is not None

    def at(self, pointer: int, shape, dtype) -> np.ndarray:
        """The device memory at an address; CudaError if it is not (or no longer) all there."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        for base, reference in self.memory.items():
            block = reference()
            if block is not None and base <= pointer and pointer + nbytes <= base + block.nbytes:
                return block[pointer - base : pointer - base + nbytes].view(dtype).reshape(shape)
        raise CudaError(f"CUDA_ERROR_ILLEGAL_ADDRESS: {nbytes} bytes at {pointer:#x}")

    def allocate(self, nbytes: int) -> np.ndarray:
        self.not_capturing("cuMemAlloc")
        self.fault("allocate")
        block = np.frombuffer(
            np.random.default_rng(0).bytes(max(nbytes, 16)), np.uint8
        ).copy()  # not zeros: memory is not
        self.memory[block.ctypes.data] = weakref.ref(block)
        return block


class Device:
    arch, memory, multiprocessors, driver_version = "sm_90", 80 << 30, 132, (13, 0)

    def __init__(self, cuda: FakeCuda, index: int):
        if index != 0:
            raise CudaError(missing_gpu(index, 1))
        self.cuda, self.index = cuda, index
        self.name, self.compute_capability = cuda.name, cuda.compute_capability
        self._current = threading.local()
        self.make_current()

    def make_current(self):
        self._current.here = True

    def check_current(self):
        if not getattr(self._current, "here", False):
            raise CudaError("CUDA_ERROR_INVALID_CONTEXT: this thread has no current context")

    def stream(self):
        return Stream(self)

    def existing_stream(self, handle):
        if handle not in self.cuda.streams:
            raise CudaError("CUDA_ERROR_INVALID_HANDLE: no such stream")
        return self.cuda.streams[handle]

    def event(self, *, timing=False, blocking=False):
        return Event(timing)

    def empty(self, shape, dtype):
        self.check_current()
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        block = self.cuda.allocate(math.prod(shape) * np.dtype(dtype).itemsize)
        return Array(self, block, block.ctypes.data, shape, dtype)

    def wrap(self, pointer, shape, dtype):
        return Array(self, None, pointer, shape, dtype)

    def upload(self, array):
        out = self.empty(array.shape, array.dtype)
        out.here()[...] = array
        return out

    def pinned(self, shape, dtype):
        self.cuda.not_capturing("cuMemHostAlloc")
        array = np.zeros(shape, dtype)
        self.cuda.pinned[array.ctypes.data] = weakref.ref(array)
        return array

    def is_pinned(self, array) -> bool:
        reference = self.cuda.pinned.get(array.ctypes.data)
        return reference is not None and reference() is not None


class Array(real.DeviceArray):
    """Device memory; only copies on a stream and kernels get at it."""

    def __init__(self, device, block, pointer, shape, dtype):
        super().__init__(pointer, shape, dtype, block)
        self._device = device

    def free(self):
        self._owner = None

    def here(self):
        return self._device.cuda.at(self.pointer, self.shape, self.dtype)

    def view(self, offset, shape, dtype):
        part = super().view(offset, shape, dtype)
        return Array(self._device, self._owner, part.pointer, part.shape, part.dtype)

    def copy_from(self, host, stream):
        self._check(host)
        at = Address(self._device.cuda, self)
        stream.put("upload", lambda: np.copyto(at.here(), host))

    def copy_to(self, host, stream):
        self._check(host)
        at = Address(self._device.cuda, self)
        stream.put("download", lambda: np.copyto(host, at.here()))

    def _check(self, host):
        self._like(host)
        if not self._device.is_pinned(host):
            raise CudaError("this copy would wait: the host memory is not page-locked")


class Address:
    """What a launch knows of an array: where it is. The array itself may be gone, which `here` finds out."""

    def __init__(self, cuda, array):
        self._cuda, self._where = cuda, (int(array.pointer), tuple(array.shape), np.dtype(array.dtype))

    def here(self):
        return self._cuda.at(*self._where)


class Event:
    def __init__(self, timing):
        self._timing, self._stream, self.time = timing, None, None

    def synchronize(self):
        self._stream.synchronize()

    def elapsed_ms(self, earlier):
        if not (self._timing and earlier._timing):
            raise CudaError("CUDA_ERROR_INVALID_HANDLE: an event without timing")
        return self.time - earlier.time


class Stream:
    def __init__(self, device):
        self.device, self.cuda = device, device.cuda
        self.handle = next(device.cuda.handles)
        device.cuda.streams[self.handle] = self
        self._queue: list = []
        self._capture: Operations | None = None
        self._clock = 0.0

    def put(self, name, work):
        self.device.check_current()
        self.cuda.fault(name)
        if self._capture is not None:
            self.cuda.fault(f"capture {name}")
        (self._queue if self._capture is None else self._capture).append((name, work))

    def synchronize(self):
        self.device.check_current()
        self.cuda.not_capturing("cuStreamSynchronize")
        queue, self._queue = self._queue, []
        self.cuda.fault("synchronize")
        for name, work in queue:
            self.cuda.log.append(name)
            self._clock += 0.25 * (name != "event")
            work()

    def record(self, event):
        event._stream = self
        self._queue.append(("event", lambda: setattr(event, "time", self._clock)))
        return event

    @contextlib.contextmanager
    def capture(self, wait=True):
        self.device.check_current()
        if self.cuda.busy and not wait:
            raise CaptureBusy("a capture is under way on another thread")
        self.cuda.not_capturing("cuStreamBeginCapture")
        operations = Operations()
        graph = Graph(self.cuda, operations)
        self.cuda.capturing, self._capture = self, operations
        try:
            yield graph
        finally:
            self.cuda.capturing = self._capture = None
        self.cuda.fault("end capture")
        if not operations:
            raise CudaError("the captured graph is empty: the work went to another stream or device")
        self.cuda.fault("instantiate")
        graph.complete = True
        self.cuda.graphs.append(operations)


class Operations(list):
    """Of a graph, by their names. closed: it was given back, or dropped."""

    closed = False

    def close(self):
        self.closed = True
        self.clear()


class Graph:
    def __init__(self, cuda, operations):
        self.cuda, self._operations, self.complete = cuda, operations, False
        self.close = weakref.finalize(self, operations.close)

    def launch(self, stream):
        if not self.complete or self._operations.closed:
            raise CudaError("this graph cannot be launched")
        stream.device.check_current()
        self.cuda.fault("launch")
        self.cuda.launches += 1
        stale = self.cuda.stale_graphs
        stream._queue += [
            ("graph", lambda: None),
            *(o for o in self._operations if not (stale and o[0] == "upload")),
        ]
