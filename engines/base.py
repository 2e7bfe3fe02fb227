"""The engine interface: open an ONNX model once, compile it for fixed sizes, run it on buffers bound by
tensor name."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

ALIGNMENT = 64  # bytes: a cache line and an AVX-512 register
UNKNOWN_LAYERS = 3.0  # memory of a size, in buffers, where an engine does not say more
PRECISIONS = ("auto", "f32", "bf16", "f16", "int8")
PLAN_TARGETS = ("8.0+", "7.5")
"""What a PlanBuilder builds for: compute capabilities of NVIDIA GPUs."""
Shape = tuple[int | None, ...]
Progress = Callable[[float, str], None]
"""Called with (fraction, what) while an engine is built, also from another thread."""


class EngineError(Exception):
    """An engine cannot be used or cannot run this model. Text = what was wrong, what was given, what to
    do."""


class TensorNameError(EngineError, KeyError):
    """A session has no tensor of this name."""

    __str__ = Exception.__str__  # KeyError would print the text in quotes


@dataclass(frozen=True)
class EngineInfo:
    """What runs and why it was chosen. `precision` is the one the layers run in (buffers are always float32),
    `threads` are CPU threads."""

    name: str
    version: str
    device: str
    precision: str
    threads: int
    reason: str

    def because(self, reason: str) -> "EngineInfo":
        """The same with another reason."""
        return replace(self, reason=reason)


class Buffers(Mapping):
    """Tensor name -> float32 array (or DeviceTensor); the same for the life of the session: write into them,
    never replace them."""

    def __init__(self, arrays: dict):
        self._arrays = dict(arrays)

    def __getitem__(self, name: str):
        try:
            return self._arrays[name]
        except KeyError:
            raise TensorNameError(
                f"no tensor named {name!r}; the model has {', '.join(self._arrays) or 'none'}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return "Buffers(" + ", ".join(f"{name} {array.shape}" for name, array in self._arrays.items()) + ")"


class HostSession(Protocol):
    """One compiled size. Fill `inputs`, `enqueue()`, `synchronize()`, read `outputs`.

    inputs, outputs: tensor name -> C-contiguous float32 array of the compiled shape, allocated once and bound
    to the engine. Between enqueue and synchronize the engine reads and writes them: leave them alone.
    mode: how it runs where there are several ways ("graph", or "eager: " and why), for people.
    For one thread at a time; sessions are independent.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    mode: str = ""

    def enqueue(self) -> None:
        """Start one run and return; EngineError if the previous one was not synchronized."""
        ...

    def synchronize(self) -> None:
        """Wait until `outputs` hold the results of the run under way (returns at once if there is none);
        EngineError if it failed."""
        ...


class Session(HostSession, ABC):
    """A HostSession that keeps the order of calls: an engine's own session has `_start` and `_wait` only."""

    def __init__(self, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]):
        self.inputs = Buffers(inputs)
        self.outputs = Buffers(outputs)
        self._pending = False

    @property
    def memory(self) -> int:
        """Bytes that this size takes, by estimate: the buffers, and as much as a light network has between
        them (measured with OpenVINO)."""
        buffers = (*self.inputs.values(), *self.outputs.values())
        return int(UNKNOWN_LAYERS * sum(array.nbytes for array in buffers))

    def enqueue(self) -> None:
        """See HostSession."""
        if self._pending:
            raise EngineError(
                "enqueue() called twice: the run under way still uses the buffers; call synchronize() first"
            )
        self._start()
        self._pending = True

    def synchronize(self) -> None:
        """See HostSession."""
        if self._pending:
            self._pending = False
            self._wait()

    @abstractmethod
    def _start(self) -> None:
        """Start one run; nothing is under way."""

    @abstractmethod
    def _wait(self) -> None:
        """Wait for the run under way; EngineError if it failed."""


@dataclass(frozen=True)
class DeviceTensor:
    """Memory on a GPU: dense (row-major), at the same address for the life of its session.

    pointer: device address. dtype: "float16" or "float32".
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class DeviceSession(Protocol):
    """One compiled size whose inputs and outputs stay on the GPU: the caller's kernels write `inputs` and
    read `outputs`.

    inputs, outputs: tensor name -> DeviceTensor, fixed for the session's life. device: the CUDA device's
    number. mode: "graph" where runs can be captured into a CUDA graph, else "eager: " and why not. memory:
    bytes on the GPU that only this session holds, by estimate, 0 = unknown. For one stream at a time.
    Keep the session as long as a graph that captured it is launched.
    """

    inputs: Mapping[str, DeviceTensor]
    outputs: Mapping[str, DeviceTensor]
    device: int
    mode: str = "graph"
    memory: int = 0

    @abstractmethod
    def warm_up(self, stream: int) -> None:
        """Run once on cudaStream_t `stream` and wait, so that everything which happens only once has
        happened; call it before a capture."""

    @abstractmethod
    def enqueue_on(self, stream: int) -> None:
        """Queue one run on cudaStream_t `stream` and return. No allocation, no wait; may be captured into a
        CUDA graph after `warm_up`.

        EngineError if the run could not be queued.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the session's memory; no run may be under way."""

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Engine(Protocol):
    """An opened model. `inputs` and `outputs`: tensor name -> shape, None where a dimension is symbolic.

    device_io: type of the tensors of device sessions, "float16" or "float32"; None where there are none.
    keeps: whether compiled instances are kept on disk for the next start; `built` counts those that were not
        found there.
    channels_last: whether it has sessions whose tensors are [N,H,W,C], which is the order it works in.
    scratch: kernels.cuda.Scratch that device sessions made from now on share with others; whoever sets it runs all of
        them on one stream. None: each has memory of its own.
    """

    info: EngineInfo
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    device_io: str | None = None
    keeps: bool = False
    built: int = 0
    channels_last: bool = False
    scratch: Any = None

    @abstractmethod
    def compile(self, size: tuple[int, int, int]) -> HostSession:
        """Session for size (N, H, W), the values of the symbolic dimensions 0, 2 and 3 of every input;
        EngineError if the model cannot."""

    def compile_channels_last(self, size: tuple[int, int, int]) -> HostSession:
        """As `compile`, but every tensor is [N,H,W,C]; EngineError where the engine has no such sessions."""
        raise EngineError(f"the engine {self.info.name} has no sessions with channels last; use compile()")

    def compile_device(self, size: tuple[int, int, int]) -> DeviceSession:
        """DeviceSession for size (N, H, W); EngineError where the engine does not run on a GPU."""
        raise EngineError(
            f"the engine {self.info.name} runs on {self.info.device} and has no sessions on a GPU: "
            "use compile(), or an engine that runs on a GPU with device cuda"
        )

    def cancel(self) -> None:
        """End what is being built on other threads soon, with an EngineError there. Nothing is built afterwards."""

    def drop(self, size: tuple[int, int, int], io: str) -> None:
        """Forget the instance for (N, H, W) with tensors of type `io` that is kept on disk, so that the next
        session is compiled anew."""

    def refuse(self, size: tuple[int, int, int], io: str, reason: str) -> None:
        """The instance for (N, H, W) computes something else: as `drop`; an engine whose builds take long refuses it
        with this reason from now on, until it is dropped."""
        self.drop(size, io)

    def unchecked(self, size: tuple[int, int, int], io: str) -> bool:
        """Whether the instance for (N, H, W) with tensors of type `io`, which this engine has compiled, was never
        compared with the network in float32 on this machine; `vouch` says that it was."""
        return bool(self.built)

    def vouch(self, size: tuple[int, int, int], io: str) -> None:
        """The instance for (N, H, W) computes what the network does."""

    @abstractmethod
    def close(self) -> None:
        """Free the model. Sessions already compiled go on working."""

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class PlanBuilder(Protocol):
    """Builds an engine's compiled instances ahead of time on a machine that cannot run them. info.device says for
    which GPUs; device_io, built: as those of an Engine."""

    info: EngineInfo
    built: int

    @property
    def device_io(self) -> str | None: ...

    @abstractmethod
    def prepare(self, size: tuple[int, int, int], io: str) -> int:
        """Have the instance for (N, H, W) with inputs and outputs of type `io` kept on disk: build it unless it is
        there. Returns its size in bytes; EngineError if it cannot be built or the disk will not have it."""

    @abstractmethod
    def drop(self, size: tuple[int, int, int], io: str) -> None:
        """Forget what is kept for (N, H, W)."""

    @abstractmethod
    def close(self) -> None:
        """Free the model."""

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


def aligned_zeros(shape: tuple[int, ...]) -> np.ndarray:
    """float32 zeros, C-contiguous, starting on a multiple of ALIGNMENT bytes (an engine can then use the
    memory as it is)."""
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.zeros(count * 4 + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count * 4].view(np.float32).reshape(shape)


def check_precision(precision: str) -> None:
    """EngineError unless `precision` is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise EngineError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")


def check_threads(threads: int) -> None:
    """EngineError unless `threads` is a whole number >= 0 (0 = all cores)."""
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise EngineError(f"threads is {threads!r}; expected a whole number >= 0 (0 = all cores)")


def static_input_shapes(inputs: dict[str, Shape], size: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Input shapes with symbolic dimensions 0, 2, 3 replaced by N, H, W; EngineError where that is not
    possible."""
    try:
        n, h, w = (v if isinstance(v, (int, np.integer)) and not isinstance(v, bool) else 0 for v in size)
    except (TypeError, ValueError):
        n = h = w = 0
    if min(n, h, w) < 1:
        raise EngineError(f"compile size is {size!r}; expected (N, H, W), three whole numbers >= 1")
    shapes = {}
    for name, shape in inputs.items():
        values = {0: int(n), 2: int(h), 3: int(w)} if len(shape) == 4 else {}
        resolved = tuple(values.get(axis, 0) if dim is None else dim for axis, dim in enumerate(shape))
        if any(dim is None and axis not in values for axis, dim in enumerate(shape)):
            raise EngineError(
                f"input {name!r} has shape {shape}: only dimensions 0, 2, 3 of a 4-D input may be symbolic (N, H, W)"
            )
        wrong = [axis for axis, value in values.items() if resolved[axis] != value]
        if wrong:
            raise EngineError(
                f"input {name!r} has the fixed shape {shape}, not (N, H, W) = {tuple(size)}; compile its own size"
            )
        shapes[name] = resolved
    return shapes
