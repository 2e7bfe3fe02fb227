"""Builds a TensorRT plan from a strongly typed ONNX file, with the names that TensorRT 10.15 and newer, 11, and
TensorRT for RTX have.

plan, timing = build_plan(library, model, library.log(), BuildSettings(), timing, progress=print)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dinar_live.engines.base import Progress

if TYPE_CHECKING:
    from .library import BuildSettings, Library


def build_plan(
    library: Library,
    model: bytes,
    log: Any,
    settings: BuildSettings,
    timing: bytes = b"",
    progress: Progress = lambda fraction, text: None,
) -> tuple[bytes, bytes]:
    """(plan, timing cache) of a strongly typed ONNX file with static shapes. Takes seconds to minutes.

    progress: an exception in it ends the build, and is raised.
    timing: what an earlier build measured (b"" if nothing); one that does not fit this GPU and version is not
    used. The timing cache is b"" for a library that measures nothing. EngineError with TensorRT's own words if
    the model cannot be parsed or built.
    """
    trt = library.trt
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
    config.max_aux_streams = 0  # one stream: predictable, and captured as one chain
    timing_cache = library.configure(config, settings, timing, log)
    monitor = library.monitor(progress)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.stopped_by is not None:
        raise monitor.stopped_by
    if plan is None:
        raise log.failure("TensorRT cannot build the model")
    progress(1.0, "built")
    measured = timing_cache.serialize() if timing_cache is not None else None
    return bytes(plan), bytes(measured) if measured is not None else b""


def _parser_errors(parser) -> str:
    errors = [parser.get_error(i) for i in range(min(parser.num_errors, 4))]
    return (
        "; ".join(f"node {error.node_name()!r} ({error.node_operator()}): {error.desc()}" for error in errors)
        or "no node was named"
    )
