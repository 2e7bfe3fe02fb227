"""One GPU: its context, streams and events, all of cuda.core."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from . import memory
from .driver import call, checked, core, driver
from .errors import CudaError
from .graph import Graph, capture, no_captures
from .memory import DeviceArray


class Device:
    """GPU number `index`, through its primary context, which torch and TensorRT use as well.

    name; compute_capability (major, minor); arch ("sm_90"); memory, bytes; multiprocessors; driver_version
    (major, minor) of CUDA. The context is made current on the calling thread; another thread that works with
    the device calls `make_current` first. Raises CudaError, in one sentence and at once, where a package, the
    driver or the GPU is missing.
    """

    def __init__(self, index: int = 0):
        driver()  # before cuda.core: see there
        count = call("cuDeviceGetCount")
        if not 0 <= index < count:
            raise CudaError(missing_gpu(index, count))
        self.index = index
        self._core = checked(f"GPU {index}", core().Device, index)
        self.make_current()
        properties = self._core.properties
        self.name = str(self._core.name).rstrip("\0")
        self.compute_capability = (
            int(properties.compute_capability_major),
            int(properties.compute_capability_minor),
        )
        self.arch = "sm_{}{}".format(*self.compute_capability)
        self.multiprocessors = int(properties.multiprocessor_count)
        self.memory = int(call("cuDeviceTotalMem", call("cuDeviceGet", index)))
        version = call("cuDriverGetVersion")
        self.driver_version = version // 1000, version % 1000 // 10
        self._context = call("cuCtxGetCurrent")

    def __repr__(self) -> str:
        return f"Device({self.index}: {self.name}, {self.arch}, {self.memory / 2**30:.0f} GiB)"

    def make_current(self) -> None:
        """Make this GPU the one that the calling thread works with."""
        checked(f"GPU {self.index}", self._core.set_current)

    def synchronize(self) -> None:
        """Wait for everything on the device."""
        with no_captures():
            call("cuCtxSynchronize")

    def free_memory(self) -> int:
        """Bytes that can still be allocated."""
        return int(call("cuMemGetInfo")[0])

    def stream(self) -> Stream:
        """A new stream that does not wait for the default one."""
        return Stream(self)

    def existing_stream(self, handle: int) -> Stream:
        """A stream that belongs to somebody else (a CUstream's or cudaStream_t's address), for as long as it
        is there."""
        return Stream(self, handle)

    def event(self, *, timing: bool = False, blocking: bool = False) -> Event:
        """A new event. timing: for `elapsed_ms`. blocking: `synchronize` sleeps instead of spinning."""
        return Event(self, timing, blocking)

    def empty(self, shape, dtype) -> DeviceArray:
        """Uninitialised device memory."""
        return memory.allocate(self, (shape,) if isinstance(shape, int) else shape, dtype)

    def wrap(self, pointer: int, shape, dtype) -> DeviceArray:
        """Memory of this device that belongs to somebody else, for as long as it is there."""
        return DeviceArray.wrap(pointer, shape, dtype)

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

    def finalizer(self, owner, release: Callable, *arguments) -> weakref.finalize:
        """Calls release(*arguments) with this device current when `owner` is gone, on whatever thread that
        is, and keeps the device until then."""
        return weakref.finalize(owner, _release, self, release, *arguments)


def missing_gpu(index: int, count: int) -> str:
    """What Device says where there is no GPU `index`."""
    gpus = f"{count} NVIDIA GPU{'s' * (count != 1)}" + (", numbered from 0" if count else "")
    return f"there is no GPU {index}: this machine has {gpus}"


def _release(device: Device, release: Callable, *arguments) -> None:
    call("cuCtxPushCurrent", device._context)
    try:
        release(*arguments)
    finally:
        call("cuCtxPopCurrent")


class Stream:
    """A queue of work on the device. handle: the cudaStream_t / CUstream as an int, which engines and torch
    take."""

    def __init__(self, device: Device, existing: int | None = None):
        self.device = device
        if existing is None:
            self._core = checked("a new stream", device._core.create_stream)
            device.finalizer(self, self._core.close)
        else:
            self._core = checked("stream", core().Stream.from_handle, existing)
        self.handle = int(self._core.handle)

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def synchronize(self) -> None:
        """Wait until the work is done. Raises CudaError if any of it failed."""
        checked("synchronizing a stream", self._core.sync)

    def record(self, event: Event) -> Event:
        """`event` happens when the work so far is done."""
        checked("recording an event", self._core.record, event._core)
        return event

    def wait(self, event: Event) -> None:
        """Later work of this stream waits for `event`; the host does not."""
        checked("waiting for an event", self._core.wait, event._core)

    def capture(self, wait: bool = True) -> AbstractContextManager[Graph]:
        """`with stream.capture() as graph: ...` records what is put on the stream instead of running it; then
        `graph.launch(stream)`.

        Everything to be captured must have run once before (engines initialise themselves), and may not
        allocate or synchronise. The arrays in it must outlive the graph. If the block raises, the capture is
        ended and the exception goes on; CudaError if the capture was broken, for instance by a call that is
        not allowed. One capture at a time in a process; where another is under way (or what must not happen in
        one: `no_captures`), this waits, or with wait=False raises CaptureBusy.
        """
        return capture(self, wait)


class Event:
    """A point in the work of a stream; see Device.event."""

    def __init__(self, device: Device, timing: bool, blocking: bool):
        driver()
        options = core().EventOptions(timing_enabled=timing, blocking_sync=blocking)
        self._core = checked("a new event", device._core.create_event, options)
        device.finalizer(self, self._core.close)

    def synchronize(self) -> None:
        """Wait until it has happened."""
        checked("waiting for an event", self._core.sync)

    def done(self) -> bool:
        """Whether it has happened; does not wait."""
        return bool(checked("asking for an event", lambda: self._core.is_done))

    def elapsed_ms(self, earlier: Event) -> float:
        """Milliseconds from `earlier` to this; both made with timing=True and done."""
        return float(checked("the time between two events", lambda: self._core - earlier._core))
