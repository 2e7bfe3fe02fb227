"""dinar bench [AVATAR] --scenario single|paced|neighbours|stereo|capacity|lossy|compare"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dinar_live.runtime.core.errors import InputError

from . import common
from .serve import frames_per_second

if TYPE_CHECKING:
    from dinar_live.runtime.bench.served import Served

# what each takes, with its defaults
SCENARIOS: dict[str, dict[str, Any]] = {
    "single": {"frames": 600, "plot": None},
    "paced": {"rate": 30.0, "seconds": 60.0, "fps": 0.0, "plot": None},
    "neighbours": {"rate": 30.0, "seconds": 60.0, "fps": 0.0, "plot": None},
    "stereo": {"frames": 600, "plot": None},
    "capacity": {"rate": None, "seconds": 6.0, "fps": 0.0},
    "lossy": {"rate": 30.0, "seconds": 30.0, "fps": 0.0, "plot": None, "link": "delay 10ms 3ms loss 1%"},
    "compare": {"frames": 200},
}
OPTIONS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "frames": (int, "N", "how many frames"),
    "rate": (float, "HZ", "poses per second"),
    "seconds": (float, "S", "how long, capacity: each try"),
    "fps": (
        frames_per_second,
        "N",
        "the server chooses a renderer that holds N frames a second; 0 = always the same one",
    ),
    "link": (str, "TEXT", "what the link does, in the words of tc-netem(8)"),
    "plot": (str, "FILE.svg", "also draw latency over time and the stages"),
}
REPORTED = ("capacity", "compare")  # with a report of their own


def arguments(parser: argparse.ArgumentParser) -> None:
    common.avatar_argument(parser, optional=True)
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="single",
        help="single: closed loop in this process; paced: open loop over ZeroMQ; neighbours: the same beside a client that "
        "reads a third and one that never reads; stereo: pairs of frames over ZeroMQ, closed loop; capacity: how many clients "
        "hold 30, 72 and 90 Hz; lossy: paced over a link that delays and loses packets (Linux); compare: the same frames by "
        "plain torch and with ONNX Runtime",
    )
    for name, (kind, metavar, text) in OPTIONS.items():
        parser.add_argument(
            f"--{name}",
            type=kind,
            metavar=metavar,
            default=argparse.SUPPRESS,
            help=f"{text} ({_takers(name)})",
        )
    parser.add_argument("--motion", metavar="MOTION", default="demo", help=".npz or .bvh file, or 'demo'")
    common.file_arguments(parser)
    parser.add_argument(
        "--json", metavar="FILE", default=argparse.SUPPRESS, help="also write the figures here"
    )
    parser.add_argument("--curve", action="store_true", help="over ZeroMQ: with keys and encryption")
    common.realtime_argument(parser)
    common.renderer_arguments(parser)


def _takers(name: str) -> str:
    """Which scenarios take an option, and their defaults: 'single, stereo: 600; compare: 200'."""
    scenarios: dict[str, list[str]] = {}  # by default
    for scenario, defaults in SCENARIOS.items():
        if name in defaults:
            value = "30, 72 and 90" if name == "rate" and defaults[name] is None else defaults[name]
            text = "" if value is None else f": {value:g}" if isinstance(value, float) else f": {value}"
            scenarios.setdefault(text, []).append(scenario)
    return "; ".join(f"{', '.join(names)}{text}" for text, names in scenarios.items()).replace("%", "%%")


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the scenario. Raises InputError for those of another one."""
    takes = SCENARIOS[args.scenario]
    unused = [f"--{name}" for name in OPTIONS if name in args and name not in takes]
    if unused:
        known = " and ".join(f"--{name}" for name in takes if name != "plot")
        raise InputError(f"{', '.join(unused)}: not for --scenario {args.scenario}, which takes {known}")
    if args.curve and args.scenario in ("single", "compare"):
        raise InputError(f"--curve: not for --scenario {args.scenario}, which sends nothing")
    return {name: getattr(args, name, default) for name, default in takes.items()}


def run(args: argparse.Namespace) -> int:
    """Exit code 0, or 1 when the frames were wrong."""
    common.take_priority(args)
    from dinar_live.runtime.bench import link, report
    from dinar_live.runtime.bench.paced import tick_count

    given = _given(args)
    path, plot = getattr(args, "json", None), given.get("plot")
    for name, file in (("--json", path), ("--plot", plot)):
        if file is not None:
            report.refuse_unwritable(file, name)
    if given.get("rate") and args.scenario != "capacity":
        tick_count(given["rate"], given["seconds"])  # refused before a server is started
    if args.scenario == "lossy" and link.within() is None:
        words = link.check_link(given["link"])
        if (why := link.why_not(words)) is None:
            return link.run_within(words, args.given)
        print(f"lossy: skipped, such a link cannot be made here: {why}")
        if path is not None:
            report.write_json(path, {"scenario": "lossy", "link": given["link"], "skipped": why})
        return 0
    return (_own_report if args.scenario in REPORTED else _measure)(args, given, path)


@contextmanager
def _served(args: argparse.Namespace, fps: float, options: dict) -> Iterator[Served]:
    """A server for the scenarios over ZeroMQ."""
    from dinar_live.runtime.bench.served import Served

    from .access import temporary_keys
    from .server_process import ServerProcess

    avatar, motion = common.open_avatar(args.avatar), common.open_motion(args.motion, args)
    with (
        temporary_keys(args.curve) as (serve_keys, access),
        ServerProcess([*_serve_arguments(args, fps), *serve_keys]) as server,
    ):
        yield Served(avatar, motion, server.endpoint, options, access, server.check)


def _measure(args: argparse.Namespace, given: dict, path: str | None) -> int:
    """The scenarios whose result is the latency of frames."""
    from dinar_live.runtime.bench import link, plot, report, yardstick
    from dinar_live.runtime.bench.paced import run_paced
    from dinar_live.runtime.bench.single import run_single
    from dinar_live.runtime.bench.stereo import run_stereo

    options, progress = common.renderer_options(args), sys.stderr.isatty()
    avatar, motion = common.open_avatar(args.avatar), common.open_motion(args.motion, args)
    before = yardstick.machine()
    with yardstick.OtherLoad() as other:
        if args.scenario == "single":
            measurement = run_single(avatar, motion, given["frames"], options, progress)
        else:
            with _served(args, given.get("fps", 0.0), options) as served:
                if args.scenario == "stereo":
                    measurement = run_stereo(served, given["frames"], progress=progress)
                else:
                    neighbours = args.scenario == "neighbours"
                    measurement = run_paced(
                        served, given["rate"], given["seconds"], progress=progress, neighbours=neighbours
                    )
    if args.scenario == "lossy":
        measurement = link.told(measurement)
    # The server is gone by now, so that neither disturbs the other.
    machine = yardstick.best(before, yardstick.machine())
    result = report.summary(measurement, machine, yardstick.versions(), yardstick.revision(), other.cores)
    print("\n".join(report.lines(result)))
    if given["plot"] is not None:
        title = f"{result['scenario']}, renderer {result['renderer']}, yardstick {machine['conv_gflops_f32']:.0f} GFLOP/s"
        report.write_text(given["plot"], plot.svg(measurement, title))
        print(f"{given['plot']}: written")
    return _end(result, path)


def _own_report(args: argparse.Namespace, given: dict, path: str | None) -> int:
    """capacity and compare."""
    from dinar_live.runtime.bench import capacity, comparison, report, yardstick

    options, progress = common.renderer_options(args), sys.stderr.isatty()
    before = yardstick.machine()
    result: dict[str, Any] = {"scenario": args.scenario}
    with yardstick.OtherLoad() as other:
        if args.scenario == "capacity":
            rates = capacity.RATES if given["rate"] is None else (given["rate"],)
            with _served(args, given["fps"], options) as served:
                found, faults, caps = capacity.run_capacity(
                    served, rates, given["seconds"], say=lambda line: print(f"  {line}", flush=True)
                )
            told = capacity.lines(found)
            result |= {"renderer": caps["renderer"], "size": list(args.size), "faults": faults}
            result["capacity"] = [one.as_json() for one in found]
        else:
            avatar, motion = common.open_avatar(args.avatar), common.open_motion(args.motion, args)
            result |= comparison.run_comparison(avatar, motion, given["frames"], options, progress)
            told = comparison.lines(result)
    machine = yardstick.best(before, yardstick.machine())
    result |= {
        "yardstick": machine,
        "valid": not result["faults"],
        "notes": report.load_notes(other.cores, machine),
        "versions": yardstick.versions(),
        "revision": yardstick.revision(),
    }
    print("\n".join([*told, "", *report.machine_lines(result)]))
    return _end(result, path)


def _end(result: dict, path: str | None) -> int:
    from dinar_live.runtime.bench import report

    if path is not None:
        report.write_json(path, result)
        print(f"{path}: written")
    return 0 if result["valid"] else 1


def _serve_arguments(args: argparse.Namespace, fps: float) -> list[str]:
    height, width = args.size
    return [
        args.avatar,
        "--no-page",
        f"--fps={fps:g}",
        "--size",
        f"{width}x{height}",
        *(f"--{name}={getattr(args, name)}" for name in ("renderer", *common.ENGINE_OPTIONS)),
    ]
