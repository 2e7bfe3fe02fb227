"""dinar live SOURCE --avatar AVATAR [--bind 127.0.0.1] [--no-calibration | --calibrate-after SECONDS]"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time

from dinar_live.runtime.core.process import leave
from dinar_live.runtime.live import Follower, open_source
from dinar_live.runtime.live.registry import CALIBRATED, FORMS, form_of
from dinar_live.runtime.live.source import Source, SourceState
from dinar_live.runtime.motion import FootLock
from dinar_live.runtime.motion.filters import Filter, OneEuro, Predictor
from dinar_live.runtime.stream import Server

from . import common
from .access import server_arguments
from .serve import check, serving, session_arguments

STATUS_SECONDS = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help=FORMS)
    parser.add_argument(
        "--avatar", default="demo", metavar="A", help="avatar bundle (folder or .zip), or 'demo'"
    )
    parser.add_argument(
        "--bind",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where UDP sources listen; 0.0.0.0 hears other machines and phones too, unencrypted",
    )
    calibration = parser.add_mutually_exclusive_group()
    calibration.add_argument(
        "--no-calibration",
        action="store_true",
        help=f"{CALIBRATED}: all bones are unturned in the T-pose (VRM 0)",
    )
    calibration.add_argument(
        "--calibrate", action="store_true", help=f"{CALIBRATED}: always ask for a T-pose"
    )
    calibration.add_argument(
        "--calibrate-after",
        type=float,
        metavar="SECONDS",
        help=f"{CALIBRATED}: the pose so long after the first frame is the T-pose",
    )
    parser.add_argument("--mirror", action="store_true", help="exchange left and right, as in a mirror")
    parser.add_argument(
        "--root",
        default="start",
        choices=("start", "keep", "fixed"),
        help="place: start = begins over the origin, keep = as the source says, fixed = stays there",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        nargs="?",
        const=1.5,
        metavar="HZ",
        help="One-Euro filter against trembling: cut-off of a still pose, lower is smoother (default: off; 1.5 if no HZ)",
    )
    common.lock_argument(parser, "; shows everything 0.1 s later")
    parser.add_argument(
        "--predict",
        type=float,
        metavar="MS",
        help="show the pose expected so much later, at most 100 ms (default: off)",
    )
    parser.add_argument(
        "--hold",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="how long to hold the last pose when samples stop",
    )
    parser.add_argument(
        "--ease", type=float, default=1.0, metavar="SECONDS", help="how long to ease to standing by, and back"
    )
    parser.add_argument(
        "--endpoint", default="tcp://127.0.0.1:5555", help="where clients connect; port 0 picks a free one"
    )
    session_arguments(parser)
    common.page_arguments(parser)
    server_arguments(parser)
    common.realtime_argument(parser)
    common.renderer_arguments(parser)


def status_line(state: SourceState, following: bool) -> str:
    """The state of a source in one line: rate, what was lost, calibration, who; or what to do next."""
    if state.hint:
        return state.hint
    drops = ", ".join(f"{reason} {count}" for reason, count in sorted(state.drops.items()))
    calibration = {"none": "not needed"}.get(state.calibration, state.calibration)
    who = f"   from {state.peer}" if state.peer else ""
    doing = "live" if following else "standing by"
    return f"{doing}   {state.rate_hz:5.1f} Hz   gaps {state.gaps}   dropped {drops or 0}   calibration {calibration}{who}"


def _calibrate_on_enter(source: Source) -> None:
    for _ in sys.stdin:
        source.calibrate()


def _show(follower: Follower, server: Server, stop: threading.Event) -> None:
    """Prints the status until told to stop: what is new at once, the figures each second on a terminal and
    each ten elsewhere."""
    terminal = sys.stdout.isatty()
    every, said, said_s = (STATUS_SECONDS if terminal else 10 * STATUS_SECONDS), None, 0.0
    while not stop.wait(0.2):
        check(server)
        now, state = time.monotonic(), follower.source.state
        news = state.hint.partition(":")[0], state.calibration, state.connected, follower.following
        if news != said or now - said_s >= every:
            print(
                f"{status_line(state, follower.following):<110}",
                end="\r" if terminal and not state.hint else "\n",
                flush=True,
            )
            said, said_s = news, now


def run(args: argparse.Namespace) -> int:
    common.take_priority(args)
    logging.basicConfig(level=logging.WARNING, format="dinar live: %(message)s")
    calibration = "none" if args.no_calibration else "t-pose" if args.calibrate else "auto"
    source = open_source(
        args.source, bind=args.bind, calibration=calibration, calibrate_after=args.calibrate_after
    )
    avatar = common.open_avatar(args.avatar)
    filters: list[Filter] = [] if args.smooth is None else [OneEuro(args.smooth)]
    if args.lock_feet:
        lock = FootLock(avatar.rig.joints)
        filters.append(lock)
        print(f"--lock-feet: poses are shown {1000 * lock.latency:.0f} ms late")
    filters += [] if args.predict is None else [Predictor(args.predict / 1000)]
    follower = Follower(
        source,
        avatar.rig.joints,
        avatar.rig.expression_names,
        hold_s=args.hold,
        ease_s=args.ease,
        filters=filters,
        root=args.root,
        mirror=args.mirror,
    )
    form = form_of(args.source)
    stop = threading.Event()
    with source:  # a busy port shows before the work
        if sys.stdin.isatty() and form is not None and form.calibrates:
            print("press Enter to take the performer's pose as the T-pose")
            threading.Thread(target=_calibrate_on_enter, args=(source,), daemon=True).start()
        with serving(args, [avatar], lambda avatar: follower, stop) as server:
            _show(follower, server, stop)
            state, stats = source.state, server.stats()
    print(
        f"\n{state.frames} samples, {state.gaps} gaps, {state.dropped} dropped; served {stats['frames']} frames",
        flush=True,
    )
    return leave(0)
