"""dinar convert MOTION out.bvh|out.npz|out.dmot, dinar convert MOTION.bvh --show-map"""

from __future__ import annotations

import argparse
import math
import pathlib

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.motion import save_motion, write_bvh
from dinar_live.runtime.motion.bvh_write import UNITS
from dinar_live.runtime.motion.convert import WRITTEN

from . import common

READ = (".npz", ".bvh", ".dmot", ".part", ".glb", ".gltf", ".vrma", ".vrm")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "motion",
        metavar="MOTION",
        help=".npz, .bvh, .glb, .gltf, .vrma or .dmot file, 'demo', or the result of GVHMR (.pt), "
        "WHAM, AIST++, PromptHMR (.pkl), "
        "SMPLify-X (.pkl or folder) or SMPLer-X (folder of .npz); nothing in such a file is executed",
    )
    parser.add_argument(
        "out", metavar="OUT", nargs="?", help=f"{', '.join(WRITTEN)} file; BVH has no place for expressions"
    )
    parser.add_argument("--fps", type=float, help="frames per second of OUT (default: as in MOTION)")
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="leave out what comes before, seconds"
    )
    parser.add_argument(
        "--stop", type=float, metavar="S", help="leave out what comes after, seconds (default: all)"
    )
    common.motion_filters(parser)
    common.file_arguments(parser)
    parser.add_argument(
        "--show-map",
        action="store_true",
        help="of BVH: print which joint was understood as which, as a file for --map, instead of writing OUT",
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
    given = {"--person": args.person is not None, "--world": args.world != "world"}
    if wrong := [name for name, value in given.items() if value and not research]:
        raise InputError(f"{', '.join(wrong)}: means nothing for {args.motion}")
    if research:
        from dinar_live.runtime.motion.research_files import convert_research

        options = common.file_options(args, args.motion, ("up", "fps", "hands_model"))
        return convert_research(path, person=args.person, world=args.world, **options)
    return common.open_motion(args.motion, args)


def _show_map(args: argparse.Namespace) -> int:
    from dinar_live.runtime.motion.bvh import read_clip
    from dinar_live.runtime.motion.families import shown_map
    from dinar_live.runtime.motion.joint_map import read_map

    path = pathlib.Path(args.motion)
    if args.out is not None:
        raise InputError(f"--show-map: writes no OUT, got {args.out}; it prints: --show-map > map.toml")
    if path.suffix.lower() != ".bvh":
        raise InputError(f"--show-map: got {path}, expected a .bvh file")
    clip = read_clip(path, args.source_fps)
    joint_map = None if args.map is None else read_map(args.map)
    print(shown_map(clip.names, clip.parents, str(path), joint_map), end="")
    return 0


def run(args: argparse.Namespace) -> int:
    if args.show_map:
        return _show_map(args)
    if args.out is None:
        raise InputError(f"OUT is missing: expected a {', '.join(WRITTEN)} file to write, or --show-map")
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
