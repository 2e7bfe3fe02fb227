"""Builds a TensorRT plan from a strongly typed ONNX file. Written for TensorRT 10.15 and newer and 11, with
the names that both have.

plan, timing = build_plan(model, Log(), BuildSettings(), timing, progress=print)
"""

# TensorRT is not installed where types are checked, and this folder is taken for it.
# pyright: reportAttributeAccessIssue=false

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import tensorrt as trt

from dinar_live.engines.base import EngineError

Progress = Callable[[float, str], None]  # (fraction done in [0, 1], what is being done)
_KEPT_MESSAGES = 12
_log = logging.getLogger(__name__)


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


class Log(trt.ILogger):
    """TensorRT's messages: errors are kept for the exception that will be raised, warnings go to Python's
    logging.

    Many of its calls report failure as None or False only; the reason is nowhere but here. Called from
    TensorRT's own threads.
    """

    def __init__(self):
        trt.ILogger.__init__(self)
        self._lock = threading.Lock()
        self._errors: list[str] = []

    def log(self, severity, msg) -> None:
        text = " ".join(str(msg).split())[:500]
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            with self._lock:
                if text not in self._errors:
                    self._errors = [*self._errors, text][-_KEPT_MESSAGES:]
        elif severity == trt.ILogger.Severity.WARNING:
            _log.info("TensorRT: %s", text)

    def take(self) -> str:
        """The errors since the last call, as one line ("" if there were none)."""
        with self._lock:
            errors, self._errors = self._errors, []
        return "; ".join(errors)

    def failure(self, what: str) -> EngineError:
        """An EngineError that says what failed and what TensorRT said about it."""
        return EngineError(f"{what}: {self.take() or 'TensorRT gave no reason'}")


class BuildMonitor(trt.IProgressMonitor):
    """One rising number out of TensorRT's nested phases. An exception in the callback stops the build;
    `stopped_by` keeps it."""

    def __init__(self, progress: Progress):
        trt.IProgressMonitor.__init__(self)
        self._progress = progress
        self._lock = threading.Lock()
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # name -> (parent, steps, done)
        self._highest = 0.0
        self.stopped_by: BaseException | None = None

    def phase_start(self, phase_name, parent_phase, num_steps) -> None:
        with self._lock:
            self._phases[phase_name] = (parent_phase, max(1, int(num_steps)), 0)
        self._report(phase_name)

    def phase_finish(self, phase_name) -> None:
        with self._lock:
            self._phases.pop(phase_name, None)

    def step_complete(self, phase_name, step) -> bool:
        with self._lock:
            if phase_name in self._phases:
                parent, steps, _ = self._phases[phase_name]
                self._phases[phase_name] = (parent, steps, min(steps, int(step) + 1))
        self._report(phase_name)
        return self.stopped_by is None

    def _report(self, phase_name: str) -> None:
        try:  # an exception may not reach TensorRT
            with self._lock:
                self._highest = max(self._highest, self._fraction(phase_name))
                highest = self._highest
            self._progress(highest, phase_name)
        except BaseException as error:
            self.stopped_by = self.stopped_by or error

    def _fraction(self, phase_name: str) -> float:
        """Done of the outermost phase, where a step under way counts as far as its own phase has come."""
        inner, name, seen = 0.0, phase_name, set()
        while name in self._phases and name not in seen:
            seen.add(name)
            parent, steps, done = self._phases[name]
            inner = min(1.0, (done + inner) / steps)
            name = parent
        return inner


def build_plan(
    model: bytes, log: Log, settings: BuildSettings, timing: bytes = b"", progress: Progress | None = None
) -> tuple[bytes, bytes]:
    """(plan, timing cache) of a strongly typed ONNX file with static shapes, on the current GPU. Takes
    seconds to minutes.

    timing: what an earlier build measured (b"" if nothing); one that does not fit this GPU and version is not
    used. EngineError with TensorRT's own words if the model cannot be parsed or built.
    """
    log.take()
    try:
        builder = trt.Builder(log)
    except (
        TypeError,
        RuntimeError,
    ) as error:  # the binding's own words for "no builder": no GPU, or libraries that do not fit
        raise log.failure("TensorRT cannot start a builder") from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise log.failure("TensorRT cannot make a network")
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise log.failure(f"TensorRT cannot read the model ({_parser_errors(parser)})")
    config = builder.create_builder_config()
    if config is None:
        raise log.failure("TensorRT cannot make a builder configuration")
    config.builder_optimization_level = settings.optimization_level
    config.avg_timing_iterations = settings.timing_iterations
    config.max_aux_streams = 0  # one stream: predictable, and captured as one chain
    timing_cache = _attach_timing(config, timing, log)
    monitor = None
    if progress is not None:
        monitor = BuildMonitor(progress)
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.stopped_by is not None:
        raise monitor.stopped_by
    if plan is None:
        raise log.failure("TensorRT cannot build the model")
    measured = timing_cache.serialize()
    return bytes(plan), bytes(measured) if measured is not None else b""


def _attach_timing(config, timing: bytes, log: Log):
    """Give the builder a timing cache; an old one that it refuses (another driver, another version) is
    replaced by an empty one."""
    for content in [timing, b""] if timing else [b""]:
        timing_cache = config.create_timing_cache(content)
        if timing_cache is not None and config.set_timing_cache(timing_cache, ignore_mismatch=False):
            return timing_cache
        log.take()
    raise log.failure("TensorRT does not accept an empty timing cache")


def _parser_errors(parser) -> str:
    errors = [parser.get_error(i) for i in range(min(parser.num_errors, 4))]
    return (
        "; ".join(f"node {error.node_name()!r} ({error.node_operator()}): {error.desc()}" for error in errors)
        or "no node was named"
    )
