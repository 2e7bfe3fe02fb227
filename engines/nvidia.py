"""What the engines need of an NVIDIA GPU: is one there (`nvidia_problem`), and its memory, streams and graphs
(`Gpu`).

`nvidia_problem` loads the driver and nothing else. `Gpu` uses cuda.bindings, imported when one is made.
"""

import ctypes
import functools
import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .base import DeviceSession, EngineError

INSTALL_CUDA = 'pip install "dinar-live[gpu]"'
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_DRIVER_ERRORS = {
    100: "it finds no GPU",
    803: "its parts are of different versions; restart the machine",
    999: "restart the machine",
}


@functools.cache
def nvidia_problem() -> str:
    """ "" where an NVIDIA driver with a GPU works, else one sentence that says what is missing. Asked of the
    driver once per process."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"no NVIDIA driver ({_DRIVER} was not found)"
    code = driver.cuInit(0)
    if code:
        return f"the NVIDIA driver does not start (error {code}{': ' + _DRIVER_ERRORS[code] if code in _DRIVER_ERRORS else ''})"
    count = ctypes.c_int(0)
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    return (
        f"the NVIDIA driver cannot count its GPUs (error {code})"
        if code
        else ""
        if count.value
        else "the NVIDIA driver finds no GPU"
    )


def installed(module: str) -> bool:
    """Whether a module or a module of a package ("cuda.bindings") could be imported; imports only the
    packages around it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def device_index(device: str) -> int:
    """Number of the GPU that "cuda" (= 0) or "cuda:N" names; EngineError for other text."""
    kind, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind != "cuda" or not (index.isascii() and index.isdecimal() or device == "cuda"):
        raise EngineError(f"device {device!r} is unknown; expected cuda or cuda:N, N the GPU's number")
    return int(index or 0)


class Graph:
    """A captured CUDA graph, ready to launch. It owns none of the memory that its operations use."""

    def __init__(self, gpu: "Gpu", executable):
        self._gpu, self.executable = gpu, executable

    def launch(self, stream: int) -> None:
        self._gpu.call("cudaGraphLaunch", self.executable, stream)

    def close(self) -> None:
        if self.executable is not None:
            self._gpu.call("cudaGraphExecDestroy", self.executable)
            self.executable = None


class _Pinned:
    """Page-locked host memory that lives as long as the arrays over it."""

    def __init__(self, gpu: "Gpu", nbytes: int):
        self._gpu = gpu
        (pointer,) = gpu.call("cudaMallocHost", nbytes)
        self._pointer = int(pointer)
        self.__array_interface__ = {
            "data": (self._pointer, False),
            "shape": (nbytes,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self):
        if getattr(self, "_pointer", None) is not None:
            self._gpu.release("cudaFreeHost", self._pointer)


@dataclass(frozen=True)
class GpuInfo:
    """name as the driver gives it; compute_capability "9.0"; memory in bytes."""

    name: str
    compute_capability: str
    memory: int


class Gpu:
    """One GPU: memory, copies, streams and graphs through the CUDA runtime. EngineError, in CUDA's own words,
    for every call that fails."""

    def __init__(self, index: int = 0):
        problem = nvidia_problem()
        if problem:
            raise EngineError(f"{problem}: install the driver for your GPU, or use the engine openvino")
        if not installed("cuda.bindings"):
            raise EngineError(f"the package cuda-bindings is missing: {INSTALL_CUDA}")
        from cuda.bindings import runtime  # 0.2 s, and only a GPU needs it

        self._cuda, self.index = runtime, index
        (count,) = self.call("cudaGetDeviceCount")
        if index >= count:
            raise EngineError(
                f"device cuda:{index} was asked for; this machine has {count} NVIDIA GPU{'s' * (count > 1)}"
            )
        self.activate()
        (properties,) = self.call("cudaGetDeviceProperties", index)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        self.info = GpuInfo(
            name.rstrip("\0"), f"{properties.major}.{properties.minor}", int(properties.totalGlobalMem)
        )

    def call(self, function: str, *arguments) -> tuple:
        """Results of a CUDA runtime function without its status."""
        status, *results = getattr(self._cuda, function)(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            _, text = self._cuda.cudaGetErrorString(status)
            raise EngineError(f"{function} failed on cuda:{self.index}: {text.decode()} ({int(status)})")
        return tuple(results)

    def release(self, function: str, pointer: int) -> None:
        """Free something from a destructor, where the process may be ending and nobody can handle an
        error."""
        try:
            getattr(self._cuda, function)(pointer)
        except (AttributeError, TypeError):  # modules are already taken apart
            pass

    def activate(self) -> None:
        """Make this the calling thread's GPU: the runtime keeps one per thread."""
        self.call("cudaSetDevice", self.index)

    # memory

    def malloc(self, nbytes: int) -> int:
        (pointer,) = self.call("cudaMalloc", nbytes)
        return int(pointer)

    def free(self, pointer: int) -> None:
        self.call("cudaFree", pointer)

    def pinned(self, shape: tuple[int, ...], dtype="float32") -> np.ndarray:
        """Zeros in page-locked memory, freed with the last array over it: copies from and to it do not stop
        the host."""
        dtype = np.dtype(dtype)
        array = np.asarray(_Pinned(self, max(1, math.prod(shape) * dtype.itemsize)))[
            : math.prod(shape) * dtype.itemsize
        ]
        array[:] = 0
        return array.view(dtype).reshape(shape)

    def upload(self, pointer: int, array: np.ndarray, stream: int) -> None:
        """Queue a copy of a C-contiguous array to the GPU; the array must stay as it is until the copy is
        done."""
        self.call(
            "cudaMemcpyAsync",
            pointer,
            array.ctypes.data,
            array.nbytes,
            self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice,
            stream,
        )

    def download(self, array: np.ndarray, pointer: int, stream: int) -> None:
        """Queue a copy from the GPU into a C-contiguous array."""
        self.call(
            "cudaMemcpyAsync",
            array.ctypes.data,
            pointer,
            array.nbytes,
            self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost,
            stream,
        )

    # streams and graphs

    def stream(self) -> int:
        """A stream that does not wait for the default stream."""
        (stream,) = self.call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        return int(stream)

    def destroy_stream(self, stream: int) -> None:
        self.call("cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        self.call("cudaStreamSynchronize", stream)

    def is_capturing(self, stream: int) -> bool:
        (status,) = self.call("cudaStreamIsCapturing", stream)
        return status == self._cuda.cudaStreamCaptureStatus.cudaStreamCaptureStatusActive

    def capture(self, stream: int, work: Callable[[], None]) -> Graph:
        """Graph of what `work` queues on `stream`. The capture is ended whatever happens: a stream left
        capturing is lost."""
        self.call(
            "cudaStreamBeginCapture",
            stream,
            self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal,
        )
        try:
            work()
        except BaseException:
            status, graph = self._cuda.cudaStreamEndCapture(stream)
            if status == self._cuda.cudaError_t.cudaSuccess:
                self.call("cudaGraphDestroy", graph)
            raise
        (graph,) = self.call("cudaStreamEndCapture", stream)
        try:
            (executable,) = self.call("cudaGraphInstantiate", graph, 0)
        finally:
            self.call("cudaGraphDestroy", graph)
        return Graph(self, executable)

    def embed(self, stream: int, graph: int) -> None:
        """Put a copy of a graph (a cudaGraph_t's address) into the one that `stream` is capturing, after what
        is queued there so far."""
        info = self.call(
            "cudaStreamGetCaptureInfo", stream
        )  # status, id, graph, nodes before, (CUDA 13: their edges,) how many
        captured, before, count = info[2], info[3], info[-1]
        (node,) = self.call(
            "cudaGraphAddChildGraphNode", captured, before, count, self._cuda.cudaGraph_t(graph)
        )
        edges = (None,) if len(info) == 6 else ()
        replace = self._cuda.cudaStreamUpdateCaptureDependenciesFlags.cudaStreamSetCaptureDependencies
        self.call("cudaStreamUpdateCaptureDependencies", stream, [node], *edges, 1, int(replace))


def run_once(gpu: Gpu, session: DeviceSession, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs, as float32, of one run of a device session on host arrays (converted to the session's types).
    For checks, not for frames."""
    gpu.activate()
    stream = gpu.stream()
    try:
        held = {
            name: np.ascontiguousarray(inputs[name], session.inputs[name].dtype) for name in session.inputs
        }
        for name, array in held.items():
            if array.shape != session.inputs[name].shape:
                raise EngineError(
                    f"input {name!r} has shape {array.shape}; the session takes {session.inputs[name].shape}"
                )
            gpu.upload(session.inputs[name].pointer, array, stream)
        session.enqueue_on(stream)
        outputs = {name: np.empty(tensor.shape, tensor.dtype) for name, tensor in session.outputs.items()}
        for name, array in outputs.items():
            gpu.download(array, session.outputs[name].pointer, stream)
        gpu.synchronize(stream)
        return {name: array.astype(np.float32, copy=False) for name, array in outputs.items()}
    finally:
        gpu.destroy_stream(stream)
