"""What benchmarks/gpu_check.py times: whole frames and their stages, and a straightforward pipeline in torch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gpu_work
import numpy as np
from gpu_report import Report, Run, Stage, middle_and_tail

from dinar_live.runtime import Avatar, Renderer
from dinar_live.runtime.bench.workload import Shot

TARGETS_MS = {
    ("full", "tensorrt"): 1.2,
    ("full", "torch"): 1.6,
    ("light", "tensorrt"): 0.2,
}  # H200, 512x512


@dataclass(frozen=True)
class Counts:
    """How many frames are timed, and how often each stage is."""

    frames: int
    rounds: int


def timed_run(gpu, avatar: Avatar, work: list[Shot], options: dict, counts: Counts, report: Report) -> Run:
    """Whole frames by the host's clock, then each stage of the last window by the device's."""
    size, frames = report.size, counts.frames
    with Renderer(avatar, size, device="cuda", background_compile=False, **options) as renderer:
        for shot in work * 2:
            renderer.render(*shot)
        times = np.empty(frames)
        for i in range(frames):
            began = time.perf_counter()
            renderer.render(*work[i % len(work)])
            times[i] = (time.perf_counter() - began) * 1e3
        pipeline: Any = renderer._pipeline  # the GPU's, whose inner parts are timed
        frame_work = next(reversed(pipeline._works.values()))
        rings = pipeline._slots(0, frame_work.key[0])
        stages = _stages(gpu, avatar, options["renderer"], (frame_work, rings), counts.rounds, report)
        info = renderer.engine_info
        how = (
            f"{info.name} {info.precision}, {renderer.rasterizer_name}" if info else renderer.rasterizer_name
        )
        target = TARGETS_MS.get((options["renderer"], options["engine"])) if size == (512, 512) else None
        return Run(how, options["renderer"], pipeline.level, middle_and_tail(times), stages, target)


def _stages(gpu, avatar: Avatar, name: str, inside: tuple, rounds: int, report: Report) -> list[Stage]:
    """inside: a frame's work in the pipeline and the memory it is downloaded to."""
    work, rings = inside
    spec, (n, h, w), stream = avatar.renderers[name], work.key, gpu.stream
    element = np.dtype(work.shading.features.dtype).itemsize
    moved = gpu_work.stage_bytes(avatar, name, (h, w), report.size, element)
    steps = [*work.steps, work.download(rings)._replace(stage="download")]
    stages = []
    for stage in dict.fromkeys(step.stage for step in steps):
        mine = [step for step in steps if step.stage == stage]

        def put(mine=mine):
            for step in mine:
                step.run()

        times = (gpu_work.timed_in_graph if all(step.capturable for step in mine) else gpu_work.timed)(
            gpu, put, rounds
        )
        stream.synchronize()
        if stage == "network":
            assert spec.model is not None  # it has this stage
            flop = gpu_work.network_flop(spec.model, n, h, w)
            floor = flop / report.tflops / 1e9 if report.tflops else None
            text = f"{flop / 1e9:.2f} GFLOP"
        else:
            floor = moved[stage] / report.bandwidth_gbps / 1e6 if report.bandwidth_gbps else None
            text = f"{moved[stage] / 1e6:.2f} MB"
        p = middle_and_tail(times)
        stages.append(
            Stage(stage, p["p50"], p["p99"], None if stage == "download" else floor, f"{text} at {w}x{h}")
        )
    return stages


def baseline_run(avatar: Avatar, name: str, size, work: list[Shot], frames: int) -> Run:
    """The straightforward pipeline on the same frames, with its own stages (a synchronization after each)."""
    from gpu_baseline import Baseline

    baseline = Baseline(avatar, name, size)
    for shot in work:
        baseline.render(*shot)
    total = np.empty(frames)
    parts: dict[str, list[float]] = {}
    for i in range(frames):
        began = time.perf_counter()
        times = baseline.render(*work[i % len(work)])[1]
        total[i] = (time.perf_counter() - began) * 1e3
        for stage, ms in times.items():
            parts.setdefault(stage, []).append(ms)
    stages = [
        Stage(stage, p["p50"], p["p99"], None, "")
        for stage, p in ((stage, middle_and_tail(np.array(ms))) for stage, ms in parts.items())
        if stage != "network" or baseline.network
    ]
    return Run(
        f"plain torch, {'nvdiffrast' if baseline.nvdiffrast else 'torch'} rasterization",
        name,
        "eager",
        middle_and_tail(total),
        stages,
    )
