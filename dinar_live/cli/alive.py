"""dinar alive PHOTO MOTION [--mask M] [--smplx FIT] -o out.mp4"""

from __future__ import annotations

import argparse
import contextlib
import pathlib

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.sinks import CODECS, VideoSink

from . import common
from .progress import Progress

MAX_SECONDS = 3600.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", metavar="PHOTO", help="a photo of a whole person")
    parser.add_argument("motion", metavar="MOTION", help="a motion file as for dinar render, or 'demo'")
    parser.add_argument("--mask", help="the person in white (default: found)")
    parser.add_argument("--smplx", help="SMPL-X fit: .npz with its camera (default: made)")
    parser.add_argument("--height", type=float, metavar="METRES", help="of the person, for the fit")
    parser.add_argument("--person", type=int, help="which person in the photo, from the left, from 1")
    parser.add_argument("-o", "--out", required=True, help=f"{', '.join(CODECS)} file")
    parser.add_argument(
        "--avatar", metavar="BUNDLE", help="an avatar of this person (default: one is made of the photo)"
    )
    parser.add_argument(
        "--body", help="the SMPL-X model .npz that the fit belongs to (default: the open body)"
    )
    parser.add_argument("--lama", metavar="FILE.onnx", help="your LaMa, to paint what is behind the person (default: OpenCV)")  # fmt: skip
    parser.add_argument("--fps", type=float, default=30.0, help="of the result")
    parser.add_argument("--seconds", type=float, help="stop after this long (default: the whole motion)")
    parser.add_argument("--longest", type=int, default=1080, metavar="PIXELS", help="of the video's longer side")  # fmt: skip
    parser.add_argument("--ease", type=float, default=0.8, metavar="SECONDS", help="into the motion; 0 = at once")  # fmt: skip
    parser.add_argument("--in-place", action="store_true", help="take the motion's travel out")
    parser.add_argument("--no-shadow", action="store_true", help="no contact shadow")
    common.file_arguments(parser)
    common.motion_filters(parser)
    parser.add_argument("--renderer", default="auto", help="which of the avatar's renderers")
    common.engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from dinar_live.export.alive.film import Film, scaled
    from dinar_live.export.inputs import read_view
    from dinar_live.export.photo_inputs import complete

    out = pathlib.Path(args.out)
    _check(args, out)
    options = common.engine_options(args)
    body = Body.load(args.body) if args.body else Body.open()
    files = complete(
        [args.photo],
        [args.mask] if args.mask else [],
        [args.smplx] if args.smplx else [],
        out.with_name(f"{out.stem}_photos"),
        body=body,
        height=args.height,
        person=args.person,
    )
    view = read_view(files.photos[0], files.masks[0], files.fits[0])
    avatar = common.open_avatar(args.avatar) if args.avatar else _made(args, view, body)
    motion = common.filtered(common.open_motion(args.motion, args), args, avatar.rig.joints)
    film = Film(
        avatar,
        scaled(view, args.longest),
        motion,
        travel=not args.in_place,
        ease=args.ease,
        shadow=not args.no_shadow,
        lama=args.lama,
    )
    for note in film.placed.motion.notes:
        print(f"note: {note}")
    duration = motion.duration if args.seconds is None else min(args.seconds, motion.duration)
    count = max(1, round(min(duration, MAX_SECONDS) * args.fps))
    sink, complete = VideoSink(out, film.size, args.fps), False
    for note in sink.notes:
        print(f"note: {note}")
    try:
        frames = film.frames(count, args.fps, renderer=args.renderer, **options)
        with contextlib.closing(frames):
            for frame in Progress(frames, total=count, unit="frame"):
                sink.write(frame)
        complete = True
    finally:
        sink.close(complete)
    print(f"{out}: {count} frames, {film.size[1]}x{film.size[0]}, {count / args.fps:.1f} s, {sink.label}")
    return 0


def _check(args: argparse.Namespace, out: pathlib.Path) -> None:
    """InputError for options that cannot be."""
    if out.suffix.lower() not in CODECS:
        raise InputError(f"--out {out}: got {out.suffix or 'no suffix'}, expected {', '.join(CODECS)}")
    for name, low, high in (
        ("fps", 0.1, 1000.0),
        ("seconds", 1e-3, MAX_SECONDS),
        ("ease", 0.0, 60.0),
        ("longest", 64, 4096),
    ):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"--{name}: got {value:g}, expected {low:g}..{high:g}")
    if args.avatar and args.body:
        raise InputError("--body: means nothing beside --avatar, which has a body of its own")


def _made(args: argparse.Namespace, view, body: Body):
    """An avatar of the photo alone."""
    from dinar_live.export.from_photos import avatar_from_photos

    print("making an avatar of the photo ...", flush=True)
    return avatar_from_photos([view], body, name=pathlib.Path(args.photo).stem, threads=args.threads)[0]
