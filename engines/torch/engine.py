"""torch: runs the ONNX graph with operators of its own (graph.py, ops.py). The reference for other engines;
float32 on the CPU, float16 on a GPU.

Every value has the type that the graph gives it; float16 and bfloat16 are written into the graph by
onnx_lower.py, the same that TensorRT gets, so f16 on a CPU (slow there) shows what f16 costs in accuracy.
Slower than OpenVINO on a CPU and it allocates its intermediates, but every step is readable and errors name
the node. On a GPU: channels-last, and one CUDA graph per size (cuda.py).
"""

import contextlib
import hashlib
import importlib.metadata
import platform

import torch

from dinar_live.engines.base import (
    DeviceSession,
    Engine,
    EngineError,
    EngineInfo,
    Session,
    aligned_zeros,
    static_input_shapes,
)
from dinar_live.engines.cache import EngineCache, EngineKey, platform_name
from dinar_live.engines.nvidia import device_index
from dinar_live.engines.onnx.file import OnnxFile
from dinar_live.engines.onnx.fold import fold
from dinar_live.engines.onnx.graph import load_proto, opset_of
from dinar_live.engines.onnx.lower import lower

from .cuda import TorchCudaSession, TorchDeviceSession
from .graph import TorchGraph

_OLDEST_OPSET = 13  # from here on axes are inputs and Softmax has its present meaning


def open_engine(
    model: OnnxFile, precision: str, threads: int, reason: str, *, device: str = "auto"
) -> Engine:
    """Engine for one model; device: "auto" (a GPU if torch sees one), "cpu", "cuda" or "cuda:N"."""
    return TorchEngine(model, precision, threads, reason, device)


class _Checked:
    """Which sizes were compared with float32 on this GPU, by this torch: notes in the engine cache."""

    def __init__(self, model: bytes, gpu: str, flags: tuple[str, ...]):
        self._digest = hashlib.sha256(model).hexdigest()
        self._gpu = gpu
        self._flags = flags
        try:
            self._cache: EngineCache | None = EngineCache()
        except EngineError:  # then each start compares again
            self._cache = None

    def _key(self, size: tuple[int, int, int], io: str) -> EngineKey:
        engine = f"torch {importlib.metadata.version('torch')} CUDA {torch.version.cuda}"
        shapes = (("N, H, W", tuple(size)),)
        flags = (*self._flags, f"io={io}")
        return EngineKey("checked", self._digest, shapes, engine, self._gpu, "", platform_name(), flags)

    def __contains__(self, instance: tuple[tuple[int, int, int], str]) -> bool:
        return self._cache is not None and self._cache.load(self._key(*instance)) is not None

    def add(self, instance: tuple[tuple[int, int, int], str]) -> None:
        if self._cache is not None:
            with contextlib.suppress(EngineError):  # a full disk
                self._cache.store(self._key(*instance), b"equal to float32")


class TorchEngine(Engine):
    """See `create_engine`."""

    def __init__(self, model: OnnxFile, precision: str, threads: int, reason: str, device: str):
        index = None if device in ("auto", "cpu") else device_index(device)
        has_gpu = device != "cpu" and torch.cuda.is_available()
        if index is not None and not has_gpu:
            raise EngineError(
                f"device {device} was asked for, but torch sees no GPU: install a driver and a CUDA build of torch, "
                "or use cpu"
            )
        if has_gpu and (index or 0) >= torch.cuda.device_count():
            raise EngineError(f"device {device} was asked for; torch sees {torch.cuda.device_count()} GPU")
        self._device = torch.device("cuda", index or 0) if has_gpu else torch.device("cpu")
        if precision == "auto":
            precision, why = ("f16", "a GPU") if has_gpu else ("f32", "the reference on a CPU")
        else:
            why = "asked for"
        self.inputs = model.inputs
        self.outputs = model.outputs
        self._model: OnnxFile | None = model
        self._precision = precision
        self._threads = threads
        self.device_io = ("float32" if precision == "f32" else "float16") if has_gpu else None
        self._graphs: dict[str, TorchGraph] = {}
        self.graph("float32")  # a model that cannot be read is refused here
        name = (
            torch.cuda.get_device_name(self._device)
            if has_gpu
            else f"CPU ({platform.processor() or platform.machine()})"
        )
        self._checked = _Checked(model.data, name, (precision,)) if has_gpu else None
        version, used = importlib.metadata.version("torch"), threads or torch.get_num_threads()
        self.info = EngineInfo("torch", version, name, precision, used, f"{reason}; {precision}: {why}")

    def graph(self, io: str) -> TorchGraph:
        """The network with inputs and outputs of this type ("float32" or "float16"), made once; sessions
        share its weights."""
        if self._model is None:
            raise EngineError("this engine is closed; create another one")
        if io not in self._graphs:
            proto = load_proto(self._model)
            if opset_of(proto) < _OLDEST_OPSET:
                raise EngineError(
                    f"{self._model.source} uses opset {opset_of(proto)}; the torch engine needs {_OLDEST_OPSET} or newer: "
                    "export it again"
                )
            on_gpu = self._device.type == "cuda"
            if on_gpu or self._precision != "f32":  # f32 on a CPU is the reference: the file as it is
                proto = lower(fold(proto), self._precision, io)
            self._graphs[io] = TorchGraph(
                proto, self._model.source, self._device, self._threads, channels_last=on_gpu
            )
        return self._graphs[io]

    def compile(self, size: tuple[int, int, int]) -> Session:
        graph = self.graph("float32")
        shapes = static_input_shapes(self.inputs, size)
        if self._device.type == "cuda":
            return TorchCudaSession(graph, shapes)
        trial = graph.run({name: torch.zeros(shape) for name, shape in shapes.items()})
        return TorchSession(graph, shapes, {name: tuple(value.shape) for name, value in trial.items()})

    def compile_device(self, size: tuple[int, int, int]) -> DeviceSession:
        if self._device.type != "cuda":
            return super().compile_device(size)
        assert self.device_io is not None  # it is where there is a GPU
        return TorchDeviceSession(
            self.graph(self.device_io), static_input_shapes(self.inputs, size), self.device_io
        )

    def unchecked(self, size: tuple[int, int, int], io: str) -> bool:
        return self._checked is not None and self._precision != "f32" and (size, io) not in self._checked

    def vouch(self, size: tuple[int, int, int], io: str) -> None:
        if self._checked is not None:
            self._checked.add((size, io))

    def close(self) -> None:
        self._model = None
        self._graphs.clear()


class TorchSession(Session):
    """Runs at once, on the CPU."""

    def __init__(
        self, graph: TorchGraph, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]
    ):
        self._graph = graph
        super().__init__(
            {name: aligned_zeros(shape) for name, shape in inputs.items()},
            {name: aligned_zeros(shape) for name, shape in outputs.items()},
        )
        self._in = {name: torch.from_numpy(array) for name, array in self.inputs.items()}
        self._out = {name: torch.from_numpy(array) for name, array in self.outputs.items()}

    def _start(self) -> None:
        for name, value in self._graph.run(self._in).items():
            self._out[name].copy_(value)

    def _wait(self) -> None:
        pass


def describe_gpu() -> str:
    """See EngineModule."""
    if not torch.cuda.is_available():
        raise EngineError(
            f"torch {torch.__version__} sees no GPU: install the CUDA build of torch: https://pytorch.org"
        )
    return f"torch {torch.__version__}, CUDA {torch.version.cuda}"
