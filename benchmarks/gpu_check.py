"""Checks and measures everything that runs on an NVIDIA GPU, in one command: python benchmarks/gpu_check.py
[-o out/gpu] [--parts kernels frames ...] [--minutes 8]

Compares the CUDA kernels with the CPU's, replayed graphs with single launches, every engine and rasterizer
that is installed with float32 on the CPU; times whole frames, each stage next to what its bytes and FLOPs take
at this GPU's measured speed, and a straightforward pipeline in torch; renders while engines are being built,
at the pace of 30, 60 and 90 Hz, for several clients of a server, and 10,000 frames with an eye on the memory;
runs the tests marked gpu. Writes gpu_check.json, .md and .svg after every check, so that nothing that comes
later loses what was found. What is not installed is told and left out. Exit code 0 if all checks pass, 1 if
one fails, 2 without a GPU. Needs numpy, scipy, tqdm and the packages of dinar-live[gpu] beside dinar-live's own
code; onnx, TensorRT, torch, nvdiffrast, pyzmq, pytest and openvino are used where they are. gpu_machine.py installs
what was carried to a machine that reaches no package registry, and runs this.

With DINAR_EMULATED_CUDA=1 it runs on the emulated driver of the tests, which says nothing about time.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable

if os.environ.get("DINAR_EMULATED_CUDA"):
    import gpu_emulated

    gpu_emulated.load()

import gpu_work
from gpu_checks import frames_agree, kernel_checks, loop_check, memory_check, tests_check
from gpu_loads import background_check, clients, paced
from gpu_report import Check, Report, markdown, write
from gpu_runs import Counts, baseline_run, timed_run
from gpu_subject import backends, missing_engines, not_for, subject

from dinar_live.kernels.cuda import CudaError, NvdiffrastRasterizer
from dinar_live.runtime.bench import yardstick
from dinar_live.runtime.bench.workload import shots
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.gpu.device import shared_gpu

REST_MS = 0.15  # everything but the network
POSES = 6
PARTS = (
    "kernels",
    "frames",
    "times",
    "background",
    "paced",
    "clients",
    "memory",
    "plain",
    "tests",
)
GRACE = 30.0  # seconds beyond the limit that what is under way may take


class Examination:
    """What is done, in order; the report is written after each of it. deadline: by time.monotonic."""

    def __init__(self, gpu, args: argparse.Namespace):
        self.gpu = gpu
        self.args = args
        self.began = time.monotonic()
        self.deadline = self.began + 60 * args.minutes
        self.doing = "the start"
        driver = "{}.{}".format(*gpu.device.driver_version)
        versions = {**yardstick.versions(), **gpu_work.versions(), "driver for CUDA": driver}
        self.size = (args.size, args.size)
        self.report = Report(f"{gpu.device.name} ({gpu.device.arch})", self.size, versions)
        self._lock = threading.Lock()
        self.clock = threading.Timer(60 * args.minutes + GRACE, self._overtime)
        self.clock.daemon = True  # what hangs in a driver cannot be interrupted, only left behind
        self.clock.start()

    def write(self) -> list[pathlib.Path]:
        with self._lock:
            self.report.seconds = time.monotonic() - self.began
            return write(self.report, self.args.out)

    def _overtime(self) -> None:
        self.report.notes.append(f"ended by the clock during: {self.doing}")
        self.report.checks.append(Check(self.doing, False, "it did not end in time"))
        self.write()
        print(markdown(self.report), flush=True)
        os._exit(1)

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def attempt(self, name: str, function: Callable, *arguments):
        """Its result; where it fails, a failed check instead of an exception, so that the rest is still measured;
        not tried when the time is up."""
        if self.left() <= 0:
            self.note(Check(name, None, f"the {self.args.minutes:g} minutes were over"))
            return None
        self.doing = name
        print(f"{time.monotonic() - self.began:6.1f} s  {name} ...", file=sys.stderr, flush=True)
        try:
            result = function(*arguments)
        except ModuleNotFoundError as e:
            self.note(Check(name, None, f"needs the package {e.name}"))
        except Exception as e:  # whatever it is: what was found so far stays, and the rest is still tried
            self.note(Check(name, False, f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"))
        else:
            self.write()
            return result
        return None

    def note(self, *checks: Check) -> None:
        self.report.checks += checks
        self.write()

    def checks(self, name: str, function: Callable, *arguments) -> None:
        """The same for what returns checks."""
        self.note(*(self.attempt(name, function, *arguments) or ()))

    def _usual(self) -> str:
        """The renderer that people use: light, where an engine can run it, else the first that can be opened."""
        names = sorted(self.avatar.renderers, key=lambda name: (name != "light", name == "full"))
        for name in names:
            try:
                with Renderer(self.avatar, self.size, renderer=name, device="cuda", crop=False) as renderer:
                    self.report.notes.append(f"{name}: {renderer.describe()}")
                    return name
            except DinarError as e:
                self.report.notes.append(f"{name} cannot be opened: {' '.join(str(e).split())[:500]}")
        raise DinarError("no renderer can be opened")

    # ---- the parts ----------------------------------------------------------------------------------------

    def run(self) -> None:
        args, report, gpu = self.args, self.report, self.gpu
        avatar = subject(args.avatar, args.renderers)
        self.avatar = avatar
        self.few = shots(avatar, demo_motion(), self.size, POSES, 0.5)
        self.work = shots(avatar, demo_motion(), self.size, POSES * 4, 2.0)
        report.bandwidth_gbps = self.attempt("bandwidth", gpu_work.bandwidth_gbps, gpu)
        report.tflops = self.attempt("fp16 matrices", gpu_work.tflops)
        self.usual = self.attempt("the usual renderer", self._usual)
        for part in PARTS:
            if part in args.parts:
                getattr(self, f"_{part}")()
        for part in [part for part in PARTS if part not in args.parts]:
            report.notes.append(f"not asked for: {part}")

    def _kernels(self) -> None:
        for rasterizer in ("native", "nvdiffrast"):
            if rasterizer == "nvdiffrast" and (reason := NvdiffrastRasterizer.missing()):
                self.note(Check("rasterize, nvdiffrast", None, reason.partition(";")[0]))
                continue
            label = f"kernels, {rasterizer}"
            self.checks(label, kernel_checks, self.gpu, self.avatar, self.size, self.few, rasterizer)

    def _frames(self) -> None:
        self.note(*(Check(f"engine {name}", None, why) for name, why in missing_engines().items() if why))
        for _, options in backends(self.avatar):
            label = ", ".join(options.values())
            unfit = not_for(self.gpu, options["engine"])
            done = len(self.report.checks)
            self.checks(f"frames: {label}", frames_agree, self.avatar, self.size, self.work, options)
            if unfit:  # tried all the same; that it is refused is no fault
                for check in self.report.checks[done:]:
                    if check.passed is False:
                        check.passed, check.text = None, f"{unfit} ({check.text})"

    def _times(self) -> None:
        args = self.args
        counts = Counts(args.frames // 10 or 1, args.rounds)
        for _, options in backends(self.avatar):
            label = ", ".join(options.values())
            if self._refused(label):
                continue
            run = self.attempt(
                f"time: {label}", timed_run, self.gpu, self.avatar, self.work, options, counts, self.report
            )
            if run is None:
                continue
            self.report.runs.append(run)
            rest = sum(stage.p50_ms for stage in run.stages if stage.name != "network")
            if options["rasterizer"] == "native":
                passed = rest <= REST_MS if self.size == (512, 512) and not self.emulated else None
                text = f"{rest:.3f} ms of stages, at most {REST_MS:g} at 512x512"
                self.note(Check(f"all but the network: {label}", passed, text))

    def _refused(self, label: str) -> bool:
        """Whether its frames were looked at, and it gave none or wrong ones."""
        return any(c.name == f"frames: {label}" and c.passed is not True for c in self.report.checks)

    @property
    def emulated(self) -> bool:
        return bool(os.environ.get("DINAR_EMULATED_CUDA"))

    def _background(self) -> None:
        self.checks("background", background_check, self.avatar, self.size, self.usual, self.args.seconds)

    def _paced(self) -> None:
        for rate in (30.0, 60.0, 90.0):
            name = f"paced at {rate:g} Hz"
            load = self.attempt(
                name, paced, self.avatar, self.size, self.usual, self.work, rate, self.args.seconds
            )
            self.report.loads += [] if load is None else [load]
        self.write()

    def _clients(self) -> None:
        self.checks(
            "over 127.0.0.1",
            loop_check,
            self.avatar,
            self.size,
            self.usual,
            self.work,
            self.args.frames // 20 or 1,
        )
        for count in (1, 2, 4, 8):
            name = f"{count} clients at 30 Hz"
            load = self.attempt(
                name, clients, self.avatar, self.size, self.usual, self.work, count, 30.0, self.args.seconds
            )
            self.report.loads += [] if load is None else [load]
        self.write()

    def _memory(self) -> None:
        self.checks(
            "memory",
            memory_check,
            self.gpu,
            self.avatar,
            self.size,
            self.usual,
            self.work,
            self.args.frames,
            self.deadline,
        )

    def _plain(self) -> None:
        if self.report.tflops is None:
            self.report.notes.append("no torch with CUDA: no straightforward pipeline to compare with")
            return
        for name in self.avatar.renderers:
            count = self.args.frames // 100 or 1
            run = self.attempt(
                f"plain torch, {name}", baseline_run, self.avatar, name, self.size, self.work, count
            )
            self.report.runs += [] if run is None else [run]
        self.write()

    def _tests(self) -> None:
        self.checks("pytest -m gpu", tests_check, self.args.tests, max(1.0, self.left()))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "-o", "--out", type=pathlib.Path, default=pathlib.Path("out/gpu"), help="folder for the report"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to do")
    parser.add_argument("--minutes", type=float, default=8.0, help="what is not begun by then is left out")
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
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="of each load (paced, clients, background)"
    )
    parser.add_argument(
        "--tests",
        nargs="+",
        metavar="PATH",
        default=["tests/cuda_kernels", "tests/render", "tests/engines"],
        help="where pytest -m gpu looks",
    )
    args = parser.parse_args(argv)
    try:
        gpu = shared_gpu(0)
    except CudaError as e:
        print(f"gpu_check: {e}", file=sys.stderr)
        return 2
    examination = Examination(gpu, args)
    try:
        examination.attempt("all", examination.run)
    except KeyboardInterrupt:
        examination.report.notes.append(f"interrupted during: {examination.doing}")
    examination.clock.cancel()
    files = examination.write()
    print(markdown(examination.report))
    print("written: " + ", ".join(str(f) for f in files))
    return 0 if examination.report.passed else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.exit(code)
