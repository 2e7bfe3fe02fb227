"""The engine tensorrt-rtx: TensorRT for RTX, whose packages come from PyPI and whose builder needs no GPU.

A plan is portable: it fits every GPU of compute capability 8.0, 8.6, 8.9, 12.0 and later that TensorRT for RTX
knows, or 7.5 when it was built for that. What is left to do is compiled for the GPU at hand when a session is
made, in seconds, and kept beside the plan for the next start. Importing this imports tensorrt_rtx_bindings.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import tensorrt_rtx_bindings

from dinar_live.engines.base import PLAN_TARGETS, Engine, EngineError, PlanBuilder, Progress
from dinar_live.engines.cache import EngineCache
from dinar_live.engines.onnx.file import OnnxFile

from .engine import TensorRTEngine
from .int8 import Examples, with_examples
from .library import Library

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import Device

    from .library import BuildSettings, Plan

MODERN, TURING = PLAN_TARGETS


class RtxLibrary(Library):
    """TensorRT for RTX. target_name: one of PLAN_TARGETS, or None = what the device has."""

    name = "tensorrt-rtx"
    title = "TensorRT for RTX"
    levels = ()
    build_time = "some seconds"
    builds_anywhere = True

    def __init__(self, trt: Any, target_name: str | None = None):
        super().__init__(trt)
        self._target = target_name

    def refusal(self, device: Device) -> str:
        """Why there is no plan for this GPU, "" where there is one: data centre cards between the generations that the
        library names have none; newer ones than it knows get those of its newest."""
        known = [name[2:] for name in self.trt.ComputeCapability.__members__ if name.startswith("SM")]
        have = sorted((int(digits[:-1]), int(digits[-1])) for digits in known)
        mine = tuple(device.compute_capability)
        if not have or mine in have or mine > have[-1]:
            return ""
        names = ", ".join(f"{major}.{minor}" for major, minor in have)
        return (
            f"TensorRT for RTX {self.version} has no plans for {device.name}, whose compute capability "
            f"{mine[0]}.{mine[1]} is not among {names}: use tensorrt or torch"
        )

    def flags(self, level: int) -> tuple[str, ...]:
        return "max_aux_streams=0", "strongly_typed"

    def target(self, device: Device | None) -> tuple[str, str]:
        if self._target is None:
            turing = device is not None and tuple(device.compute_capability) == (7, 5)
            self._target = TURING if turing else MODERN
        return "", self._target

    def configure(self, config, settings: BuildSettings, timing: bytes, log) -> None:
        """No timing cache: one would make the builder look for a GPU."""
        trt = self.trt
        if self._target == TURING:
            config.num_compute_capabilities = 1
            if not config.set_compute_capability(trt.ComputeCapability.SM75, 0):
                raise log.failure(f"TensorRT for RTX cannot build for compute capability {TURING}")

    def open_context(self, plan: Plan, managed: bool = False) -> Any:
        trt, engine = self.trt, plan.engine
        runtime_config = engine.create_runtime_config()
        if managed:
            strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
            runtime_config.set_execution_context_allocation_strategy(strategy)
        runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # runs become part of our graphs
        if plan.compiled is None:
            runtime_cache = runtime_config.create_runtime_cache()
            if plan.kept and not runtime_cache.deserialize(plan.kept):
                plan.log.take()  # of another driver or card: compiled anew
            plan.compiled = runtime_cache
        if not runtime_config.set_runtime_cache(plan.compiled):
            plan.log.take()  # this start pays for it, and the next
        return engine.create_execution_context(runtime_config)

    def ran(self, plan: Plan, context: Any, stream: int) -> str:
        runtime_cache = plan.compiled
        data = bytes(runtime_cache.serialize() or b"")
        if data and data != plan.kept:
            plan.kept = data
            plan.keep(data)
        return (
            "" if context.is_stream_capturable(stream) else "TensorRT for RTX says that it cannot be captured"
        )


def open_engine(
    model: OnnxFile,
    precision: str,
    threads: int,
    reason: str,
    *,
    device: str = "cuda",
    cache_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
    examples: Examples | None = None,
) -> Engine:
    """Engine for one model on device "cuda" (the first GPU, as is "auto") or "cuda:N".

    cache_dir: where plans are kept (default: the user's cache folder). progress: called with (fraction, what)
        while a plan is built. examples: inputs of the network, for the precision int8.
    """
    cache = EngineCache(cache_dir)
    model = with_examples(model, precision, examples, cache)
    library = RtxLibrary(tensorrt_rtx_bindings)
    return TensorRTEngine(library, model, precision, reason, device, cache, progress)


def open_builder(
    model: OnnxFile,
    precision: str,
    *,
    target: str = MODERN,
    cache_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
    examples: Examples | None = None,
) -> PlanBuilder:
    """Builds plans for GPUs of a target (one of PLAN_TARGETS) on any machine, into the cache that `open_engine` looks
    into. Arguments as its own. EngineError for another target."""
    if target not in PLAN_TARGETS:
        raise EngineError(f"target is {target!r}; expected one of {', '.join(map(repr, PLAN_TARGETS))}")
    cache = EngineCache(cache_dir)
    model = with_examples(model, precision, examples, cache)
    library = RtxLibrary(tensorrt_rtx_bindings, target)
    return TensorRTEngine(library, model, precision, "built ahead", None, cache, progress)


def describe_gpu() -> str:
    """See EngineModule."""
    return f"TensorRT for RTX {tensorrt_rtx_bindings.__version__}"
