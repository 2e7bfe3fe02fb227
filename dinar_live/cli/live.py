"""dinar live SOURCE [SOURCE ...] --avatar AVATAR [--avatar ...] [--record TAKE.dmot] [--bind 127.0.0.1]"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import threading
from collections.abc import Sequence

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.process import leave
from dinar_live.runtime.live import Follower, WebXrSource, open_source
from dinar_live.runtime.live.registry import CALIBRATED, FORMS, smoothing
from dinar_live.runtime.live.seen_source import SMOOTH_HZ
from dinar_live.runtime.live.source import Source
from dinar_live.runtime.motion import FootLock
from dinar_live.runtime.motion.filters import Filter, OneEuro, Predictor

from . import common
from .access import server_arguments
from .performers import (
    LiveTake,
    Performer,
    calibrate_on_enter,
    casting,
    check_sources,
    combined,
    show,
    take_paths,
)
from .record import check_path
from .serve import serving, session_arguments, start_log


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help=f"{FORMS}. Several: each moves its own --avatar, or with one avatar the first that performs moves it",
    )
    parser.add_argument(
        "--avatar",
        action="append",
        metavar="A",
        help="avatar bundle (folder or .zip), or 'demo' (default); again for each further SOURCE, in their order. Several with "
        "one SOURCE all do the same",
    )
    parser.add_argument(
        "--record",
        metavar="TAKE.dmot",
        help="record what performs while it drives, as 'dinar record' does; TAKE.1.dmot, TAKE.2.dmot for several",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace TAKE.dmot")
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
    _pose_arguments(parser)
    parser.add_argument(
        "--endpoint", default="tcp://127.0.0.1:5555", help="where clients connect; port 0 picks a free one"
    )
    session_arguments(parser)
    common.page_arguments(parser)
    server_arguments(parser)
    common.realtime_argument(parser)
    common.renderer_arguments(parser)


def _pose_arguments(parser: argparse.ArgumentParser) -> None:
    """What is done to the poses on their way to the avatar."""
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
        help="One-Euro filter against trembling: cut-off of a still pose, lower is smoother, 0 = off (default: off, for cameras "
        f"and videos {SMOOTH_HZ:g}; 1.5 if no HZ)",
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


def _smooth(args: argparse.Namespace, texts: Sequence[str]) -> float | None:
    """Hz of the One-Euro filter for what these sources give: as asked, else as they need."""
    return smoothing(texts) if args.smooth is None else args.smooth or None


def _followers(
    args: argparse.Namespace, source: Source, avatars: Sequence[Avatar], smooth: float | None
) -> tuple[Follower, ...]:
    """One follower of the source for each avatar, with the filters that were asked for."""
    followers = []
    for avatar in avatars:
        filters: list[Filter] = [] if smooth is None else [OneEuro(smooth)]
        if args.lock_feet:
            lock = FootLock(avatar.rig.joints)
            filters.append(lock)
            print(f"--lock-feet: poses are shown {1000 * lock.latency:.0f} ms late")
        filters += [] if args.predict is None else [Predictor(args.predict / 1000)]
        followers.append(
            Follower(
                source,
                avatar.rig.joints,
                avatar.rig.expression_names,
                hold_s=args.hold,
                ease_s=args.ease,
                filters=filters,
                root=args.root,
                mirror=args.mirror,
            )
        )
    return tuple(followers)


def _performers(
    args: argparse.Namespace, sources: Sequence[Source], avatars: Sequence[Avatar]
) -> list[Performer]:
    return [
        Performer(
            " or ".join(texts := [args.source[i] for i in of]),
            source := combined([sources[i] for i in of]),
            _followers(args, source, [avatars[i] for i in moved], smooth := _smooth(args, texts)),
            smooth,
        )
        for of, moved in casting(len(sources), len(avatars))
    ]


def run(args: argparse.Namespace) -> int:
    common.take_priority(args)
    start_log(args, "dinar live")
    names = args.avatar or ["demo"]
    check_sources(args.source)
    cast = casting(len(args.source), len(names))
    takes = take_paths(pathlib.Path(args.record), len(cast)) if args.record else []
    for path in takes:
        check_path(path, "--record", args.overwrite)
    calibration = "none" if args.no_calibration else "t-pose" if args.calibrate else "auto"
    if "webxr" in args.source and args.no_page:
        raise InputError("--no-page: the source webxr comes through the page; leave --no-page out")
    sources = [
        open_source(text, bind=args.bind, calibration=calibration, calibrate_after=args.calibrate_after)
        for text in args.source
    ]
    avatars = [common.open_avatar(name) for name in names]
    performers = _performers(args, sources, avatars)
    in_order = iter(
        [f for p in performers for f in p.followers]
    )  # the server asks for them in the avatars' order
    stop, recordings = threading.Event(), []
    with contextlib.ExitStack() as stack:
        for performer in performers:  # a busy port shows before the work
            stack.enter_context(performer.source)
        calibrate_on_enter(list(zip(args.source, sources, strict=True)))
        headset = next((s for s in sources if isinstance(s, WebXrSource)), None)
        with serving(args, avatars, lambda _: next(in_order), stop, headset=headset) as server:
            for performer, path in zip(performers, takes, strict=False):
                recordings.append(
                    stack.enter_context(
                        contextlib.closing(
                            LiveTake(
                                performer.source,
                                path,
                                smooth=performer.smooth,
                                overwrite=args.overwrite,
                                name=performer.name,
                            )
                        )
                    )
                )
                print(f"recording {performer.name} to {path}, until the end", flush=True)
            show(performers, server, stop)
            stats = server.stats()
        for recording in recordings:
            recording.close()
        states = [source.state for source in sources]
    print()
    for text, state in zip(args.source, states, strict=True):
        whose = f"{text}: " if len(states) > 1 else ""
        print(f"{whose}{state.frames} samples, {state.gaps} gaps, {state.dropped} dropped")
    for recording in recordings:
        print(recording.summary())
    print(f"served {stats['frames']} frames", flush=True)
    return leave(int(any(recording.failed for recording in recordings)))
