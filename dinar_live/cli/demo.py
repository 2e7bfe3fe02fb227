"""dinar demo [AVATAR] [--frames N] [--headless] [--out out/demo]"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import socket
import time

import cv2
import numpy as np

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.motion import Motion, demo_motion
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.framing import FollowingCamera, body_extent
from dinar_live.runtime.render.sinks import VideoSink, contact_sheet, write_png
from dinar_live.runtime.stream import Client, Frame

from . import common
from .access import temporary_keys
from .clip import write_clip
from .driving import Figures, Target, closed_loop, paced
from .serve import fps_argument, open_page, wanted_fps
from .server_process import ServerProcess

FPS = 30
MAX_VIDEO_FRAMES = 1800  # a minute
SHEET_COLUMNS, SHEET_ROWS, SHEET_CELL = 6, 4, 224
BACKGROUND = (223, 227, 232)  # RGB
UNMEASURED = 10  # frames before the measurement
SIDES = ("schedule", "transport", "decode")  # stages that are not the server's


def arguments(parser: argparse.ArgumentParser) -> None:
    common.avatar_argument(parser, optional=True)
    parser.add_argument(
        "--frames",
        type=int,
        help="end after so many frames, with the page after as many at 30 a second (default: run until Ctrl-C)",
    )
    parser.add_argument(
        "--headless",
        action="store_true",
        help="no page: measure, write a video and a contact sheet, end (after 300 frames without --frames)",
    )
    parser.add_argument("--out", default="out/demo", help="folder for demo.mp4 and sheet.png")
    parser.add_argument(
        "--page-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address of the page; 0.0.0.0 lets a phone in your network see it, with the key in the printed address",
    )
    parser.add_argument(
        "--page-port", type=int, default=8080, help="port of the page; another one is taken when it is busy"
    )
    parser.add_argument(
        "--no-open", action="store_true", help="only print the page's address, do not open it"
    )
    parser.add_argument(
        "--curve", action="store_true", help="with keys and encryption between server and client"
    )
    fps_argument(parser)
    common.realtime_argument(parser)
    common.renderer_arguments(parser)


def free_port(port: int) -> int:
    """`port`, or 0 (any) when it is in use."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


class Recorder:
    """Keeps the pictures of the free run that the sheet wants."""

    def __init__(self):
        self._cells: dict[int, np.ndarray] = {}
        self.wanted: frozenset[int] = frozenset()  # which frames of the free run go to the sheet

    def free(self, frame: Frame, index: int | None) -> None:
        if index in self.wanted:
            self._cells[index] = frame.rgba

    def write_sheet(self, path: pathlib.Path) -> None:
        """The frames of the free run, in the order of the motion."""
        cells = []
        for _, rgba in sorted(self._cells.items()):
            scale = min(1.0, SHEET_CELL / max(rgba.shape[:2]))
            cells.append(cv2.resize(opaque(rgba), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        write_png(path, contact_sheet(cells, SHEET_COLUMNS))


def opaque(rgba: np.ndarray) -> np.ndarray:
    """Premultiplied u8[H,W,4] over BACKGROUND, u8[H,W,3]."""
    rest = 255 - rgba[..., 3:].astype(np.uint16)
    return rgba[..., :3] + ((rest * np.array(BACKGROUND, np.uint16) + 127) // 255).astype(np.uint8)


def table(figures: Figures) -> str:
    """Latency per stage, p50 and p99 in ms; the stages of a frame sum to its latency."""
    rows = [("stage", "where", "p50 ms", "p99 ms")]
    for stage, values in figures.stages().items():
        p50, p99 = np.percentile(values, (50, 99))
        rows.append((stage, "client" if stage in SIDES else "server", f"{p50:.2f}", f"{p99:.2f}"))
    p50, p99 = np.percentile(figures.latency_ms, (50, 99))
    rows.append(("pose to picture", "", f"{p50:.2f}", f"{p99:.2f}"))
    return "\n".join(f"  {a:<16} {b:<7} {c:>8} {d:>8}" for a, b, c, d in rows)


def shares(frames: int) -> tuple[int, int]:
    """How many of the frames are asked for at a fixed rate, and how many as fast as they come."""
    free = max(1, frames // 3)
    return max(1, frames - free), free


def measure(server: ServerProcess, access: dict, motion: Motion, frames: int, sheet: pathlib.Path) -> None:
    """Two thirds of the frames at 30 per second, for latency; the rest, spread over the whole motion, as fast
    as the server answers, for the frame rate and the sheet."""
    at_pace, free = shares(frames)
    recorder, figures, running = Recorder(), Figures(), Figures()
    times = np.linspace(0, motion.duration, free, endpoint=False).tolist()
    recorder.wanted = frozenset(
        np.linspace(0, free - 1, min(free, SHEET_COLUMNS * SHEET_ROWS)).astype(int).tolist()
    )
    with Client(server.endpoint, window=2, name="dinar demo", **access) as client:
        target = Target(client.capabilities, motion)
        closed_loop(client, target, Figures(), [0.0] * UNMEASURED)
        print(f"{at_pace} frames at {FPS} per second ...", flush=True)
        paced(client, target, figures, fps=FPS, frames=at_pace, on_tick=server.check)
        if not figures.frames:
            raise DinarError(f"{server.endpoint}: the server answered none of {at_pace} requests")
        print(f"{free} frames as fast as they come ...", flush=True)
        closed_loop(client, target, running, times, recorder.free)
    recorder.write_sheet(sheet)
    print(f"\npaced at {FPS} fps:  {figures.line()}\nas fast as it goes: {running.line()}")
    print(f"\nlatency per stage, paced, {figures.frames} frames:\n{table(figures)}\n")
    print(f"{sheet}: {len(recorder.wanted)} pictures", flush=True)


def write_video(path: pathlib.Path, avatar: Avatar, motion: Motion, frames: int, options: dict) -> None:
    """The first `frames` of the motion, every one of them, rendered in this process: how fast the machine is
    changes nothing in the picture. options: keyword arguments of Renderer. Raises DinarError."""
    fitted = motion.for_avatar(avatar.rig.joints, avatar.rig.expression_names)
    follow = FollowingCamera(avatar.rig.joints[0], body_extent(avatar.rig), options["size"])
    background = (BACKGROUND[0] / 255, BACKGROUND[1] / 255, BACKGROUND[2] / 255)
    poses = (fitted.pose_at(i / FPS) for i in range(frames))
    with Renderer(avatar, **options, background=background, background_compile=False) as renderer:
        print(f"rendering {path} ...", flush=True)
        sink = VideoSink(path, options["size"], FPS)
        write_clip(renderer, sink, ((pose, follow.at(pose.transl)) for pose in poses), frames)
    print(f"{path}: {frames} frames, {frames / FPS:.1f} s, {sink.label}", flush=True)


def show(server: ServerProcess, frames: int | None, open_it: bool) -> None:
    """Leaves the server to whoever watches its page, until Ctrl-C or for `frames` at FPS."""
    page = server.page + ("&" if "#" in server.page else "#") + "source=demo"
    print(f"\nwatch it on {page}   (Ctrl-C ends)\n", flush=True)
    if open_it:
        open_page(page)
    end = time.monotonic() + (frames / FPS if frames else float("inf"))
    try:
        while time.monotonic() < end:
            server.check()
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass


def _say(line: str) -> None:
    if not line.startswith("watch it on"):  # `show` says that
        print(f"server: {line}", flush=True)


def run(args: argparse.Namespace) -> int:
    common.take_priority(args)
    if args.frames is not None and not 1 <= args.frames <= 1_000_000:
        raise InputError(f"--frames: got {args.frames}, expected 1..1000000")
    if not 0 <= args.page_port < 65536:
        raise InputError(f"--page-port: got {args.page_port}, expected 0..65535 (0 picks a free one)")
    avatar = common.open_avatar(args.avatar)  # what is wrong with it is told once, not by the server too
    out = pathlib.Path(args.out)
    if args.headless:
        out.mkdir(parents=True, exist_ok=True)
    options = common.renderer_options(args)
    offline = dict(options)
    height, width = options.pop("size")
    # the motion that comes is what the server warms up with
    command = [args.avatar, "--motion", "demo", "--size", f"{width}x{height}", f"--fps={wanted_fps(args):g}"]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    command += (
        ["--no-page"]
        if args.headless
        else ["--page-host", args.page_host, "--page-port", str(free_port(args.page_port))]
    )
    motion, frames = demo_motion(), args.frames or 300
    with (
        temporary_keys(args.curve) as (serve_keys, access),
        ServerProcess(command + serve_keys, _say) as server,
    ):
        if args.headless:
            measure(server, access, motion, frames, out / "sheet.png")
        else:
            show(server, args.frames, not args.no_open)
    if args.headless:
        clip = min(shares(frames)[0], MAX_VIDEO_FRAMES)
        write_video(out / "demo.mp4", avatar, motion, clip, offline)
    return 0
