"""One GPU: its context, streams, events and captured graphs."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np

from . import memory
from .driver import call, driver
from .errors import CudaError
from .memory import DeviceArray


class Device:
    """GPU number `index`, through its primary context, which torch and TensorRT use as well.

    name; compute_capability (major, minor); arch ("sm_90"); memory, bytes; multiprocessors; driver_version
    (major, minor) of CUDA. The context is made current on the calling thread; another thread that works with
    the device calls `make_current` first. Raises CudaError, in one sentence and at once, where the package,
    the driver or the GPU is missing.
    """

    def __init__(self, index: int = 0):
        d = driver()
        count = call("cuDeviceGetCount")
        if not 0 <= index < count:
            raise CudaError(
                f"there is no GPU {index}: the driver sees {count}" + (", numbered from 0" if count else "")
            )
        self.index = index
        handle = call("cuDeviceGet", index)
        self.name = call("cuDeviceGetName", 256, handle).split(b"\0", 1)[0].decode()
        attribute = d.CUdevice_attribute

        def get(name):
            return int(
                call("cuDeviceGetAttribute", getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), handle)
            )

        self.compute_capability = get("COMPUTE_CAPABILITY_MAJOR"), get("COMPUTE_CAPABILITY_MINOR")
        self.arch = "sm_{}{}".format(*self.compute_capability)
        self.multiprocessors = get("MULTIPROCESSOR_COUNT")
        self.memory = int(call("cuDeviceTotalMem", handle))
        version = call("cuDriverGetVersion")
        self.driver_version = version // 1000, version % 1000 // 10
        self._context = call("cuDevicePrimaryCtxRetain", handle)
        weakref.finalize(
            self, call, "cuDevicePrimaryCtxRelease", handle
        )  # after all that came from here: see finalizer
        self.make_current()

    def __repr__(self) -> str:
        return f"Device({self.index}: {self.name}, {self.arch}, {self.memory / 2**30:.0f} GiB)"

    def make_current(self) -> None:
        """Make this GPU the one that the calling thread works with."""
        call("cuCtxSetCurrent", self._context)

    def synchronize(self) -> None:
        """Wait for everything on the device."""
        call("cuCtxSynchronize")

    def free_memory(self) -> int:
        """Bytes that can still be allocated."""
        return int(call("cuMemGetInfo")[0])

    def stream(self) -> Stream:
        """A new stream that does not wait for the default one."""
        return Stream(self)

    def event(self, *, timing: bool = False, blocking: bool = False) -> Event:
        """A new event. timing: for `elapsed_ms`. blocking: `synchronize` sleeps instead of spinning."""
        return Event(self, timing, blocking)

    def empty(self, shape, dtype) -> DeviceArray:
        """Uninitialised device memory."""
        return memory.allocate(self, (shape,) if isinstance(shape, int) else shape, dtype)

    def upload(self, array: np.ndarray) -> DeviceArray:
        """A copy of a host array on the device; waits until it is there."""
        array = np.ascontiguousarray(array)
        out = self.empty(array.shape, array.dtype)
        if array.nbytes:
            call("cuMemcpyHtoD", out.pointer, array.ctypes.data, array.nbytes)
        return out

    def pinned(self, shape, dtype) -> np.ndarray:
        """Zeroed page-locked host memory as a numpy array: copies to and from it are asynchronous. Make it
        before capturing a graph."""
        return memory.pinned(self, shape, dtype)

    def finalizer(self, owner, function: str, handle) -> weakref.finalize:
        """Calls driver function `function(handle)` when `owner` is gone, on whatever thread that is, and
        keeps the device until then."""
        return weakref.finalize(owner, _release, self, function, handle)


def _release(device: Device, function: str, handle) -> None:
    call("cuCtxPushCurrent", device._context)
    try:
        call(function, handle)
    finally:
        call("cuCtxPopCurrent")


@contextlib.contextmanager
def _no_garbage_collection():
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Stream:
    """A queue of work on the device. handle: the cudaStream_t / CUstream as an int, which engines and torch
    take."""

    def __init__(self, device: Device):
        self.device = device
        self._stream = call("cuStreamCreate", driver().CUstream_flags.CU_STREAM_NON_BLOCKING)
        self.handle = int(self._stream)
        self.close = device.finalizer(self, "cuStreamDestroy", self._stream)

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def synchronize(self) -> None:
        """Wait until the work is done. Raises CudaError if any of it failed."""
        call("cuStreamSynchronize", self._stream)

    def record(self, event: Event) -> Event:
        """`event` happens when the work so far is done."""
        call("cuEventRecord", event.handle, self._stream)
        return event

    def wait(self, event: Event) -> None:
        """Later work of this stream waits for `event`; the host does not."""
        call("cuStreamWaitEvent", self._stream, event.handle, 0)

    @contextlib.contextmanager
    def capture(self):
        """`with stream.capture() as graph: ...` records what is put on the stream instead of running it; then
        `graph.launch(stream)`.

        Everything to be captured must have run once before (engines initialise themselves), and may not
        allocate or synchronise. The arrays in it must outlive the graph. If the block raises, the capture is
        ended and the exception goes on; CudaError if the capture was broken, for instance by a call that is
        not allowed.
        """
        graph = Graph(self.device)
        with _no_garbage_collection():  # it might free device memory, which would break the capture
            call(
                "cuStreamBeginCapture",
                self._stream,
                driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
            )
            try:
                yield graph
            except BaseException:
                with contextlib.suppress(CudaError):  # the first error counts
                    call("cuGraphDestroy", call("cuStreamEndCapture", self._stream))
                raise
            captured = call("cuStreamEndCapture", self._stream)
        graph._instantiate(captured)


class Event:
    """A point in the work of a stream; see Device.event."""

    def __init__(self, device: Device, timing: bool, blocking: bool):
        flags = driver().CUevent_flags
        value = (0 if timing else int(flags.CU_EVENT_DISABLE_TIMING)) | (
            int(flags.CU_EVENT_BLOCKING_SYNC) if blocking else 0
        )
        self.handle = call("cuEventCreate", value)
        self.close = device.finalizer(self, "cuEventDestroy", self.handle)

    def synchronize(self) -> None:
        """Wait until it has happened."""
        call("cuEventSynchronize", self.handle)

    def done(self) -> bool:
        """Whether it has happened; does not wait."""
        d = driver()
        (error,) = d.cuEventQuery(self.handle)
        if error not in (d.CUresult.CUDA_SUCCESS, d.CUresult.CUDA_ERROR_NOT_READY):
            raise CudaError(f"cuEventQuery: {error.name}")
        return error == d.CUresult.CUDA_SUCCESS

    def elapsed_ms(self, earlier: Event) -> float:
        """Milliseconds from `earlier` to this; both made with timing=True and done."""
        return float(call("cuEventElapsedTime", earlier.handle, self.handle))


class Graph:
    """Captured work that is launched as one; see Stream.capture. nodes: how many operations it has."""

    def __init__(self, device: Device):
        self._device, self._exec = device, None
        self.nodes = 0

    def _instantiate(self, graph) -> None:
        try:
            self.nodes = int(call("cuGraphGetNodes", graph, 0)[1])
            if not self.nodes:
                raise CudaError("the captured graph is empty: the work went to another stream or device")
            self._exec = call("cuGraphInstantiate", graph, 0)
        finally:
            call("cuGraphDestroy", graph)
        self.close = self._device.finalizer(self, "cuGraphExecDestroy", self._exec)

    def launch(self, stream: Stream) -> None:
        """Put the whole graph on the stream. Raises CudaError; also before the capture is finished."""
        if self._exec is None:
            raise CudaError("this graph was not captured to its end; launch it after the `with` block")
        call("cuGraphLaunch", self._exec, stream._stream)
