"""dinar convert MOTION out.bvh|out.npz|out.dmot"""

from __future__ import annotations

import argparse
import math
import pathlib

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.motion import load_motion, save_motion, write_bvh
from dinar_live.runtime.motion.bvh_write import UNITS
from dinar_live.runtime.motion.convert import WRITTEN

from . import common

READ = (".npz", ".bvh", ".dmot", ".part")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "motion",
        metavar="MOTION",
        help=".npz, .bvh or .dmot file, 'demo', or the result of GVHMR (.pt), WHAM (.pkl), "
        "SMPLify-X (.pkl or folder) or SMPLer-X (folder of .npz); nothing in such a file is executed",
    )
    parser.add_argument(
        "out", metavar="OUT", help=f"{', '.join(WRITTEN)} file; BVH has no place for expressions"
    )
    parser.add_argument("--fps", type=float, help="frames per second of OUT (default: as in MOTION)")
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="leave out what comes before, seconds"
    )
    parser.add_argument(
        "--stop", type=float, metavar="S", help="leave out what comes after, seconds (default: all)"
    )
    common.motion_filters(parser)
    parser.add_argument(
        "--up",
        choices=("auto", "y", "z", "-y"),
        default="auto",
        help="upward axis of MOTION (not of BVH, whose skeleton shows it)",
    )
    parser.add_argument(
        "--source-fps", type=float, help="frames per second of MOTION, where the file does not say"
    )
    parser.add_argument("--person", help="which of several people in MOTION (default: the one seen longest)")
    parser.add_argument(
        "--world",
        choices=("world", "camera"),
        default="world",
        help="of GVHMR and WHAM: the path over ground, or as the camera saw it",
    )
    parser.add_argument(
        "--unit", choices=tuple(UNITS), default="cm", help="of BVH, which has no place to say which"
    )


def _opened(args: argparse.Namespace):
    path = pathlib.Path(args.motion)
    if args.motion != "demo" and not path.exists():
        raise InputError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    research = path.is_dir() or (path.exists() and suffix not in READ)
    given = {
        "--person": args.person is not None,
        "--world": args.world != "world",
        "--up": args.up != "auto",
        "--source-fps": args.source_fps is not None,
    }
    takes = set(given) if research else {"--up", "--source-fps"} if suffix == ".npz" else set()
    if wrong := [name for name, value in given.items() if value and name not in takes]:
        raise InputError(f"{', '.join(wrong)}: means nothing for {args.motion}")
    if research:
        from dinar_live.runtime.motion.research_files import convert_research

        return convert_research(path, fps=args.source_fps, up=args.up, person=args.person, world=args.world)
    return (
        load_motion(path, up=args.up, fps=args.source_fps)
        if suffix == ".npz"
        else common.open_motion(args.motion)
    )


def run(args: argparse.Namespace) -> int:
    out = pathlib.Path(args.out)
    if out.suffix.lower() not in WRITTEN:
        raise InputError(f"{out}: got {out.suffix!r}, expected {', '.join(WRITTEN)}")
    stop = math.inf if args.stop is None else args.stop
    if not 0 <= args.start < stop:
        raise InputError(f"--start {args.start:g} --stop {stop:g}: expected 0 <= start < stop")
    motion = _opened(args)
    if args.start > 0 or stop < motion.duration:
        if args.start >= motion.duration:
            raise InputError(f"--start {args.start:g}: the motion lasts {motion.duration:.2f} s")
        first = round(args.start * motion.fps)
        motion = motion.slice(
            first, max(first + 1, min(motion.frames, round(min(stop, motion.duration) * motion.fps)))
        )
    motion = common.filtered(motion, args)
    motion = motion if args.fps is None else motion.resample(args.fps)
    if out.suffix.lower() == ".bvh":
        write_bvh(motion, out, unit=args.unit)
    else:
        save_motion(motion, out)
    for note in motion.notes:
        print(f"note: {note}")
    if out.suffix.lower() == ".bvh" and motion.expression.any():
        print("note: expressions have no place in BVH and are left out")
    print(f"{out}: {motion.frames} frames, {motion.duration:.2f} s at {motion.fps:g} fps")
    return 0
