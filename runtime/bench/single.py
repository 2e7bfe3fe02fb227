"""Closed loop in one process: the next frame when the last one is done. Shows what the pipeline costs, hides
how it copes with a clock."""

from __future__ import annotations

import time

import numpy as np
from tqdm import tqdm

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.motion.motion import Motion
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.compiled_sizes import MAX_SESSIONS
from dinar_live.runtime.render.frame import GPU_TIME, STAGES
from dinar_live.runtime.render.options import RenderOptions

from . import images
from .measurement import Measurement
from .stats import residual, stage_table
from .workload import shots, window_examples

RATE = 30.0  # at most so many frames of each second of the motion, whatever the speed of rendering
PASSES = 3  # in which the motion is gone through, so that each third of a run sees all of it
SAMPLES = 8  # frames compared with their references
WARM_FRAMES = 10  # per round
WARM_ROUNDS = 3  # that must agree
WARM_SPREAD = 1.1
GPU_STAGE_FRAMES = 200  # measured once more stage by stage
WARM_SECONDS = 10.0  # at most, after everything is compiled


def run_single(
    avatar: Avatar, motion: Motion, frames: int, options: dict, progress: bool = False
) -> Measurement:
    """Render `frames` frames and time each; options: keyword arguments of Renderer. Raises InputError,
    DinarError."""
    if not 1 <= frames <= 1_000_000:
        raise InputError(f"--frames: got {frames}, expected 1..1000000")
    size, notes, faults = options["size"], [], []
    work = shots(avatar, motion, size, frames, min(RATE, frames / motion.duration))
    work = [shot for k in range(PASSES) for shot in work[k::PASSES]]
    began = time.perf_counter()
    # A size of the network that is new is compiled at once: all of that is over before the clock runs.
    with Renderer(avatar, **options, background_compile=False) as renderer:
        windows = window_examples(renderer, work)
        if len(windows) > MAX_SESSIONS:
            notes.append(
                f"{len(windows)} window sizes, of which {MAX_SESSIONS} are kept: some frames waited for the compiler"
            )
        for i in tqdm(windows.values(), desc="compile", unit="size", disable=not progress, leave=False):
            renderer.render(*work[i])
        ready = time.perf_counter() - began
        if not _warm(renderer, work):
            notes.append(f"the machine did not settle within {WARM_SECONDS:g} s of warming up")
        names = (*STAGES, GPU_TIME)
        latency, table = np.empty(frames), np.empty((frames, len(names)))
        wanted, kept = set(np.linspace(0, frames - 1, min(frames, SAMPLES)).astype(int).tolist()), []
        for i in tqdm(range(frames), desc="single", unit="frame", disable=not progress, leave=False):
            pose, camera = work[i % len(work)]
            start = time.perf_counter()
            frame = renderer.render(pose, camera)
            latency[i] = (time.perf_counter() - start) * 1e3
            table[i] = [frame.timings.get(name, 0.0) for name in names]
            fault = images.coverage_fault(frame.rgba)
            if fault and not faults:
                faults.append(f"{fault} (frame {i})")
            if i in wanted:
                kept.append((pose, camera, frame.rgba.copy()))
        on_gpu = renderer.device != "cpu"
        info, name, rasterizer = renderer.engine_info, renderer.renderer_name, renderer.rasterizer_name
    references = images.References(avatar, {**options, "renderer": name})
    check, difference = references.check_pictures(), references.frames(kept, size)
    if check is None:
        notes.append(
            "the bundle has no check pictures; frames were compared with this machine's f32 renderer only"
        )
    stages = {
        name: table[:, i]
        for i, name in enumerate(names)
        if table[:, i].any() and (info is not None or name != "network")
    }
    stages["other"] = residual(latency, stages)
    extra = {"window_sizes": [list(w) for w in windows], "ready_s": ready}
    if on_gpu:
        extra |= _gpu_stages(avatar, work, options)
    else:
        extra["without_network_ms"] = latency - table[:, STAGES.index("network")]
    return Measurement(
        scenario="single",
        latency_ms=latency,
        stages_ms=stages,
        fps=1e3 / float(latency.mean()),
        size=size,
        renderer=name,
        engine=info.name if info else "none",
        precision=info.precision if info else "f32",
        rasterizer=rasterizer,
        includes="pose and camera in, RGBA out, in one process; not: making the pose, encoding, sending, decoding",
        check_difference=check,
        frame_difference=difference,
        notes=notes,
        faults=faults + images.judge(check, difference),
        extra=extra,
    )


def _gpu_stages(avatar: Avatar, work, options: dict) -> dict:
    """What each stage takes on a GPU when a frame's work is launched one by one: "gpu_stages", p50 and p99 in
    ms."""
    stage_by_stage = RenderOptions(**options).changed(stage_times=True, background_compile=False)
    with Renderer(avatar, options=stage_by_stage) as renderer:
        chosen = [work[i % len(work)] for i in range(GPU_STAGE_FRAMES)]
        for shot in chosen[:WARM_FRAMES]:
            renderer.render(*shot)
        timings = [renderer.render(*shot).timings for shot in chosen]
    return {
        "gpu_stages": stage_table(
            {
                stage: [t[stage] for t in timings]
                for stage in STAGES
                if stage != "project" and any(t[stage] for t in timings)
            }
        )
    }


def _warm(renderer: Renderer, work) -> bool:
    """Render until rounds over the same frames take the same time; False if they never did."""
    chosen = [work[i] for i in np.linspace(0, len(work) - 1, WARM_FRAMES).astype(int)]
    medians: list[float] = []
    end = time.perf_counter() + WARM_SECONDS
    while True:
        medians.append(float(np.median([renderer.render(*shot).timings["total"] for shot in chosen])))
        last = medians[-WARM_ROUNDS:]
        if len(last) == WARM_ROUNDS and max(last) <= WARM_SPREAD * min(last):
            return True
        if time.perf_counter() > end:
            return False
