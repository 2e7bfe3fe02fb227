"""dinar render AVATAR MOTION -o out.mp4"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.framing import FollowingCamera, body_extent
from dinar_live.runtime.render.options import RenderOptions
from dinar_live.runtime.render.sinks import CODECS

from . import common
from .clip import Output, write_clip


def arguments(parser: argparse.ArgumentParser) -> None:
    common.avatar_argument(parser)
    parser.add_argument(
        "motion", metavar="MOTION", help=".npz (SMPL-X, AMASS, BEAT2), .bvh or .dmot file, or 'demo'"
    )
    parser.add_argument(
        "-o", "--out", required=True, help=f"{', '.join(CODECS)} file, or a folder for PNGs with alpha"
    )
    parser.add_argument("--fps", type=float, default=30.0, help="of the result")
    parser.add_argument("--seconds", type=float, help="stop after this long (default: the whole motion)")
    parser.add_argument(
        "--azimuth",
        type=common.degrees,
        default=0.0,
        help="camera direction in degrees, 0 = from the front, 90 = from its left",
    )
    parser.add_argument(
        "--elevation",
        type=common.degrees,
        default=math.radians(5),
        help="camera height angle in degrees (default: 5)",
    )
    parser.add_argument("--turn", type=float, default=0.0, help="full turns of the camera over the clip")
    parser.add_argument(
        "--background",
        type=common.colour,
        default="#dfe3e8",
        help="#rrggbb, or transparent (.webm and PNGs only)",
    )
    common.file_arguments(parser)
    common.motion_filters(parser)
    common.renderer_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if not 0.1 <= args.fps <= 1000 or (args.seconds is not None and not args.seconds > 0):
        raise InputError(
            f"--fps {args.fps:g} --seconds {args.seconds}: expected 0.1..1000 frames per second and a positive duration"
        )
    out = Output(args.out, transparent=args.background is None)
    avatar = common.open_avatar(args.avatar)
    motion = common.filtered(common.open_motion(args.motion, args), args, avatar.rig.joints)
    fitted = motion.for_avatar(avatar.rig.joints, avatar.rig.expression_names)
    for note in fitted.notes:
        print(f"note: {note}")
    duration = motion.duration if args.seconds is None else min(args.seconds, motion.duration)
    frames = max(1, round(duration * args.fps))
    follow = FollowingCamera(avatar.rig.joints[0], body_extent(avatar.rig), args.size)
    options = RenderOptions(
        **common.renderer_options(args),
        background=args.background,
        straight=out.straight,
        background_compile=False,
        progress=common.BuildProgress(),
    )

    def moments() -> Iterator[tuple[Pose, Camera]]:
        for i in range(frames):
            pose = fitted.pose_at(i / args.fps)
            azimuth = args.azimuth + 2 * math.pi * args.turn * i / frames
            yield pose, follow.at(pose.transl, azimuth, args.elevation)

    with Renderer(avatar, options=options) as renderer:
        print(renderer.describe())
        sink = out.open(args.size, args.fps)
        write_clip(renderer, sink, moments(), frames)
    print(f"{args.out}: {frames} frames, {frames / args.fps:.1f} s, {sink.label}")
    return 0
