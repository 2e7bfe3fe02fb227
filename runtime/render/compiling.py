"""Builds a renderer's engines ahead of time and refuses those whose frames are not the network's: `build_ahead`;
for a GPU that is not here: `prepare_ahead`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dinar_live import engines
from dinar_live.engines.measured import record
from dinar_live.runtime.avatar import Avatar, RendererSpec
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.gpu.pipeline import BUCKET

from . import parity
from .window import padded

Size = tuple[int, int]
"""(height, width) in pixels"""
HOST, DEVICE = "host", "device"
TIMED_RUNS = 30  # of each instance on a GPU


@dataclass(frozen=True)
class Instance:
    """key (N, H, W); kind: DEVICE (its tensors stay on the GPU) or HOST; frame: the whole frame that it
    is a part of."""

    key: tuple[int, int, int]
    kind: str
    frame: Size


@dataclass(frozen=True)
class Built:
    """One instance that is ready. seconds: until it was; from_cache: it was kept from an earlier build; mode:
    how it runs; ms: of a run on the GPU, None where it was not measured."""

    instance: Instance
    seconds: float
    from_cache: bool
    parity: parity.Parity
    passed: bool
    mode: str
    ms: float | None = None


@dataclass(frozen=True)
class Prepared:
    """One instance that is kept on disk for a GPU elsewhere, and was not run. bytes: its size there."""

    instance: Instance
    seconds: float
    from_cache: bool
    bytes: int


def sizes(
    spec: RendererSpec, frames: Sequence[Size], windows: Sequence[Size] = (), every_window: bool = False
) -> list[tuple[Size, Size]]:
    """(size to build, frame) of all that a renderer may use: whole frames, given parts, or every part
    that the GPU pipeline makes."""
    found: dict[Size, Size] = {}
    for frame in frames:
        full = padded(frame, spec.stride)
        parts = [padded(window, spec.stride) for window in windows]
        if every_window:
            parts += [(h, w) for h in _steps(full[0]) for w in _steps(full[1])]
        for size in (full, *parts):
            if size[0] > full[0] or size[1] > full[1]:
                raise InputError(
                    f"window: got {size[1]}x{size[0]}, larger than the picture of {full[1]}x{full[0]}"
                )
            found.setdefault(size, frame)
    return list(found.items())


def _steps(extent: int) -> list[int]:
    return [*range(BUCKET, extent, BUCKET), extent]


def build_ahead(
    avatar: Avatar,
    renderer: str,
    engine: engines.Engine,
    instances: Sequence[Instance],
    *,
    rebuild: bool = False,
    threads: int = 0,
    started: Callable[[Instance], None] = lambda instance: None,
    ready: Callable[[], None] = lambda: None,
) -> Iterator[Built]:
    """Compile every instance and compare it with the network in float32 on the avatar's check poses; what
    fails is not kept.

    rebuild: do not use what is kept. started, ready: called around each compilation, which can take minutes.
        Raises EngineError.
    """
    spec = avatar.renderers[renderer]
    with parity.reference_engine(spec.network, threads) as reference:
        for instance in instances:
            key = spec.network_key(instance.key)
            io = (engine.device_io if instance.kind == DEVICE else None) or "float32"
            if rebuild:
                engine.drop(key, io)
            before = engine.built
            started(instance)
            start = time.perf_counter()
            try:
                if instance.kind == DEVICE:
                    session = engine.compile_device(key)
                    candidate = parity.on_device(session)
                else:
                    session = engine.compile(key)
                    candidate = parity.on_host(session)
            finally:
                ready()
            seconds = time.perf_counter() - start
            result = parity.measure(
                spec,
                parity.inputs_for(avatar, spec, instance.key, instance.frame),
                parity.on_host(reference.compile(key)),
                candidate,
            )
            passed = result.passes(engine.info.precision)
            ms = None
            if not passed:
                engine.refuse(key, io, f"what {engine.info.name} built was refused: {result}")
            else:
                engine.vouch(key, io)
                ms = _timed(session, key, engine, spec) if instance.kind == DEVICE else None
            kept = engine.keeps and engine.built == before
            yield Built(instance, seconds, kept, result, passed, session.mode, ms)


def _timed(session, key: tuple[int, int, int], engine: engines.Engine, spec: RendererSpec) -> float:
    """ms of a run, noted for the automatic choice of the engine."""
    from dinar_live.engines.gpu import open_device, run_ms

    device = open_device(session.device)
    ms = run_ms(device, session, TIMED_RUNS)
    if engine.info.precision == "f16":  # what "auto" opens
        record(hashlib.sha256(spec.network).hexdigest(), device.name, key, engine.info.name, ms)
    return ms


def prepare_ahead(
    spec: RendererSpec,
    builder: engines.PlanBuilder,
    instances: Sequence[Instance],
    *,
    rebuild: bool = False,
    started: Callable[[Instance], None] = lambda instance: None,
    ready: Callable[[], None] = lambda: None,
) -> Iterator[Prepared]:
    """Build every instance for GPUs elsewhere; none is run, so none is compared with anything. Arguments as of
    `build_ahead`. Raises EngineError."""
    for instance in instances:
        key = spec.network_key(instance.key)
        io = (builder.device_io if instance.kind == DEVICE else None) or "float32"
        if rebuild:
            builder.drop(key, io)
        before = builder.built
        started(instance)
        start = time.perf_counter()
        try:
            count = builder.prepare(key, io)
        finally:
            ready()
        yield Prepared(instance, time.perf_counter() - start, builder.built == before, count)
