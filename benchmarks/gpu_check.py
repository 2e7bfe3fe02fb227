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
import pathlib
import sys

import gpu_work
from gpu_checks import frames_agree, kernel_checks, loop_check, memory_check
from gpu_report import Check, Report, markdown, write
from gpu_runs import Counts, baseline_run, timed_run
from gpu_subject import backends, missing_engines, subject

from dinar_live import engines
from dinar_live.kernels.cuda import CudaError, NvdiffrastRasterizer
from dinar_live.runtime.bench import yardstick
from dinar_live.runtime.bench.workload import shots
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.render.gpu.device import shared_gpu

REST_MS = 0.15  # everything but the network
POSES = 6


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
    few = shots(avatar, demo_motion(), size, POSES, 0.5)
    work = shots(avatar, demo_motion(), size, POSES * 4, 2.0)
    counts = Counts(args.frames // 10 or 1, args.rounds)
    driver = "{}.{}".format(*gpu.device.driver_version)
    report = Report(
        f"{gpu.device.name} ({gpu.device.arch})", size, {**yardstick.versions(), "driver for CUDA": driver}
    )
    report.bandwidth_gbps, report.tflops = gpu_work.bandwidth_gbps(gpu), gpu_work.tflops()
    for rasterizer in ("native", "nvdiffrast"):
        if rasterizer == "nvdiffrast" and (reason := NvdiffrastRasterizer.missing()):
            report.checks.append(Check("rasterize, nvdiffrast", None, reason.partition(";")[0]))
            continue
        label = f"kernels, {rasterizer}"
        report.checks += _attempt(report, label, kernel_checks, gpu, avatar, size, few, rasterizer) or []
    report.checks += [Check(f"engine {name}", None, why) for name, why in missing_engines().items() if why]
    for _, options in backends(avatar):
        label = ", ".join(options.values())
        print(f"{label} ...", file=sys.stderr)
        report.checks += _attempt(report, f"frames: {label}", frames_agree, avatar, size, work, options) or []
        run = _attempt(report, f"time: {label}", timed_run, gpu, avatar, work, options, counts, report)
        if run is not None:
            report.runs.append(run)
            rest = sum(stage.p50_ms for stage in run.stages if stage.name != "network")
            if options["rasterizer"] == "native":
                passed = rest <= REST_MS if size == (512, 512) else None
                text = f"{rest:.3f} ms of stages, at most {REST_MS:g} at 512x512"
                report.checks.append(Check(f"all but the network: {label}", passed, text))
    if report.tflops is not None:
        for name in avatar.renderers:
            count = args.frames // 100 or 1
            run = _attempt(report, f"plain torch, {name}", baseline_run, avatar, name, size, work, count)
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
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
