"""The same frames by several pipelines, in turns within one run: ours, ours with ONNX Runtime, plain torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from dinar_live import engines
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.motion.motion import Motion
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.options import RenderOptions, RenderPlan

from .images import FRAME_PSNR, Difference, References
from .single import RATE
from .stats import percentiles
from .workload import shots, window_examples

BLOCK = 10  # frames that each renders in its turn
WARM = 6
SAMPLES = 6
ORT = "onnxruntime"

Draw = Callable[[Pose, Camera], np.ndarray]


@dataclass
class Contestant:
    """name: what renders. draw: a frame, None where it cannot be had: then why."""

    name: str
    draw: Draw | None
    why: str
    taken: list[float]
    difference: Difference | None = None


def run_comparison(
    avatar: Avatar, motion: Motion, frames: int, options: dict, progress: bool = False
) -> dict:
    """What `frames` frames took each: {"rows": [{name, skipped, frames, latency_ms, ratio (of medians, to the first),
    psnr}], "faults", "renderer"}. Raises InputError, DinarError."""
    if not 1 <= frames <= 100_000:
        raise InputError(f"--frames: got {frames}, expected 1..100000")
    size = options["size"]
    plan = RenderPlan(avatar, RenderOptions(**options))
    if not plan.spec.type.needs_network:
        raise InputError(
            f"--scenario compare: the renderer {plan.renderer} has no network, so there is nothing for other engines to run"
        )
    options = {**options, "renderer": plan.renderer, "smooth_edges": False}  # as the others draw
    work = shots(avatar, motion, size, frames, min(RATE, frames / motion.duration))
    with ExitStack() as stack:
        rows = [
            _ours(stack, avatar, options, work, "dinar-live"),
            _ours(stack, avatar, {**options, "precision": "f32"}, work, "dinar-live in f32"),
            _with_onnx_runtime(stack, avatar, options, work),
            _plain(avatar, plan, options),
        ]
        running = [row for row in rows if row.draw is not None]
        chosen = np.linspace(0, len(work) - 1, min(SAMPLES, len(work))).astype(int).tolist()
        _judge(running, avatar, options, [work[i] for i in chosen])
        for row in running:
            for i in chosen[:WARM]:
                row.draw(*work[i])  # pyright: ignore[reportOptionalCall]  (they all can)
        blocks = range(0, frames, BLOCK)
        for turn, start in enumerate(
            tqdm(blocks, desc="compare", unit="block", disable=not progress, leave=False)
        ):
            for row in np.roll(np.array(running, object), turn):  # who is first changes
                for k in range(start, min(start + BLOCK, frames)):
                    pose, camera = work[k % len(work)]
                    began = time.perf_counter()
                    row.draw(pose, camera)
                    row.taken.append((time.perf_counter() - began) * 1e3)
    base = float(np.median(rows[0].taken))
    faults = [
        f"{row.name}: a frame is {row.difference.psnr:.1f} dB from the f32 renderer, expected at least {FRAME_PSNR:g}"
        for row in running
        if row.difference is not None and row.difference.psnr < FRAME_PSNR
    ]
    return {
        "renderer": plan.renderer,
        "size": list(size),
        "faults": faults,
        "rows": [
            {"name": row.name, "skipped": row.why}
            if row.draw is None
            else {
                "name": row.name,
                "frames": len(row.taken),
                "latency_ms": percentiles(row.taken),
                "ratio": float(np.median(row.taken)) / base,
                "psnr": row.difference and row.difference.psnr,
            }
            for row in rows
        ],
    }


def _ours(stack: ExitStack, avatar: Avatar, options: dict, work, name: str) -> Contestant:
    renderer = stack.enter_context(Renderer(avatar, **options, background_compile=False))
    for i in window_examples(renderer, work).values():
        renderer.render(*work[i])
    info = renderer.engine_info
    text = f"{name} ({info.name} {info.precision})" if info else name
    return Contestant(text, lambda pose, camera: renderer.render(pose, camera).rgba, "", [])


def _with_onnx_runtime(stack: ExitStack, avatar: Avatar, options: dict, work) -> Contestant:
    name = "dinar-live, network in ONNX Runtime"
    backend = engines.Backend("dinar_live.runtime.bench.onnx_runtime", (ORT,), "pip install onnxruntime")
    if missing := backend.missing():
        return Contestant(name, None, f"{', '.join(missing)} is not installed: {backend.install}", [])
    engines.register_engine(ORT, backend)
    changed = {**options, "engine": ORT, "device": "cpu", "precision": "f32"}
    return _ours(stack, avatar, changed, work, name)


def _plain(avatar: Avatar, plan: RenderPlan, options: dict) -> Contestant:
    name = "plain torch (f32, whole frames)"
    if why := engines.available_engines()["torch"]:
        return Contestant(name, None, why, [])
    from .plain_torch import PlainTorch

    pipeline = PlainTorch(avatar, plan.renderer, plan.size, options.get("threads", 0))
    return Contestant(name, pipeline.render, "", [])


def _judge(running: list[Contestant], avatar: Avatar, options: dict, work) -> None:
    """The worst difference of each from the f32 renderer without cropping."""
    engine = "auto" if options.get("engine") == ORT else options.get("engine", "auto")
    references = References(avatar, {**options, "engine": engine})
    for row in running:
        assert row.draw is not None  # only those that can
        row.difference = references.frames(
            ((pose, camera, row.draw(pose, camera).copy()) for pose, camera in work), options["size"]
        )


def lines(result: dict) -> list[str]:
    """For people."""
    names = max(len(row["name"]) for row in result["rows"])
    height, width = result["size"]
    out = [
        f"compare: {width}x{height}, renderer {result['renderer']}, the same frames in turns",
        "",
        f"{'':<{names}}  {'p50 ms':>8}  {'p90 ms':>8}  {'p99 ms':>8}  {'times':>6}  {'dB':>5}",
    ]
    for row in result["rows"]:
        if "skipped" in row:
            out.append(f"{row['name']:<{names}}  skipped: {row['skipped']}")
            continue
        ms = row["latency_ms"]
        out.append(
            f"{row['name']:<{names}}  {ms['p50']:>8.2f}  {ms['p90']:>8.2f}  {ms['p99']:>8.2f}  {row['ratio']:>6.2f}  {row['psnr']:>5.1f}"
        )
    return out
