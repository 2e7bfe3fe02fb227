"""dinar bench [AVATAR] --scenario single|paced|neighbours|stereo"""

from __future__ import annotations

import argparse
import sys

from dinar_live.runtime.core.errors import InputError

from . import common
from .serve import frames_per_second

DEFAULTS = {"frames": 600, "rate": 30.0, "seconds": 60.0}
# which of DEFAULTS each takes
SCENARIOS = {
    "single": ("frames",),
    "paced": ("rate", "seconds"),
    "neighbours": ("rate", "seconds"),
    "stereo": ("frames",),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    common.avatar_argument(parser, optional=True)
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="single",
        help="single: closed loop in this process; paced: open loop over ZeroMQ; neighbours: the same beside a client that "
        "reads a third and one that never reads; stereo: pairs of frames over ZeroMQ, closed loop",
    )
    texts = {
        "frames": "single, stereo: how many",
        "rate": "paced, neighbours: poses per second",
        "seconds": "paced, neighbours: how long",
    }
    for name, default in DEFAULTS.items():
        parser.add_argument(
            f"--{name}",
            type=type(default),
            default=argparse.SUPPRESS,
            help=f"{texts[name]} (default: {default:g})",
        )
    parser.add_argument("--motion", metavar="MOTION", default="demo", help=".npz or .bvh file, or 'demo'")
    common.file_arguments(parser)
    parser.add_argument(
        "--json", metavar="FILE", default=argparse.SUPPRESS, help="also write the figures here"
    )
    parser.add_argument("--curve", action="store_true", help="over ZeroMQ: with keys and encryption")
    parser.add_argument(
        "--fps",
        type=frames_per_second,
        default=0.0,
        metavar="N",
        help="over ZeroMQ: the server chooses a renderer that holds N frames a second (default: 0, always the same one)",
    )
    common.realtime_argument(parser)
    common.renderer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code 0, or 1 when the frames were wrong."""
    common.take_priority(args)
    from dinar_live.runtime.bench import report, yardstick
    from dinar_live.runtime.bench.paced import run_paced, tick_count
    from dinar_live.runtime.bench.served import Served
    from dinar_live.runtime.bench.single import run_single
    from dinar_live.runtime.bench.stereo import run_stereo

    from .access import temporary_keys
    from .server_process import ServerProcess

    unused = [f"--{name}" for name in DEFAULTS if name in args and name not in SCENARIOS[args.scenario]]
    if unused:
        takes = " and ".join(f"--{name}" for name in SCENARIOS[args.scenario])
        raise InputError(f"{', '.join(unused)}: not for --scenario {args.scenario}, which takes {takes}")
    if args.curve and args.scenario == "single":
        raise InputError("--curve: not for --scenario single, which sends nothing")
    path = getattr(args, "json", None)
    if path is not None:
        report.refuse_unwritable(path)
    given = {name: getattr(args, name, default) for name, default in DEFAULTS.items()}
    options, progress = common.renderer_options(args), sys.stderr.isatty()
    avatar, motion = common.open_avatar(args.avatar), common.open_motion(args.motion, args)
    if "rate" in SCENARIOS[args.scenario]:
        tick_count(given["rate"], given["seconds"])  # refused before a server is started
    before = yardstick.machine()
    with yardstick.OtherLoad() as other:
        if args.scenario == "single":
            measurement = run_single(avatar, motion, given["frames"], options, progress)
        else:
            with (
                temporary_keys(args.curve) as (serve_keys, access),
                ServerProcess([*_serve_arguments(args), *serve_keys]) as server,
            ):
                served = Served(avatar, motion, server.endpoint, options, access, server.check)
                if args.scenario == "stereo":
                    measurement = run_stereo(served, given["frames"], progress=progress)
                else:
                    measurement = run_paced(
                        served,
                        given["rate"],
                        given["seconds"],
                        progress=progress,
                        neighbours=args.scenario == "neighbours",
                    )
    # The server is gone by now, so that neither disturbs the other.
    machine = yardstick.best(before, yardstick.machine())
    result = report.summary(measurement, machine, yardstick.versions(), yardstick.revision(), other.cores)
    print("\n".join(report.lines(result)))
    if path is not None:
        report.write_json(path, result)
        print(f"{path}: written")
    return 0 if result["valid"] else 1


def _serve_arguments(args: argparse.Namespace) -> list[str]:
    height, width = args.size
    return [
        args.avatar,
        "--no-page",
        f"--fps={args.fps:g}",
        "--size",
        f"{width}x{height}",
        *(f"--{name}={getattr(args, name)}" for name in ("renderer", *common.ENGINE_OPTIONS)),
    ]
