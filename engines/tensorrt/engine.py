"""TensorRT on an NVIDIA GPU: strongly typed float16, one plan per size, kept in the engine cache.

    model.onnx -> folded -> written in float16 with float32 islands -> static shapes -> plan (cached) ->
    session

TensorRT chooses kernels, never types: what runs in float16 is written in the graph (onnx_lower.py). A plan is
machine code for one GPU model and one TensorRT version; the cache key holds everything it depends on, and a
plan that is refused is built again.
"""

# TensorRT is not installed where types are checked, and this folder is taken for it.
# pyright: reportAttributeAccessIssue=false

import hashlib
import logging
import os
import pathlib
import threading
import weakref

import tensorrt as trt

from dinar_live.engines.base import (
    DeviceSession,
    Engine,
    EngineError,
    EngineInfo,
    Session,
    static_input_shapes,
)
from dinar_live.engines.cache import EngineCache, EngineKey, platform_name
from dinar_live.engines.gpu import open_device
from dinar_live.engines.nvidia import device_index
from dinar_live.engines.onnx import fold as onnx_fold
from dinar_live.engines.onnx import graph as onnx_graph
from dinar_live.engines.onnx import lower as onnx_lower
from dinar_live.engines.onnx.file import OnnxFile

from .build import BuildSettings, Log, Progress, build_plan
from .plan import Plan
from .session import TensorRTDeviceSession, TensorRTSession

LEVELS, DEFAULT_LEVEL = range(6), 3
_log = logging.getLogger(__name__)


def open_engine(
    model: OnnxFile,
    precision: str,
    threads: int,
    reason: str,
    *,
    device: str = "cuda",
    cache_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
    optimization_level: int | None = None,
) -> Engine:
    """Engine for one model on device "cuda" (the first GPU, as is "auto") or "cuda:N".

    cache_dir: where plans are kept (default: the user's cache folder). progress: called with (fraction, what)
        while a plan is built.
    optimization_level: 0 (fastest build) to 5 (fastest plan); None takes the best plan that is kept, and
        builds with 3 where there is none.
    """
    device = "cuda" if device == "auto" else device
    return TensorRTEngine(
        model, precision, reason, device, EngineCache(cache_dir), progress, optimization_level
    )


_plans: "weakref.WeakValueDictionary[EngineKey, Plan]" = weakref.WeakValueDictionary()
_building = threading.Lock()  # builds measure kernels: two at once would measure each other


class TensorRTEngine(Engine):
    """See `create_engine`."""

    keeps = True

    def __init__(
        self,
        model: OnnxFile,
        precision: str,
        reason: str,
        device: str,
        cache: EngineCache,
        progress: Progress | None,
        optimization_level: int | None,
    ):
        if precision == "bf16":
            raise EngineError(
                "precision bf16 is not offered by the tensorrt engine (ONNX has bf16 convolutions from opset 22 only): "
                "use f16 or f32"
            )
        if optimization_level is not None and optimization_level not in LEVELS:
            raise EngineError(f"optimization_level is {optimization_level!r}; expected 0 to 5, or None")
        precision, why = ("f16", "a GPU") if precision == "auto" else (precision, "asked for")
        self._device = open_device(device_index(device))
        self.inputs = model.inputs
        self.outputs = model.outputs
        self._model: OnnxFile | None = model
        self._precision = precision
        self._cache = cache
        self._progress = progress
        self._level = optimization_level
        self._digest = hashlib.sha256(model.data).hexdigest()
        self._folded = None
        self.device_io = "float32" if precision == "f32" else "float16"
        self.info = EngineInfo(
            "tensorrt", trt.__version__, self._device.name, precision, 0, f"{reason}; {precision}: {why}"
        )

    def compile(self, size: tuple[int, int, int]) -> Session:
        return TensorRTSession(self._device, self.plan(size, "float32"))

    def compile_device(self, size: tuple[int, int, int]) -> DeviceSession:
        assert self.device_io is not None  # set when this was made
        return TensorRTDeviceSession(self._device, self.plan(size, self.device_io))

    def close(self) -> None:
        self._model = self._folded = None

    def _opened(self) -> OnnxFile:
        if self._model is None:
            raise EngineError("this engine is closed; create another one")
        return self._model

    def key(self, size: tuple[int, int, int], io: str, level: int) -> EngineKey:
        """What the plan for (N, H, W), with inputs and outputs of type `io` and built at this level, depends
        on."""
        shapes = static_input_shapes(self.inputs, size)
        flags = (
            *BuildSettings(level).flags(),
            f"precision={self._precision}",
            f"io={io}",
            f"rewriting={_rewriting_digest()}",
        )
        return EngineKey(
            "plan",
            self._digest,
            tuple(sorted(shapes.items())),
            f"tensorrt {trt.__version__}",
            self._device.name,
            "{}.{}".format(*self._device.compute_capability),
            platform_name(),
            flags,
        )

    def _keys(self, size: tuple[int, int, int], io: str) -> list[EngineKey]:
        """Keys of the plans that will do, the best first."""
        return [
            self.key(size, io, level)
            for level in (reversed(LEVELS) if self._level is None else [self._level])
        ]

    def drop(self, size: tuple[int, int, int], io: str) -> None:
        """Delete the plan from the cache, so that the next session builds it again."""
        for key in self._keys(size, io):
            self._cache.drop(key)
            _plans.pop(key, None)

    def plan(self, size: tuple[int, int, int], io: str) -> Plan:
        """The plan for (N, H, W): shared if a session has it, else from the cache, else built."""
        self._opened()
        keys = self._keys(size, io)
        with _building:
            self._device.make_current()
            for key in keys:
                plan = _plans.get(key) or self._load(key)
                if plan is not None:
                    _plans[key] = plan
                    return plan
            level = DEFAULT_LEVEL if self._level is None else self._level
            key = self.key(size, io, level)
            plan = _plans[key] = self._build(key, size, io, level)
            return plan

    def _load(self, key: EngineKey) -> Plan | None:
        data = self._cache.load(key)
        if data is None:
            return None
        log = Log()
        try:
            plan = _deserialize(data, log)
        except EngineError as error:
            _log.warning("a cached plan was refused, building again (%s)", error)
            self._cache.drop(key)
            return None
        return plan

    def _build(self, key: EngineKey, size: tuple[int, int, int], io: str, level: int) -> Plan:
        log = Log()
        if self._progress is None:
            _log.warning(
                "TensorRT builds an engine for (N, H, W) = %s; this takes up to some minutes, once",
                tuple(size),
            )
        timing_key = EngineKey(
            "timing", "", (), key.engine, key.gpu, key.compute_capability, key.platform, ()
        )
        timing = bytes(self._cache.load(timing_key) or b"")
        data, measured = build_plan(self.lowered(size, io), log, BuildSettings(level), timing, self._progress)
        plan = _deserialize(data, log)  # before it is kept: a plan that cannot be loaded here is of no use
        self.built += 1
        for kept, content in ((key, data), (timing_key, measured)):
            try:
                if content:
                    self._cache.store(kept, content)
            except EngineError as error:  # a full disk costs the next start its time, not this one its engine
                _log.warning("%s", error)
        return plan

    def lowered(self, size: tuple[int, int, int], io: str) -> bytes:
        """The ONNX file that TensorRT is given for (N, H, W) and inputs and outputs of type `io`."""
        if self._folded is None:
            proto = onnx_graph.load_proto(self._opened())
            self._folded = onnx_fold.fold(onnx_graph.at_least_opset(proto))
        shapes = static_input_shapes(self.inputs, size)
        return onnx_graph.static(
            onnx_lower.lower(self._folded, self._precision, io), shapes
        ).SerializeToString()


def _deserialize(data: bytes | memoryview, log: Log) -> Plan:
    try:
        runtime = trt.Runtime(log)  # engine_host_code_allowed stays False: a plan brings no host code
    except (TypeError, RuntimeError) as error:  # as for the builder
        raise log.failure("TensorRT cannot start a runtime") from error
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise log.failure("TensorRT cannot load the plan")
    return Plan(runtime, engine, log)


def _rewriting_digest() -> str:
    """Hash of the code that writes the graph: a plan of other code is another plan, without anybody raising a
    number."""
    digest = hashlib.sha256()
    for module in (onnx_graph, onnx_fold, onnx_lower):
        digest.update(pathlib.Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]


def describe_gpu() -> str:
    """See EngineModule."""
    return f"TensorRT {trt.__version__}"
