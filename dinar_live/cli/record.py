"""dinar record SOURCE -o take.dmot"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

import numpy as np

from dinar_live.runtime.core.errors import InputError, MotionError
from dinar_live.runtime.live.source import Sample, Skeleton, Source
from dinar_live.runtime.motion import OneEuro, Recorder
from dinar_live.runtime.motion.recording import write_recording
from dinar_live.runtime.vision.video import SUFFIXES

from . import common

POLL_SECONDS = 0.002
STATUS_SECONDS = 1.0
CLOCK_SLACK = 0.5  # seconds that a sender's clock may run off before it counts as another clock


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="a live source, as for 'dinar live', or a motion file, or 'demo'"
    )
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="TAKE.dmot",
        help="the recording; until the end it is called TAKE.dmot.part",
    )
    parser.add_argument(
        "--seconds", type=float, help="stop after this long (default: until Ctrl-C, or the end of the file)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace TAKE.dmot")
    parser.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="where to listen for a live source"
    )
    parser.add_argument(
        "--calibrate-after", type=float, metavar="S", help="take the performer's T-pose after so long (VMC)"
    )
    common.file_arguments(parser)
    common.motion_filters(parser)


def run(args: argparse.Namespace) -> int:
    out = pathlib.Path(args.out)
    check_path(out, "--out", args.overwrite)
    if args.seconds is not None and not args.seconds > 0:
        raise InputError(f"--seconds: got {args.seconds:g}, expected a positive duration")
    if args.source.lower().endswith(SUFFIXES):
        raise InputError(
            f"{args.source}: of a video 'dinar pose {args.source} -o {out}' makes a motion, frame by frame"
        )
    if args.source == "demo" or pathlib.Path(args.source).exists():
        return _file(args, out)
    from dinar_live.runtime.live import open_source
    from dinar_live.runtime.live.registry import smoothing

    common.file_options(args, f"the live source {args.source}", ())
    for name, given in (("--floor-snap", args.floor_snap), ("--lock-feet", args.lock_feet)):
        if given:
            raise InputError(
                f"{name}: needs the whole clip; record first, then 'dinar convert TAKE.dmot OUT.dmot {name}'"
            )
    if args.source.partition(":")[0] == "webxr":
        raise InputError("webxr: comes through a server's page; use 'dinar live webxr --record TAKE.dmot'")
    smooth = smoothing([args.source]) if args.smooth is None else args.smooth or None
    take = Take(out, smooth=smooth, overwrite=args.overwrite, name=args.source)
    with open_source(args.source, bind=args.bind, calibrate_after=args.calibrate_after) as source:
        print(f"recording {args.source}; Ctrl-C ends it", flush=True)
        record(source, take, args.seconds)
        hint = source.state.hint
    if take.recorder is None:
        raise MotionError(
            f"{args.source}: nothing came, nothing was recorded; {hint or 'is the sender running, and sending here?'}"
        )
    print(f"\n{out}: {take.recorder.frames} frames, {take.recorder.seconds:.2f} s")
    return 0


def check_path(out: pathlib.Path, option: str, overwrite: bool) -> None:
    """Raises InputError for what is no place for a recording."""
    if out.suffix.lower() != ".dmot":
        raise InputError(f"{option} {out}: got {out.suffix!r}, expected .dmot")
    if out.exists() and not overwrite:
        raise InputError(f"{option} {out}: exists already; give another name or --overwrite")
    if not out.parent.is_dir():
        raise InputError(f"{option} {out}: there is no folder {out.parent}; make it, or give another name")


def _file(args: argparse.Namespace, out: pathlib.Path) -> int:
    motion = common.filtered(common.open_motion(args.source, args), args)
    if args.seconds is not None and args.seconds < motion.duration:
        motion = motion.slice(0, max(1, round(args.seconds * motion.fps)))
    write_recording(motion, out)
    print(f"{out}: {motion.frames} frames, {motion.duration:.2f} s at {motion.fps:g} fps")
    return 0


class Take:
    """Samples of a source as frames of a recording, on the sender's clock, which is smoother than the
    network's.

    smooth: Hz of a One-Euro filter, or None. Raises MotionError.
    """

    def __init__(
        self, out: pathlib.Path, *, smooth: float | None = None, overwrite: bool = False, name: str = ""
    ):
        self._out = out
        self._overwrite = overwrite
        self._name = name
        self._euro = None if smooth is None else OneEuro(smooth)
        self._sequence = -1
        self._shift = None
        self.recorder: Recorder | None = None

    def add(self, sample: Sample, skeleton: Skeleton) -> None:
        """A sample; one that was there already, or that is older than the last, is left out."""
        if sample.sequence == self._sequence:
            return
        self._sequence = sample.sequence
        if self.recorder is None:
            self.recorder = Recorder(
                self._out,
                leg_length=skeleton.leg_length,
                expression_names=skeleton.expression_names,
                source=self._name,
                overwrite=self._overwrite,
            )
            self._leg = skeleton.leg_length
            self._names = skeleton.expression_names
            self._last = -np.inf
        if skeleton.expression_names != self._names:
            raise MotionError(
                f"{self._name}: the sender changed its expressions in the middle; record the rest as another take"
            )
        if self._shift is None or abs(sample.time_s + self._shift - sample.received_s) > CLOCK_SLACK:
            self._shift = sample.received_s - sample.time_s  # the first one, or the sender began anew
        t = sample.time_s + self._shift
        if t <= self._last:
            return
        self._last = t
        pelvis = sample.pelvis * (self._leg / skeleton.leg_length)  # a new calibration may find other legs
        body = sample.body
        if self._euro is not None:
            body, pelvis = self._euro.step(t, body, pelvis)
        self.recorder.append(t, body, pelvis, sample.expression)

    def close(self) -> None:
        if self.recorder is not None:
            self.recorder.close()


def record(source: Source, take: Take, seconds: float | None) -> None:
    """Takes each new sample of a started source until `seconds` after the first, or Ctrl-C."""
    first, shown = None, time.monotonic() + STATUS_SECONDS
    tty, told = sys.stdout.isatty(), ""
    try:
        while seconds is None or first is None or time.monotonic() - first < seconds:
            sample, skeleton = source.read(), source.skeleton
            if sample is not None and skeleton is not None:
                first = first or time.monotonic()
                take.add(sample, skeleton)
            if time.monotonic() > shown:
                shown += STATUS_SECONDS
                state, frames = source.state, take.recorder.frames if take.recorder else 0
                line = f"{frames} frames  {state.rate_hz:.0f} Hz  gaps {state.gaps}  dropped {state.dropped}  {state.hint}"
                if tty or line != told:
                    print(f"{line:<100}", end="\r" if tty else "\n", flush=True)
                told = line
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        take.close()
