"""A strict stand-in for a GPU: the interface of kernels.cuda, memory in the host, work done by the CPU's
kernels when it is waited for.

What would be wrong on a GPU is an error here: waiting or allocating during a capture, reading memory that was
freed or is too small, host memory that is not page-locked, launching before the context is current. What is
put on a stream runs at the next synchronization, so a missing one shows, and a graph keeps addresses, not
values.
"""

import contextlib
import math
import threading
import weakref

import numpy as np

from dinar_live import kernels
from dinar_live.kernels import cuda as real
from dinar_live.kernels.cuda import (
    CudaError,
    DeviceBody,
    DeviceScene,
    FrameParameters,
    Planes,
    RasterTarget,
)

__all__ = [
    "CudaError",
    "Device",
    "DeviceBody",
    "DeviceScene",
    "FakeCuda",
    "FrameParameters",
    "Planes",
    "RasterTarget",
]


class FakeCuda:
    """What runtime/render takes from kernels.cuda. faults: names of operations that fail; log: every
    operation, in the order of running."""

    CudaError, DeviceBody, DeviceScene, FrameParameters, Planes, RasterTarget = (
        CudaError,
        DeviceBody,
        DeviceScene,
        FrameParameters,
        Planes,
        RasterTarget,
    )

    def __init__(self):
        self.faults: set[str] = set()
        self.log: list[str] = []
        self.memory: dict[int, weakref.ref] = {}
        self.streams: dict[int, Stream] = {}
        self.capturing: Stream | None = None
        self.graphs: list[Graph] = []
        self.stale_graphs = False  # graphs that keep the values of their capture, as a broken engine's would

    def Device(self, index=0):
        return Device(self, index)

    def Program(self, device):
        return Program(device)

    def fault(self, name: str) -> None:
        if name in self.faults:
            raise CudaError(f"{name}: CUDA_ERROR_UNKNOWN (made to fail)")

    def not_capturing(self, what: str) -> None:
        if self.capturing is not None:
            raise CudaError(
                f"{what}: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED (operation not permitted when stream is capturing)"
            )

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
    compute_capability, arch, memory, multiprocessors, driver_version = (
        (9, 0),
        "sm_90",
        80 << 30,
        132,
        (13, 0),
    )

    def __init__(self, cuda: FakeCuda, index: int):
        self.cuda, self.index, self.name = cuda, index, "Fake GPU"
        self._current = threading.local()
        self._pinned: dict[int, weakref.ref] = {}
        self.make_current()

    def make_current(self):
        self._current.here = True

    def check_current(self):
        if not getattr(self._current, "here", False):
            raise CudaError("CUDA_ERROR_INVALID_CONTEXT: this thread has no current context")

    def stream(self):
        return Stream(self)

    def event(self, *, timing=False, blocking=False):
        return Event(timing)

    def empty(self, shape, dtype):
        self.check_current()
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        block = self.cuda.allocate(math.prod(shape) * np.dtype(dtype).itemsize)
        return Array(self, block, block.ctypes.data, shape, dtype)

    def upload(self, array):
        out = self.empty(array.shape, array.dtype)
        out.here()[...] = array
        return out

    def pinned(self, shape, dtype):
        self.cuda.not_capturing("cuMemHostAlloc")
        array = np.zeros(shape, dtype)
        self._pinned[array.ctypes.data] = weakref.ref(array)
        return array

    def is_pinned(self, array) -> bool:
        reference = self._pinned.get(array.ctypes.data)
        return reference is not None and reference() is not None


class Array(real.DeviceArray):
    """Device memory; only copies on a stream and kernels get at it."""

    def __init__(self, device, block, pointer, shape, dtype):
        super().__init__(pointer, shape, dtype, block)
        self._device = device

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
        self.handle = 0x5000 + 16 * len(device.cuda.streams)
        device.cuda.streams[self.handle] = self
        self._queue: list = []
        self._capture: Graph | None = None
        self._clock = 0.0

    def put(self, name, work):
        self.device.check_current()
        self.cuda.fault(name)
        if self._capture is not None:
            self.cuda.fault(f"capture {name}")
        (self._queue if self._capture is None else self._capture.operations).append((name, work))

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
    def capture(self):
        graph = Graph(self.cuda)
        self.cuda.not_capturing("cuStreamBeginCapture")
        self.cuda.capturing, self._capture = self, graph
        try:
            yield graph
        finally:
            self.cuda.capturing = self._capture = None
        if not graph.operations:
            raise CudaError("the captured graph is empty: the work went to another stream or device")
        graph.complete = True
        self.cuda.graphs.append(graph)


class Graph:
    def __init__(self, cuda):
        self.cuda, self.operations, self.complete, self.closed = cuda, [], False, False

    def launch(self, stream):
        if not self.complete or self.closed:
            raise CudaError("this graph cannot be launched")
        self.cuda.fault("launch")
        operations = (
            [o for o in self.operations if o[0] != "upload"] if self.cuda.stale_graphs else self.operations
        )
        stream._queue += [("graph", lambda: None), *operations]

    def close(self):
        self.closed = True
        self.operations.clear()


class Program(real.Program):
    """The steps are described and checked by the real class; what runs is the CPU's kernels on the same
    memory."""

    def __init__(self, device):
        self.device = device

    def run(self, stream, steps):
        for name, work in steps:
            stream.put(name, work)

    def _addresses(self, **arrays):
        return {
            name: None if array is None else Address(self.device.cuda, array)
            for name, array in arrays.items()
        }

    def lbs(self, body, parameters, projective, vertices=None):
        super().lbs(body, parameters, projective, vertices)
        model, at = (
            body.model,
            self._addresses(projective=projective, rest=body.arrays["rest"], **parameters.device),
        )

        def work():
            at["rest"].here()
            world = kernels.lbs(model, at["body"].here(), at["transl"].here(), at["expression"].here())
            for matrix, out in zip(at["matrices"].here(), at["projective"].here(), strict=True):
                kernels.project(world, matrix, out=out)

        return [("lbs", work)]

    def rasterize(self, scene, parameters, projective, target, *, samples=1, cull=True, near=kernels.NEAR):
        super().rasterize(scene, parameters, projective, target, samples=samples, cull=cull, near=near)
        at = self._addresses(
            faces=scene.faces,
            origins=parameters.device["origins"],
            projective=projective,
            seen=target.visibility,
            queue=target.queue,
        )
        size = target.height, target.width

        def work():
            at["queue"].here()
            for seen, points, (x0, y0) in zip(
                at["seen"].here(), at["projective"].here(), at["origins"].here(), strict=True
            ):
                origin = int(x0) * samples, int(y0) * samples
                raster = kernels.rasterize(
                    points, at["faces"].here(), size, origin=origin, cull=cull, near=near
                )
                seen[...] = raster.triangle_id.astype(np.int64).astype(np.uint64)

        return [("rasterize", work)]

    def gather(
        self, scene, parameters, projective, target, features, depth=None, *, samples=1, near=kernels.NEAR
    ):
        super().gather(scene, parameters, projective, target, features, depth, samples=samples, near=near)
        at = self._addresses(
            faces=scene.faces,
            uv=scene.corner_uv,
            texture=scene.texture,
            origins=parameters.device["origins"],
            projective=projective,
            seen=target.visibility,
            features=features,
            depth=depth,
        )
        size, channels = (target.height, target.width), scene.channels

        def work():
            faces, texture = at["faces"].here(), at["texture"].here()[..., :channels].astype(np.float32)
            uv = np.ascontiguousarray(at["uv"].here()[:, :6]).reshape(-1, 2)
            uv_faces = np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3)
            for view, (points, (x0, y0)) in enumerate(
                zip(at["projective"].here(), at["origins"].here(), strict=True)
            ):
                # the visibility says which triangles; barycentrics and depth come with rasterizing again, as
                # resolving does on a GPU
                raster = kernels.rasterize(
                    points, faces, size, origin=(int(x0) * samples, int(y0) * samples), near=near
                )
                np.testing.assert_array_equal(raster.triangle_id, at["seen"].here()[view].astype(np.int64))
                at["features"].here()[view] = kernels.gather_uv(
                    raster, uv, uv_faces, np.ascontiguousarray(texture)
                )
                if at["depth"]:
                    at["depth"].here()[view] = raster.depth

        return [("gather", work)]

    def compose(
        self,
        parameters,
        rgb,
        alpha,
        rgba,
        *,
        mask=None,
        depth=None,
        depth_out=None,
        samples=1,
        threshold=0.0,
        background=None,
        straight=False,
    ):
        super().compose(
            parameters,
            rgb,
            alpha,
            rgba,
            mask=mask,
            depth=depth,
            depth_out=depth_out,
            samples=samples,
            threshold=threshold,
            background=background,
            straight=straight,
        )
        cuda = self.device.cuda
        at = self._addresses(
            origins=parameters.device["origins"], rgba=rgba, depth=depth, depth_out=depth_out
        )

        def planes(p, view, count):
            (H, W), size = p.size, p.dtype.itemsize
            return np.ascontiguousarray(
                cuda.at(p.pointer + view * p.stride * size, (count, H, W), p.dtype), np.float32
            )

        def work():
            for view, (x0, y0) in enumerate(at["origins"].here()):
                kernels.compose(
                    planes(rgb, view, 3),
                    planes(alpha, view, 1)[0],
                    mask=None if mask is None else planes(mask, view, 1)[0],
                    threshold=threshold,
                    background=background,
                    straight=straight,
                    samples=samples,
                    origin=(int(x0), int(y0)),
                    depth=at["depth"] and at["depth"].here()[view],
                    depth_out=at["depth"] and at["depth_out"].here()[view],
                    out=at["rgba"].here()[view],
                )

        return [("compose", work)]
