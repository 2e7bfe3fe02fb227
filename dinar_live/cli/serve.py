"""dinar serve AVATAR [AVATAR ...] [--endpoint tcp://127.0.0.1:5555] [--viewer | --no-page] [--page-port 8080]
[--motion FILE] [--curve]"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.core.pose_source import PoseSource
from dinar_live.runtime.core.process import leave, return_large_memory, settle_memory
from dinar_live.runtime.live.webxr import WebXrSource
from dinar_live.runtime.motion import AvatarMotion, Motion, demo_motion, idle_motion, lock_feet
from dinar_live.runtime.render.memory import DEFAULT_MEMORY, MemoryBudget
from dinar_live.runtime.render.options import RenderOptions
from dinar_live.runtime.service import AvatarGroup, AvatarService, avatar_group
from dinar_live.runtime.service.demand import Demand
from dinar_live.runtime.service.quality import DEFAULT_FPS, MAX_FPS, check_fps
from dinar_live.runtime.service.renderer_pool import builder as renderer_builder
from dinar_live.runtime.stream import Limits, Server
from dinar_live.runtime.viewer import Gateway

from . import common, config_file
from .access import server_arguments, server_keys

if TYPE_CHECKING:
    from dinar_live.metrics import StatusPage


LOG_LEVELS = ("debug", "info", "warning", "error")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "avatars",
        metavar="AVATAR",
        nargs="+",
        help="avatar bundle (folder or .zip), or 'demo'; clients choose among several by name, the first is the default",
    )
    parser.add_argument(
        "--endpoint", default="tcp://127.0.0.1:5555", help="where clients connect; port 0 picks a free one"
    )
    session_arguments(parser)
    common.page_arguments(parser)
    parser.add_argument(
        "--motion",
        action="append",
        metavar="FILE",
        help="what moves while nobody sends poses: a motion file, or 'demo' (default: a standing person); given several "
        "times, the first one, and the page offers them all",
    )
    common.lock_argument(parser, ", in the files of --motion")
    common.file_arguments(parser)
    server_arguments(parser)
    config_file.argument(parser)
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end when standard input does, for programs that start a server",
    )
    common.realtime_argument(parser)
    common.renderer_arguments(parser)


def session_arguments(parser: argparse.ArgumentParser) -> None:
    """--spectators --limit --memory --fps --metrics --log-level."""
    fps_argument(parser)
    parser.add_argument(
        "--memory",
        type=mebibytes,
        default=DEFAULT_MEMORY >> 20,
        metavar="MIB",
        help="on a CPU, how much the renderers of all sizes may take together, about, in MiB; the default size is always there",
    )
    parser.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="figures for Prometheus on /metrics and the server's health on /health, over HTTP without a password; on this "
        "machine only unless HOST says otherwise (docs/running.md)",
    )
    parser.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default="warning",
        help="how much is said on standard error: debug tells of every message that is refused, info of clients that come and go",
    )
    parser.add_argument(
        "--spectators",
        metavar="ENDPOINT",
        help="a second endpoint, where any number of spectators sees what the leading client sees (ZeroMQ PUB)",
    )
    parser.add_argument(
        "--limit",
        type=limit,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what clients may cost, may be given several times: "
        + ", ".join(f"{name}={value:g}" for name, value in asdict(Limits()).items()),
    )


def fps_argument(parser: argparse.ArgumentParser) -> None:
    """--fps."""
    parser.add_argument(
        "--fps",
        type=frames_per_second,
        metavar="N",
        help="frames a second to hold for every client: the avatar's renderers are measured, and the best one that is fast enough "
        "is used, if need be for fewer pixels; 0 = off, always the same one (default: 30, or 0 with --renderer)",
    )


def frames_per_second(text: str) -> float:
    """A rate to hold, or 0."""
    try:
        return check_fps(float(text)) if float(text) else 0.0
    except (ValueError, InputError):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected 1 to {MAX_FPS:g} frames a second, or 0 for off"
        ) from None


def wanted_fps(args: argparse.Namespace) -> float:
    """The rate to hold, 0 = off: who names a renderer wants that one, unless a rate is given too."""
    if args.fps is None:
        return DEFAULT_FPS if args.renderer == "auto" else 0.0
    return args.fps


def mebibytes(text: str) -> int:
    """A positive whole number of MiB."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1 << 24):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of MiB, such as 1024")
    return int(text)


def limit(text: str) -> tuple[str, float]:
    """'NAME=VALUE' as one of the Limits."""
    name, _, value = text.partition("=")
    kind = {"int": int, "float": float}.get(Limits.__annotations__.get(name, ""))
    try:
        if kind is None:
            raise ValueError(name)
        return name, kind(value)
    except ValueError:
        known = ", ".join(Limits.__annotations__)
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected NAME=NUMBER with a name of {known}"
        ) from None


def start_log(args: argparse.Namespace, prefix: str) -> None:
    """Our own messages to standard error, from --log-level on: with time and level where more than warnings are
    wanted, without for people in front of a terminal. Other packages' from warnings on."""
    more = args.log_level in ("debug", "info")
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s" if more else f"{prefix}: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)
    logging.getLogger("dinar_live").setLevel(args.log_level.upper())


def _status_page(args: argparse.Namespace) -> StatusPage | None:
    """Listening already, so that whoever asks is told that the server starts."""
    if args.metrics is None:
        return None
    common.need("--metrics", "metrics", "prometheus_client")
    from dinar_live.metrics import StatusPage

    return StatusPage(args.metrics)


def reachable(endpoint: str) -> str:
    """An address of this machine for an endpoint that may stand for all of them."""
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def check(server: Server) -> None:
    """Raises DinarError when the server has failed, for then nothing but its end tells whoever started it."""
    if server.failed:
        raise DinarError(
            "the server has failed; what it printed above says why. Start it again, and please report it"
        )


def _wait_for_end_of_input(stop: threading.Event) -> None:
    # Not sys.stdin: a daemon thread that holds its lock makes the interpreter abort at its end.
    while os.read(0, 4096):
        pass
    stop.set()


def open_page(url: str) -> None:
    """Opens the page in a browser, where there is a screen: elsewhere a text browser might take over the
    terminal."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


def _gateway(args: argparse.Namespace, headset: WebXrSource | None) -> Gateway:
    """The page, not started."""
    gateway = Gateway(host=args.page_host, port=args.page_port, key=args.page_key, origins=args.page_origin)
    if headset is not None:
        gateway.take(headset.message_type, headset.feed)
    return gateway


def _group(
    args: argparse.Namespace,
    avatars: Sequence[Avatar],
    source_of: Callable[[Avatar], PoseSource],
    clips: Sequence[Motion],
    builder: ThreadPoolExecutor,
) -> AvatarGroup:
    """The avatars behind the server, warmed up and measured; says what was picked, and why. See `serving`."""
    memory = MemoryBudget(args.memory << 20)
    options = RenderOptions(**common.renderer_options(args), progress=common.BuildProgress(), memory=memory)
    demand = Demand(fps) if (fps := wanted_fps(args)) else None
    with contextlib.ExitStack() as made:
        services = [
            made.enter_context(
                AvatarService(
                    avatar,
                    source=source_of(avatar),
                    clips=clips,
                    builder=builder,
                    options=options,
                    demand=demand,
                )
            )
            for avatar in avatars
        ]
        group = AvatarGroup(services)
        for name, service in group.services.items():
            print(f"avatar {name}: {service.describe()}", flush=True)
        group.warm_up()
        for name, service in group.services.items():
            if service.quality is not None:
                print(f"quality of {name}: {service.quality['why']}", flush=True)
        made.pop_all()
        return group


@contextlib.contextmanager
def serving(
    args: argparse.Namespace,
    avatars: Sequence[Avatar],
    source_of: Callable[[Avatar], PoseSource],
    stop: threading.Event,
    clips: Sequence[Motion] = (),
    headset: WebXrSource | None = None,
) -> Iterator[Server]:
    """A server of `avatars` and its page, warmed up and announced by the ready line, for as long as the block
    lasts; ended in good order.

    args: --endpoint, --spectators, --limit, --fps, --curve, --keys, --insecure, those of the page and of the
    renderer. source_of(avatar): what moves while nobody sends poses. clips: Motions to
    choose on the page. headset: what takes the body that pages send. From the ready line on, SIGINT and SIGTERM set `stop`.
    """
    keys = server_keys(args)
    return_large_memory()  # windows of many sizes come and go
    with contextlib.ExitStack() as stack:
        # a busy port shows before the work
        if (status := _status_page(args)) is not None:
            stack.enter_context(status)
        gateway = None if args.no_page else stack.enter_context(_gateway(args, headset))
        stack.callback((builder := renderer_builder()).shutdown, wait=False, cancel_futures=True)
        group = stack.enter_context(_group(args, avatars, source_of, clips, builder))
        server = stack.enter_context(
            Server(
                group.render,
                {"takes": ["xr_body"]} if headset is not None else {},
                args.endpoint,
                avatars=group.capabilities(),
                ready=group.ready,
                limits=Limits(**dict(args.limit)),
                keys=keys,
                insecure=args.insecure,
                spectators=args.spectators,
                overview=group.first.overview(),
            )
        )
        group.tell(server.update)
        server.use_spare_time(group)
        if args.log_level != "debug":
            logging.getLogger(avatar_group.__name__).setLevel(logging.INFO)  # another choice is told
        if status is not None:
            status.attach(server)
            print(f"figures on {status.url}")
        if gateway is not None:
            gateway.attach(server.connect_here)
            stack.callback(gateway.close)  # before the server, which the page is a client of
        how = f" --server-key {keys.folder / 'server.pub'} --key NAME.key" if keys else ""
        print(
            f"clients connect to {server.endpoint}, for example: dinar play demo --connect {reachable(server.endpoint)}{how}"
        )
        if server.spectators is not None:
            print(f"spectators connect to {server.spectators}")
        if keys is not None:
            print(
                f"keys in {keys.folder}, for {len(keys.clients())} clients; the server's public key is {keys.pair.public}"
            )
        if gateway is not None:
            print(f"watch it on {gateway.url}")
            if not gateway.local:
                print(
                    "note: the page and its key cross the network unencrypted; put a proxy with TLS in front where you do not trust it"
                )
            if args.viewer:
                open_page(gateway.url)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        settle_memory()
        print(f"ready {server.endpoint} {gateway.url if gateway else '-'}", flush=True)
        yield server


def run(args: argparse.Namespace) -> int:
    common.take_priority(args)
    start_log(args, "dinar serve")
    stop = threading.Event()
    if args.until_stdin_closes:
        threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    avatars = [common.open_avatar(text) for text in args.avatars]
    if not args.motion:
        common.file_options(args, "a server without --motion", ())
    motions = [common.open_motion(text, args) for text in args.motion or ()] or [idle_motion()]
    if args.lock_feet:
        motions = [lock_feet(m, rig_joints=avatars[0].rig.joints) for m in motions]
    offered = {m.name: m for m in [*motions, demo_motion(), idle_motion()]}

    def source_of(avatar: Avatar) -> AvatarMotion:
        source = motions[0].for_avatar(avatar.rig.joints, avatar.rig.expression_names)
        for note in source.notes:
            print(f"note: {note}")
        return source

    with serving(args, avatars, source_of, stop, list(offered.values())) as server:
        while not stop.wait(0.5):  # with a timeout, or Windows would not hear Ctrl-C
            check(server)
        stats = server.stats()
    print(
        f"served {stats['frames']} frames, {stats['superseded']} superseded, {stats['errors']} errors",
        flush=True,
    )
    return leave(0)
