"""TensorRT and TensorRT for RTX on an NVIDIA GPU: strongly typed float16, one plan per size, kept in the engine
cache.

    model.onnx -> folded -> written in float16 with float32 islands -> static shapes -> plan (cached) ->
    session

TensorRT chooses kernels, never types: what runs in float16 is written in the graph (onnx/lower.py). A plan is
machine code for one GPU model (for RTX: for a range of them) and one TensorRT version; the cache key holds
everything it depends on, and a plan that is refused is built again. The entry of TensorRT is standard.py, that of
TensorRT for RTX is rtx.py; what differs between them is in their Library.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import pathlib
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dinar_live.engines.base import (
    DeviceSession,
    Engine,
    EngineError,
    EngineInfo,
    Progress,
    Session,
    static_input_shapes,
)
from dinar_live.engines.cache import EngineCache, EngineKey, platform_name
from dinar_live.engines.gpu import open_device
from dinar_live.engines.nvidia import device_index
from dinar_live.engines.onnx import fold as onnx_fold
from dinar_live.engines.onnx import graph as onnx_graph
from dinar_live.engines.onnx import lower as onnx_lower
from dinar_live.engines.onnx import quantize as onnx_quantize
from dinar_live.engines.onnx.file import OnnxFile

from .build import build_plan
from .library import BuildSettings, Library, Plan
from .session import TensorRTDeviceSession, TensorRTSession

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import Device

DEFAULT_LEVEL = 3
_REFUSED, _UNCHECKED = "refused", "unchecked"  # EngineKey.kind of notes about a plan
_log = logging.getLogger(__name__)


_plans: weakref.WeakValueDictionary[EngineKey, Plan] = weakref.WeakValueDictionary()
_building = (
    threading.Lock()
)  # builds of TensorRT proper measure kernels: two at once would measure each other


class TensorRTEngine(Engine):
    """See `create_engine` and PlanBuilder. library: which TensorRT. device: "cuda", "auto", "cuda:N", or None to
    build plans only, where the library can do that without a GPU."""

    keeps = True

    def __init__(
        self,
        library: Library,
        model: OnnxFile,
        precision: str,
        reason: str,
        device: str | None,
        cache: EngineCache,
        progress: Progress | None,
        optimization_level: int | None = None,
    ):
        if precision == "bf16":
            raise EngineError(
                f"precision bf16 is not offered by the {library.name} engine (ONNX has bf16 convolutions from opset 22 "
                "only): use f16 or f32"
            )
        if optimization_level is not None and optimization_level not in library.levels:
            raise EngineError(f"optimization_level is {optimization_level!r}; expected 0 to 5, or None")
        precision, why = ("f16", "a GPU") if precision == "auto" else (precision, "asked for")
        self._library = library
        self._device = None
        if device is not None:
            self._device = open_device(device_index("cuda" if device == "auto" else device))
            if refusal := library.refusal(self._device):
                raise EngineError(refusal)
        self.inputs = model.inputs
        self.outputs = model.outputs
        if precision == "int8":  # refused here, before anything is built
            onnx_quantize.ranges_of(onnx_graph.load_proto(model))
        self._model: OnnxFile | None = model
        self._precision = precision
        self._cache = cache
        self._progress = progress
        self._level = optimization_level
        self._cancelled = threading.Event()
        self._digest = hashlib.sha256(model.data).hexdigest()
        self._folded = None
        self._unchecked: set[tuple[tuple[int, int, int], str]] = set()
        self.device_io = "float32" if precision == "f32" else "float16"
        where = (
            self._device.name
            if self._device is not None
            else f"GPUs of compute capability {library.target(None)[1]}"
        )
        self.info = EngineInfo(
            library.name, library.version, where, precision, 0, f"{reason}; {precision}: {why}"
        )

    def compile(self, size: tuple[int, int, int]) -> Session:
        return TensorRTSession(self._gpu(), self.plan(size, "float32"))

    def compile_device(self, size: tuple[int, int, int]) -> DeviceSession:
        assert self.device_io is not None  # set when this was made
        return TensorRTDeviceSession(self._gpu(), self.plan(size, self.device_io), self.scratch)

    def _gpu(self) -> Device:
        if self._device is None:
            raise EngineError(f"{self._library.name} was opened to build plans only: a session needs a GPU")
        return self._device

    def close(self) -> None:
        self.cancel()
        self._model = self._folded = None

    def cancel(self) -> None:
        self._cancelled.set()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else builds inside. EngineError if this engine is cancelled while it waits."""
        while not _building.acquire(timeout=0.1):
            self._refuse_cancelled()
        try:
            self._refuse_cancelled()
            yield
        finally:
            _building.release()

    def _refuse_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise EngineError("the build was cancelled")

    def _going_on(self, fraction: float, text: str) -> None:
        """Called while TensorRT builds; an exception ends the build."""
        self._refuse_cancelled()
        if self._progress is not None:
            self._progress(fraction, text)

    def _opened(self) -> OnnxFile:
        if self._model is None:
            raise EngineError("this engine is closed; create another one")
        return self._model

    def key(self, size: tuple[int, int, int], io: str, level: int) -> EngineKey:
        """What the plan for (N, H, W), with inputs and outputs of type `io` and built at this level, depends
        on."""
        shapes = static_input_shapes(self.inputs, size)
        flags = (
            *self._library.flags(level),
            f"precision={self._precision}",
            f"io={io}",
            f"rewriting={_rewriting_digest()}",
        )
        return EngineKey(
            "plan",
            self._digest,
            tuple(sorted(shapes.items())),
            f"{self._library.name} {self._library.version}",
            *self._library.target(self._device),
            platform_name(),
            flags,
        )

    def _keys(self, size: tuple[int, int, int], io: str) -> list[EngineKey]:
        """Keys of the plans that will do, the best first."""
        levels = self._library.levels or (DEFAULT_LEVEL,)
        return [
            self.key(size, io, level)
            for level in (reversed(levels) if self._level is None else [self._level])
        ]

    def drop(self, size: tuple[int, int, int], io: str) -> None:
        """Delete the plan from the cache, so that the next session builds it again."""
        for key in self._keys(size, io):
            self._cache.drop(key)
            for kind in (_REFUSED, _UNCHECKED):
                self._cache.drop(dataclasses.replace(key, kind=kind))
            _plans.pop(key, None)

    def unchecked(self, size: tuple[int, int, int], io: str) -> bool:
        return (size, io) in self._unchecked

    def vouch(self, size: tuple[int, int, int], io: str) -> None:
        self._unchecked.discard((size, io))

    def refuse(self, size: tuple[int, int, int], io: str, reason: str) -> None:
        self.drop(size, io)
        for key in self._keys(size, io):
            self._keep(dataclasses.replace(key, kind=_REFUSED), reason.encode())

    def plan(self, size: tuple[int, int, int], io: str) -> Plan:
        """The plan for (N, H, W): shared if a session has it, else from the cache, else built."""
        self._opened()
        keys = self._keys(size, io)
        with self._turn():
            self._gpu().make_current()
            for key in keys:
                plan = _plans.get(key) or self._load(key, (size, io))
                if plan is not None:
                    _plans[key] = plan
                    return plan
            if refused := self._cache.load(dataclasses.replace(keys[0], kind=_REFUSED)):
                raise EngineError(
                    f"at an earlier start, {bytes(refused).decode()} (dinar compile --rebuild tries again)"
                )
            made = self._build(size, io)
            self._unchecked.add((size, io))
            key, data = made[0]
            plan = self._open(data, key)  # before it is kept: one that cannot be loaded is of no use
            _plans[key] = plan
            for kept in made:
                self._keep(*kept)
            return plan

    def prepare(self, size: tuple[int, int, int], io: str) -> int:
        """See PlanBuilder."""
        self._opened()
        with self._turn():
            for key in self._keys(size, io):
                if (data := self._cache.load(key)) is not None:
                    return len(data)
            ((key, data),) = self._build(size, io)  # what builds without a GPU measures nothing
            self._cache.store(dataclasses.replace(key, kind=_UNCHECKED), b"built without a GPU")
            self._cache.store(key, data)
            return len(data)

    def _load(self, key: EngineKey, instance: tuple[tuple[int, int, int], str]) -> Plan | None:
        data = self._cache.load(key)
        if data is None:
            return None
        unchecked = dataclasses.replace(key, kind=_UNCHECKED)
        try:
            plan = self._open(data, key)
            if self._cache.load(unchecked) is not None:
                self.built += 1  # as if it had been built here: whoever asked for it compares it
                self._unchecked.add(instance)
                self._cache.drop(unchecked)
            return plan
        except EngineError as error:
            _log.warning("a cached plan was refused, building again (%s)", error)
            self._cache.drop(key)
            return None

    def _open(self, data: bytes | memoryview, key: EngineKey) -> Plan:
        """The plan in memory. With a library whose plans are portable, what it compiles for this GPU is kept too."""
        library, log = self._library, self._library.log()
        runtime, engine = _deserialize(library, data, log)
        if not library.builds_anywhere:
            return Plan(library, runtime, engine, log, len(data))
        device = self._gpu()
        kernels = dataclasses.replace(
            key,
            kind="kernels",
            gpu=device.name,
            compute_capability="{}.{}".format(*device.compute_capability),
            flags=(*key.flags, f"plan={hashlib.sha256(data).hexdigest()}"),
        )
        kept = bytes(self._cache.load(kernels) or b"")
        if not kept and self._progress is not None:
            self._progress(0.0, f"compiling for {device.name}")
        return Plan(library, runtime, engine, log, len(data), kept, lambda data: self._keep(kernels, data))

    def _keep(self, key: EngineKey, data: bytes) -> None:
        try:
            self._cache.store(key, data)
        except EngineError as error:  # a full disk costs the next start its time, not this one its engine
            _log.warning("%s", error)

    def _build(self, size: tuple[int, int, int], io: str) -> list[tuple[EngineKey, bytes]]:
        """What is to be kept: the plan, and what its build measured."""
        level = DEFAULT_LEVEL if self._level is None else self._level
        key, log = self.key(size, io, level), self._library.log()
        if self._progress is None:
            _log.warning(
                "%s builds an engine for (N, H, W) = %s; this takes %s, once",
                self._library.title,
                tuple(size),
                self._library.build_time,
            )
        timing_key = EngineKey(
            "timing", "", (), key.engine, key.gpu, key.compute_capability, key.platform, ()
        )
        timing = bytes(self._cache.load(timing_key) or b"")
        data, measured = build_plan(
            self._library, self.lowered(size, io), log, BuildSettings(level), timing, self._going_on
        )
        self.built += 1
        return [(key, data)] + ([(timing_key, measured)] if measured else [])

    def lowered(self, size: tuple[int, int, int], io: str) -> bytes:
        """The ONNX file that TensorRT is given for (N, H, W) and inputs and outputs of type `io`."""
        if self._folded is None:
            proto = onnx_graph.load_proto(self._opened())
            self._folded = onnx_fold.fold(onnx_graph.at_least_opset(proto))
        shapes = static_input_shapes(self.inputs, size)
        int8 = self._precision == "int8"
        proto = onnx_lower.lower(self._folded, "f16" if int8 else self._precision, io)
        if int8:
            proto = onnx_quantize.quantized(proto, onnx_quantize.ranges_of(self._folded))
        return onnx_graph.static(proto, shapes).SerializeToString()


def _deserialize(library: Library, data: bytes | memoryview, log: Any) -> tuple[Any, Any]:
    """(runtime, engine) of a plan; EngineError with TensorRT's own words if it cannot be loaded here."""
    trt = library.trt
    try:
        runtime = trt.Runtime(log)  # engine_host_code_allowed stays False: a plan brings no host code
    except (TypeError, RuntimeError) as error:  # as for the builder
        raise log.failure("TensorRT cannot start a runtime") from error
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise log.failure("TensorRT cannot load the plan")
    return runtime, engine


def _rewriting_digest() -> str:
    """Hash of the code that writes the graph: a plan of other code is another plan, without anybody raising a
    number."""
    digest = hashlib.sha256()
    for module in (onnx_graph, onnx_fold, onnx_lower, onnx_quantize):
        digest.update(pathlib.Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]
