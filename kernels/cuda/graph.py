"""Captured CUDA graphs. On the driver's own calls; driver.py says why."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .driver import call, driver
from .errors import CudaError

_capturing = threading.RLock()  # held while a stream of this process is captured, or the device is waited for


class OnDevice(Protocol):
    """What a graph needs of a Device."""

    def finalizer(self, owner, release: Callable, *arguments) -> Any: ...


class OnStream(Protocol):
    """What a capture needs of a Stream."""

    @property
    def device(self) -> OnDevice: ...

    @property
    def handle(self) -> int: ...


class Graph:
    """Captured work that is launched as one; see Stream.capture. nodes: how many operations it has. It owns
    none of the memory that they use."""

    def __init__(self, device: OnDevice):
        self._device = device
        self._exec: Any = None
        self._finalizer: Any = None
        self.nodes = 0

    def launch(self, stream: OnStream) -> None:
        """Put the whole graph on the stream. Raises CudaError; also before the capture is finished, and after
        `close`."""
        if self._exec is None:
            raise CudaError("this graph was not captured to its end; launch it after the `with` block")
        call("cuGraphLaunch", self._exec, stream.handle)

    def close(self) -> None:
        """Give it back now; it may not be launched any more."""
        if self._finalizer is not None:
            self._exec = None
            self._finalizer()

    def _instantiate(self, graph) -> None:
        try:
            self.nodes = int(call("cuGraphGetNodes", graph, 0)[1])
            if not self.nodes:
                raise CudaError("the captured graph is empty: the work went to another stream or device")
            self._exec = call("cuGraphInstantiate", graph, 0)
        finally:
            call("cuGraphDestroy", graph)
        self._finalizer = self._device.finalizer(self, call, "cuGraphExecDestroy", self._exec)


@contextlib.contextmanager
def no_captures() -> Iterator[None]:
    """Nobody in this process captures inside: for waits for the whole device, and for what other libraries do that
    may wait for it. One of those on another thread ends a capture, whatever the capture's mode."""
    with _capturing:
        yield


class CaptureBusy(CudaError):
    """Somebody else captures, or waits for the device, just now; try again later."""


@contextlib.contextmanager
def capture(stream: OnStream, wait: bool = True) -> Iterator[Graph]:
    """See Stream.capture."""
    if not _capturing.acquire(blocking=wait):
        raise CaptureBusy("a capture or a wait for the device is under way on another thread")
    try:
        yield from _capture(stream)
    finally:
        _capturing.release()


def _capture(stream: OnStream) -> Iterator[Graph]:
    graph = Graph(stream.device)
    with _no_garbage_collection():  # it might free device memory, which would break the capture
        mode = driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call("cuStreamBeginCapture", stream.handle, mode)
        try:
            yield graph
        except BaseException:
            with contextlib.suppress(CudaError):  # the first error counts
                call("cuGraphDestroy", call("cuStreamEndCapture", stream.handle))
            raise
        captured = call("cuStreamEndCapture", stream.handle)
    graph._instantiate(captured)


def embed(stream: int, graph: int) -> None:
    """Put a copy of a graph (the address of a CUgraph, which is a cudaGraph_t) into the one that the stream
    (a CUstream's address) is capturing, after what is queued there so far. Raises CudaError."""
    # the status, an id, the graph, the nodes before, (from CUDA 13 on: their edges,) how many
    info = call("cuStreamGetCaptureInfo", stream)
    captured, before, count = info[2], info[3], info[-1]
    node = call("cuGraphAddChildGraphNode", captured, before, count, driver().CUgraph(graph))
    edges = (None,) if len(info) == 6 else ()
    flags = driver().CUstreamUpdateCaptureDependencies_flags.CU_STREAM_SET_CAPTURE_DEPENDENCIES
    call("cuStreamUpdateCaptureDependencies", stream, [node], *edges, 1, int(flags))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
