"""Library: TensorRT's Python module, and what of its use differs from TensorRT for RTX (rtx.py). Plan: a compiled
engine in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dinar_live.engines.base import Progress

from .messages import BuildMonitor, Log

if TYPE_CHECKING:
    from dinar_live.kernels.cuda import Device


@dataclass(frozen=True)
class BuildSettings:
    """optimization_level: 0 (fastest build) to 5 (fastest plan); timing_iterations: measurements per
    candidate."""

    optimization_level: int = 3
    timing_iterations: int = 4  # of 1: a neighbour's burst of work can pick a slow kernel for ever

    def flags(self) -> tuple[str, ...]:
        """What of this changes the plan, for the cache key."""
        return (
            f"optimization_level={self.optimization_level}",
            f"timing_iterations={self.timing_iterations}",
            "max_aux_streams=0",
            "strongly_typed",
        )


class Library:
    """TensorRT proper: a plan is built on the GPU that runs it, by measuring kernels there.

    trt: the module. name: the engine's. levels: optimization levels to build with, () where there are none.
    build_time: how long a build takes, for people. builds_anywhere: whether a plan can be built on a machine
        without a GPU.
    """

    name = "tensorrt"
    title = "TensorRT"
    levels = tuple(range(6))
    build_time = "up to some minutes"
    builds_anywhere = False

    def __init__(self, trt: ModuleType | Any):
        self.trt = trt
        self._log_type = type("Log", (Log, trt.ILogger), {})
        self._monitor_type = type("BuildMonitor", (BuildMonitor, trt.IProgressMonitor), {})

    @property
    def version(self) -> str:
        return self.trt.__version__

    def log(self) -> Any:
        """A Log that TensorRT takes for its ILogger."""
        return self._log_type()

    def monitor(self, progress: Progress) -> Any:
        """A BuildMonitor that TensorRT takes for its IProgressMonitor."""
        return self._monitor_type(progress)

    def flags(self, level: int) -> tuple[str, ...]:
        """What of the settings for a level changes a plan, for the cache key."""
        return BuildSettings(level).flags()

    def refusal(self, device: Device) -> str:
        """Why it cannot be used on this GPU, "" where it can."""
        return ""

    def target(self, device: Device | None) -> tuple[str, str]:
        """(name of the GPU, compute capability) that a plan is made for, for the cache key."""
        assert device is not None  # TensorRT builds on the GPU
        return device.name, "{}.{}".format(*device.compute_capability)

    def configure(self, config, settings: BuildSettings, timing: bytes, log) -> Any:
        """Set up a builder configuration; returns the timing cache that the build fills, or None. An old one
        that is refused (another driver, another version) is replaced by an empty one."""
        config.builder_optimization_level = settings.optimization_level
        config.avg_timing_iterations = settings.timing_iterations
        for content in [timing, b""] if timing else [b""]:
            timing_cache = config.create_timing_cache(content)
            if timing_cache is not None and config.set_timing_cache(timing_cache, ignore_mismatch=False):
                return timing_cache
            log.take()
        raise log.failure("TensorRT does not accept an empty timing cache")

    def open_context(self, plan: Plan, managed: bool = False) -> Any:
        """An execution context of a plan, or None where TensorRT makes none. managed: it gets the memory between its
        layers from the caller."""
        if managed:
            return plan.engine.create_execution_context(
                self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
        return plan.engine.create_execution_context()

    def ran(self, plan: Plan, context: Any, stream: int) -> str:
        """Called after a context's first run on a stream: "" if its runs may be captured into a CUDA graph, else
        why not."""
        return ""


class Plan:
    """A deserialized plan; sessions of one model and size share it.

    size: bytes of the plan, about what its weights take on the GPU.
    kept: what was compiled for this GPU out of a portable plan at an earlier start (b"" = nothing, or nothing to
    keep). keep: called with it when there is more. compiled: the library's own object that holds it, once a
    context was made.
    """

    def __init__(
        self,
        library: Library,
        runtime: Any,
        engine: Any,
        log: Any,
        size: int = 0,
        kept: bytes = b"",
        keep: Callable[[bytes], None] = lambda data: None,
    ):
        self.library = library
        self.runtime = runtime  # it and its log must outlive the engine
        self.engine = engine
        self.log = log
        self.size = size
        self.kept = kept
        self.keep = keep
        self.compiled: Any = None
