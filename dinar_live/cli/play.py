"""dinar play MOTION --connect tcp://127.0.0.1:5555"""

from __future__ import annotations

import argparse
import sys
import time

from dinar_live.runtime.core.errors import InputError, StreamTimeout
from dinar_live.runtime.stream import Client

from . import common
from .access import client_access, client_arguments
from .driving import Figures, Target, paced

STATUS_SECONDS = 1.0
GONE_SECONDS = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "motion", metavar="MOTION", help=".npz (SMPL-X, AMASS, BEAT2), .bvh or .dmot file, or 'demo'"
    )
    parser.add_argument("--connect", default="tcp://127.0.0.1:5555", metavar="ENDPOINT", help="the server")
    client_arguments(parser)
    parser.add_argument("--fps", type=float, default=30.0, help="poses per second")
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--loop", action="store_true", default=True, help="again and again (the default)")
    times.add_argument("--once", action="store_true", help="end with the motion")
    parser.add_argument(
        "--size", type=common.size, metavar="WxH", help="frame size in pixels (default: the server's)"
    )
    common.file_arguments(parser)
    common.motion_filters(parser)
    common.realtime_argument(parser)


def connected(endpoint: str, access: dict) -> Client:
    """A client of the server at `endpoint`, however long it takes to come."""
    told = False
    while True:
        try:
            return Client(endpoint, timeout=2.0, name="dinar play", **access)
        except StreamTimeout:
            if not told:
                hint = (
                    "is --server-key the one that it prints?"
                    if access
                    else "start one with 'dinar serve AVATAR'."
                )
                print(f"{endpoint} does not answer; trying on ({hint} Ctrl-C ends this)", flush=True)
                told = True


class _Status:
    """Prints a line a second."""

    def __init__(self, client: Client, total: Figures):
        self._client = client
        self._total = total
        self._part = Figures()
        self._next = time.monotonic() + STATUS_SECONDS
        self._counted = (0, 0)

    def frame(self, frame, tick) -> None:
        self._part.count_frame(frame)

    def tick(self, tick: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + STATUS_SECONDS
        total = self._total
        if now - total.last_frame > GONE_SECONDS:
            total.forget_pending()
            self._show(f"{self._client.endpoint} does not answer; trying on")
        elif self._part.frames:
            self._part.stale, self._part.superseded = (
                total.stale - self._counted[0],
                total.superseded - self._counted[1],
            )
            self._show(self._part.line())
        self._counted = (total.stale, total.superseded)
        self._part = Figures()

    def _show(self, text: str) -> None:
        end = "\r" if sys.stdout.isatty() else "\n"
        print(f"{text:<96}", end=end, flush=True)


def run(args: argparse.Namespace) -> int:
    common.take_priority(args)
    if not 0.1 <= args.fps <= 1000:
        raise InputError(f"--fps: got {args.fps:g}, expected 0.1..1000 poses per second")
    motion = common.filtered(common.open_motion(args.motion, args), args)
    access, figures = client_access(args), Figures()
    try:
        with connected(args.connect, access) as client:
            caps = client.capabilities
            target = Target(caps, motion, args.size)
            for note in target.fitted.notes:
                print(f"note: {note}")
            height, width = target.size
            print(
                f"driving {caps.get('name', 'an avatar')} on {args.connect}: {width}x{height}, {args.fps:g} poses per second",
                flush=True,
            )
            status = _Status(client, figures)
            figures.began = time.monotonic()
            frames = max(1, round(motion.duration * args.fps)) if args.once else None
            paced(
                client,
                target,
                figures,
                fps=args.fps,
                frames=frames,
                loop=not args.once,
                on_frame=status.frame,
                on_tick=status.tick,
            )
    except KeyboardInterrupt:
        pass
    print(f"\n{figures.sent} poses sent, {figures.frames} frames: {figures.line()}", flush=True)
    return 0
