"""Checks and measures everything that runs on an NVIDIA GPU, in one command: python benchmarks/gpu_check.py
[-o out/gpu]

Compares the CUDA kernels with the CPU's, replayed graphs with single launches, every engine and rasterizer
that is installed with float32 on the CPU; renders 10,000 frames and looks at the memory; times whole frames,
each stage next to what its bytes and FLOPs take at this GPU's measured speed, a straightforward pipeline in
torch, and frames through the server. Writes gpu_check.json, .md and .svg. Exit code 0 if all checks pass, 1
if one fails, 2 without a GPU. Needs the packages of dinar-live[gpu]; TensorRT, torch and nvdiffrast are used
where they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import gpu_work
import light_network
import numpy as np
from gpu_report import Check, Report, Run, Stage, markdown, write
from tqdm import tqdm

from dinar_live import engines, kernels
from dinar_live.kernels.cuda import CudaError, NvdiffrastRasterizer
from dinar_live.runtime import Avatar, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.bench import images, yardstick
from dinar_live.runtime.bench.stats import percentiles
from dinar_live.runtime.bench.workload import shots
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.render.gpu.device import shared_gpu

LBS_METRES = 1e-5
ODD_PIXELS = {"native": 1e-5, "nvdiffrast": 5e-3}  # nvdiffrast snaps to 1/16 pixel: outlines and seams move
GATHER_F32 = 2e-3  # of random texels; what the last bits of a texture coordinate make of them
FRAME_PSNR = images.FRAME_PSNR
GROWTH_BYTES = {"device": 1 << 20, "host": 16 << 20}
TARGETS_MS = {
    ("full", "tensorrt"): 1.2,
    ("full", "torch"): 1.6,
    ("light", "tensorrt"): 0.2,
}  # issue: H200, 512x512
REST_MS, LOOP_MS = 0.15, 2.0  # everything but the network; pose in to frame out over loopback
POSES = 6


def subject(path: str | None, wanted: list[str]) -> Avatar:
    """The avatar at `path` (default: the built-in one); where it has no "light" or "full" renderer, networks
    of random weights (the second needs torch)."""
    avatar = Avatar.load(path) if path else Avatar.demo()
    renderers, rng = dict(avatar.renderers), np.random.default_rng(0)
    texture = rng.standard_normal((256, 256, 16)).astype(np.float16)
    renderers.setdefault(
        "light",
        RendererSpec(
            texture,
            model=light_network.build(),
            margin=light_network.reach(),
            stride=light_network.STRIDE,
            hardsegm=True,
        ),
    )
    if "full" in wanted and importlib.util.find_spec("torch") is not None:
        from dinar_live.export.checkpoint import load_checkpoint
        from dinar_live.export.dinar.bake import renderer_onnx
        from dinar_live.export.networks import random_state_dict

        model = renderer_onnx(load_checkpoint(random_state_dict(0), networks=("renderer",)).renderer)
        texture = rng.standard_normal((256, 256, 21)).astype(np.float16)
        renderers.setdefault(
            "full", RendererSpec(texture, model=model, hardsegm=True, threshold=0.5, margin=64, stride=32)
        )
    return replace(
        avatar, renderers={name: renderers[name] for name in wanted if name in renderers}, checks=None
    )


def kernel_checks(gpu, avatar: Avatar, size: tuple[int, int], rasterizer: str) -> list[Check]:
    """The CUDA kernels against the CPU's, on poses of the demo motion; with nvdiffrast only what it
    changes."""
    cuda, device, program, stream = gpu.cuda, gpu.device, gpu.program, gpu.stream
    rig, spec = avatar.rig, next(iter(avatar.renderers.values()))
    body, _ = gpu.body(rig)
    scene, texture = gpu.scene(rig, spec, np.float32), spec.float_texture()
    parameters, target = (
        cuda.FrameParameters(device, body.joints, body.expressions),
        cuda.RasterTarget(device, *size, len(rig.faces)),
    )
    projective, vertices = (
        device.empty((1, body.vertices, 3), np.float32),
        device.empty((body.vertices, 3), np.float32),
    )
    features, depth = (
        device.empty((1, texture.shape[2] + 3, *size), np.float32),
        device.empty((1, *size), np.float32),
    )
    outside = NvdiffrastRasterizer(program) if rasterizer == "nvdiffrast" else None
    worst, odd, gathered, deep = 0.0, 0, 0.0, 0.0
    for pose, camera in shots(avatar, demo_motion(), size, POSES, 0.5):
        host = parameters.host
        host["body"][...], host["transl"][...], host["matrices"][0], host["origins"][...] = (
            pose.body,
            pose.transl,
            camera.matrix,
            0,
        )
        host["expression"][...] = 0
        host["expression"][: len(pose.expression)] = pose.expression
        parameters.upload(stream)
        program.run(stream, program.lbs(body, parameters, projective, vertices))
        if outside is None:
            program.run(stream, program.rasterize(scene, parameters, projective, target))
        else:
            outside.rasterize(stream, scene, parameters, projective, target)
        program.run(stream, program.gather(scene, parameters, projective, target, features, depth))
        world = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)
        worst = max(worst, float(np.abs(vertices.numpy(stream) - world).max()))
        points = projective.numpy(stream)[
            0
        ]  # the same vertices for both, so that each kernel is judged by itself
        raster = kernels.rasterize(points, rig.faces, size)
        ids = (target.visibility.numpy(stream)[0] & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
        same = ids == raster.triangle_id
        odd += int((~same).sum())
        want = kernels.gather_uv(raster, rig.uv, rig.uv_faces, texture)
        gathered = max(gathered, float(np.abs(features.numpy(stream)[0] - want)[:, same].max()))
        deep = max(deep, float(np.abs(depth.numpy(stream)[0] - raster.depth)[same].max()))
    share, limit = odd / (POSES * size[0] * size[1]), ODD_PIXELS[rasterizer]
    checks = [
        Check(
            f"rasterize, {rasterizer}",
            share <= limit,
            f"{share:.1e} of the pixels show another triangle (at most {limit:g})",
        )
    ]
    if outside is None:
        checks = [
            Check("lbs", worst <= LBS_METRES, f"vertices within {worst:.1e} m (at most {LBS_METRES:g})"),
            *checks,
            Check(
                "gather",
                gathered <= GATHER_F32 and deep <= 1e-4,
                f"features within {gathered:.1e}, depth within {deep:.1e} m",
            ),
        ]
    return checks


def missing_engines() -> dict[str, str]:
    """Engine for a GPU -> "" or why it cannot be tried."""
    why = engines.available_engines()
    torch = why["torch"] or (
        "" if gpu_work.torch_with_cuda() else "torch sees no GPU: install its CUDA build"
    )
    return {"tensorrt": why["tensorrt"], "torch": torch}


def backends(avatar: Avatar) -> Iterator[tuple[str, dict]]:
    """(renderer, options of Renderer) of everything that can run here."""
    rasterizers = ["native"] + (["nvdiffrast"] if NvdiffrastRasterizer.missing() is None else [])
    usable = [name for name, why in missing_engines().items() if not why]
    for name, spec in avatar.renderers.items():
        for rasterizer in rasterizers:
            for engine in usable if spec.type.needs_network else ("auto",):
                yield name, {"renderer": name, "engine": engine, "rasterizer": rasterizer}


def frames_agree(avatar: Avatar, size, work, options: dict) -> list[Check]:
    """Frames of this backend against the CPU's in float32, and its graphs against single launches."""
    label = f"{options['renderer']}, {options['engine']}, {options['rasterizer']}"
    common = {"device": "cuda", "background_compile": False, **options}
    with (
        Renderer(avatar, size, **common) as renderer,
        Renderer(avatar, size, **common, stage_times=True) as eager,
    ):
        level = renderer.describe().rpartition("engine ")[2]
        kept, apart = [], 0
        for pose, camera in work:
            picture = renderer.render(pose, camera).rgba
            apart = max(apart, int(np.abs(picture.astype(np.int16) - eager.render(pose, camera).rgba).max()))
            kept.append((pose, camera, picture.copy()))
    difference = images.References(avatar, {"renderer": options["renderer"]}).frames(kept, size)
    psnr, graphs = difference.psnr, "single launches" not in level
    return [
        Check(
            f"frames: {label}",
            psnr >= FRAME_PSNR,
            f"{psnr:.1f} dB from float32 on the CPU, at least {FRAME_PSNR:g}",
        ),
        Check(
            f"graph: {label}",
            graphs and apart <= 1,
            f"{level}; replayed within {apart} of 255 of single launches",
        ),
    ]


def memory_check(gpu, avatar: Avatar, size, work, frames: int) -> Check:
    """Render `frames` frames after a first round, and compare what is allocated on the device and on the
    host."""
    with Renderer(avatar, size, renderer=_usual(avatar), device="cuda", background_compile=False) as renderer:
        for shot in work * 4:
            renderer.render(*shot)
        free, resident = gpu.device.free_memory(), _resident()
        for i in tqdm(range(frames), desc="memory", unit="frame", disable=None, leave=False):
            renderer.render(*work[i % len(work)])
        grown = {"device": free - gpu.device.free_memory(), "host": _resident() - resident}
    return Check(
        f"memory, {frames} frames",
        all(grown[k] <= limit for k, limit in GROWTH_BYTES.items()),
        ", ".join(f"{k} grew by {v / 2**20:.1f} MiB" for k, v in grown.items()),
    )


def _usual(avatar: Avatar) -> str:
    """The renderer that people use: light, where an engine can run it."""
    names = [name for name, _ in backends(avatar)]
    return "light" if "light" in names else names[0]


def _resident() -> int:
    try:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0  # no Linux: only the device is judged


def timed_run(
    gpu, avatar: Avatar, size, work, options: dict, frames: int, rounds: int, report: Report
) -> Run:
    """Whole frames by the host's clock, then each stage of the last window by the device's."""
    with Renderer(avatar, size, device="cuda", background_compile=False, **options) as renderer:
        for shot in work * 2:
            renderer.render(*shot)
        times = np.empty(frames)
        for i in range(frames):
            began = time.perf_counter()
            renderer.render(*work[i % len(work)])
            times[i] = (time.perf_counter() - began) * 1e3
        pipeline = renderer._pipeline
        frame_work = next(reversed(pipeline._works.values()))
        stages = _stages(
            gpu,
            avatar,
            options["renderer"],
            frame_work,
            pipeline._slots(0, frame_work.key[0]),
            rounds,
            report,
        )
        info = renderer.engine_info
        how = (
            f"{info.name} {info.precision}, {renderer.rasterizer_name}" if info else renderer.rasterizer_name
        )
        target = TARGETS_MS.get((options["renderer"], options["engine"])) if size == (512, 512) else None
        return Run(how, options["renderer"], pipeline.level, _p(times), stages, target)


def _stages(gpu, avatar, name, work, rings, rounds, report: Report) -> list[Stage]:
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
            flop = gpu_work.network_flop(spec.model, n, h, w)
            floor, text = report.tflops and flop / report.tflops / 1e9, f"{flop / 1e9:.2f} GFLOP"
        else:
            floor, text = moved[stage] / report.bandwidth_gbps / 1e6, f"{moved[stage] / 1e6:.2f} MB"
        stages.append(
            Stage(stage, *_p(times).values(), None if stage == "download" else floor, f"{text} at {w}x{h}")
        )
    return stages


def baseline_run(avatar: Avatar, name: str, size, work, frames: int) -> Run:
    """The straightforward pipeline on the same frames, with its own stages (a synchronization after each)."""
    from gpu_baseline import Baseline

    baseline = Baseline(avatar, name, size)
    for shot in work:
        baseline.render(*shot)
    total, parts = np.empty(frames), {}
    for i in range(frames):
        began = time.perf_counter()
        times = baseline.render(*work[i % len(work)])[1]
        total[i] = (time.perf_counter() - began) * 1e3
        for stage, ms in times.items():
            parts.setdefault(stage, []).append(ms)
    stages = [
        Stage(stage, *_p(np.array(ms)).values(), None, "")
        for stage, ms in parts.items()
        if stage != "network" or baseline.network
    ]
    return Run(
        f"plain torch, {'nvdiffrast' if baseline.nvdiffrast else 'torch'} rasterization",
        name,
        "eager",
        _p(total),
        stages,
    )


def loop_check(avatar: Avatar, size, work, frames: int) -> Check:
    """Pose in to frame out through a server on 127.0.0.1, JPEG."""
    from dinar_live.runtime.service.avatar_service import AvatarService
    from dinar_live.runtime.stream import Client, Server

    name = _usual(avatar)
    with AvatarService(avatar, size=size, renderer=name, device="cuda", background_compile=False) as service:
        service.warm_up()
        with Server(service.render, service.capabilities()) as server, Client(server.endpoint) as client:
            times = []
            for i in range(frames + 20):
                began = time.perf_counter()
                client.render(*work[i % len(work)])
                times.append((time.perf_counter() - began) * 1e3)
    p = _p(np.array(times[20:]))
    passed = p["p50"] <= LOOP_MS if size == (512, 512) else None
    return Check(
        f"over 127.0.0.1, {name}",
        passed,
        f"p50 {p['p50']:.2f} ms, at most {LOOP_MS:g} at 512x512; p99 {p['p99']:.2f} ms",
    )


def _p(times: np.ndarray) -> dict[str, float]:
    return {key: value for key, value in percentiles(times).items() if key in ("p50", "p99")}


def _attempt(report: Report, name: str, function, *arguments):
    """Its result; a failed check instead of an exception, so that the rest is still measured."""
    try:
        return function(*arguments)
    except (DinarError, engines.EngineError, RuntimeError, ValueError) as e:
        report.checks.append(Check(name, False, f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"))
        return None


def examine(gpu, args: argparse.Namespace) -> Report:
    """All checks and measurements."""
    size, avatar = (args.size, args.size), subject(args.avatar, args.renderers)
    work = shots(avatar, demo_motion(), size, POSES * 4, 2.0)
    driver = "{}.{}".format(*gpu.device.driver_version)
    report = Report(
        f"{gpu.device.name} ({gpu.device.arch})", size, {**yardstick.versions(), "driver for CUDA": driver}
    )
    report.bandwidth_gbps, report.tflops = gpu_work.bandwidth_gbps(gpu), gpu_work.tflops()
    for rasterizer in ("native", "nvdiffrast"):
        if rasterizer == "nvdiffrast" and (reason := NvdiffrastRasterizer.missing()):
            report.checks.append(Check("rasterize, nvdiffrast", None, reason.partition(";")[0]))
            continue
        report.checks += (
            _attempt(report, f"kernels, {rasterizer}", kernel_checks, gpu, avatar, size, rasterizer) or []
        )
    report.checks += [Check(f"engine {name}", None, why) for name, why in missing_engines().items() if why]
    for _, options in backends(avatar):
        label = ", ".join(options.values())
        print(f"{label} ...", file=sys.stderr)
        report.checks += _attempt(report, f"frames: {label}", frames_agree, avatar, size, work, options) or []
        run = _attempt(
            report,
            f"time: {label}",
            timed_run,
            gpu,
            avatar,
            size,
            work,
            options,
            args.frames // 10 or 1,
            args.rounds,
            report,
        )
        if run is not None:
            report.runs.append(run)
            rest = sum(stage.p50_ms for stage in run.stages if stage.name != "network")
            if options["rasterizer"] == "native":
                passed = rest <= REST_MS if size == (512, 512) else None
                text = f"{rest:.3f} ms of stages, at most {REST_MS:g} at 512x512"
                report.checks.append(Check(f"all but the network: {label}", passed, text))
    if report.tflops is not None:
        for name in avatar.renderers:
            run = _attempt(
                report,
                f"plain torch, {name}",
                baseline_run,
                avatar,
                name,
                size,
                work,
                args.frames // 100 or 1,
            )
            report.runs += [] if run is None else [run]
    else:
        report.notes.append("no torch with CUDA: nothing to compare with")
    report.checks += filter(
        None,
        [
            _attempt(report, "memory", memory_check, gpu, avatar, size, work, args.frames),
            _attempt(report, "over 127.0.0.1", loop_check, avatar, size, work, args.frames // 20 or 1),
        ],
    )
    return report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "-o", "--out", type=pathlib.Path, default=pathlib.Path("out/gpu"), help="folder for the report"
    )
    parser.add_argument("--avatar", metavar="AVATAR", help="bundle to render (default: the built-in one)")
    parser.add_argument(
        "--renderers",
        nargs="+",
        default=["texture", "light", "full"],
        help="of the avatar; light and full are random weights where it has none",
    )
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument(
        "--frames", type=int, default=10_000, help="of the memory check; others take a part of it"
    )
    parser.add_argument("--rounds", type=int, default=200, help="measurements of each stage")
    args = parser.parse_args(argv)
    try:
        gpu = shared_gpu(0)
    except CudaError as e:
        print(f"gpu_check: {e}", file=sys.stderr)
        return 2
    report = examine(gpu, args)
    files = write(report, args.out)
    print(markdown(report))
    print("written: " + ", ".join(str(f) for f in files))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
