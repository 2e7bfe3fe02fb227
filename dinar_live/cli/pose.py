"""dinar pose PICTURE -o FIT.npz, dinar pose VIDEO -o MOTION.npz|.bvh|.dmot"""

from __future__ import annotations

import argparse
import pathlib
import sys

from tqdm import tqdm

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.motion.convert import WRITTEN, save_motion
from dinar_live.runtime.vision.body_network import SIZES
from dinar_live.runtime.vision.get_models import get_with_pip
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.models import ModelFolder
from dinar_live.runtime.vision.video import looks_like_video
from dinar_live.runtime.vision.video_motion import SMOOTH_HZ


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        metavar="PICTURE|VIDEO",
        help="a photo (JPEG, PNG, WebP, BMP) or a video (MP4, MOV, WebM, MKV, AVI) of a whole person",
    )
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        help="of a picture: FIT.npz, with its mask and an overlay beside it; of a video: a motion, .npz, .bvh or .dmot",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are already there")
    parser.add_argument(
        "--person", type=int, metavar="N", help="which one of several people, counted from the left"
    )
    parser.add_argument(
        "--height", type=float, metavar="METRES", help="of the person, e.g. 1.74; a picture cannot tell it"
    )
    parser.add_argument(
        "--model",
        choices=SIZES,
        default="full",
        help="of the body's points: lite is faster and heavy more exact; see dinar models",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        metavar="HZ",
        help=f"of a video: One-Euro filter, cut-off of a still pose; 0 = none (default: {SMOOTH_HZ:g})",
    )


def run(args: argparse.Namespace) -> int:
    source, out = pathlib.Path(args.input), pathlib.Path(args.out)
    if not source.is_file():
        raise InputError(f"{source}: no such picture or video")
    video = looks_like_video(source)
    expected = WRITTEN if video else (".npz",)
    if out.suffix.lower() not in expected:
        kind = "a video" if video else "a picture"
        raise InputError(f"{out}: got {out.suffix!r}, expected {', '.join(expected)} for {kind}")
    if args.smooth is not None and (not video or not 0 <= args.smooth <= 100):
        raise InputError(
            f"--smooth: got {args.smooth:g}, expected 0 to 100 Hz" if video else "--smooth: is for videos"
        )
    written = [out] if video else [out, _mask_path(out), _overlay_path(out)]
    if there := [str(p) for p in written if p.exists() and not args.overwrite]:
        raise InputError(f"{', '.join(there)}: already there; --overwrite replaces it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.absolute().parent}")
    (_video if video else _picture)(args, source, out)
    return 0


def _landmarker(args: argparse.Namespace) -> Landmarker:
    def getter(folder: ModelFolder) -> None:
        get_with_pip(folder, lambda text: print(text, file=sys.stderr, flush=True))

    return Landmarker(ModelFolder(getter=getter), body=args.model, threads=0)


def _mask_path(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f"{out.stem}_mask.png")


def _overlay_path(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f"{out.stem}_overlay.jpg")


def _picture(args: argparse.Namespace, source: pathlib.Path, out: pathlib.Path) -> None:
    from dinar_live.runtime.vision.fit_files import write_fit, write_picture
    from dinar_live.runtime.vision.person import fit_person, look_at
    from dinar_live.runtime.vision.pictures import read_picture
    from dinar_live.runtime.vision.solver.photo_fit import FitOptions

    options = FitOptions(height=args.height)
    picture = read_picture(source)
    sights = look_at([picture], _landmarker(args), person=args.person)
    (found,) = fit_person([picture], sights, options=options)
    write_picture(_mask_path(out), found.mask)
    write_picture(_overlay_path(out), found.overlay())
    write_fit(out, found.fit)
    if picture.size != picture.stored:
        height, width = picture.size
        print(f"{source}: read at {width}x{height} pixels; the mask has this size")
    print(f"{source}: {sights[0].report}")
    for line in (str(found.score), *found.score.warnings):
        print(f"{source}: {line}")
    print(f"{out}: pose, shape and camera; {_mask_path(out)}, {_overlay_path(out)}: look at it")


def _video(args: argparse.Namespace, source: pathlib.Path, out: pathlib.Path) -> None:
    from dinar_live.runtime.vision.follow import PersonFollower
    from dinar_live.runtime.vision.solver.photo_fit import FitOptions
    from dinar_live.runtime.vision.video import VideoFile
    from dinar_live.runtime.vision.video_motion import motion_of, watch

    FitOptions(height=args.height)  # said before the work is done
    with VideoFile(source) as video:
        follower = PersonFollower(_landmarker(args), person=args.person)
        with tqdm(total=video.expected or None, desc="looking", unit="frame", disable=None) as bar:

            def count(done: int, _: int) -> None:
                bar.update(done - bar.n)

            watched = watch(video, follower, count)
    hz = SMOOTH_HZ if args.smooth is None else args.smooth or None
    motion = motion_of(watched, height=args.height, smooth_hz=hz)
    save_motion(motion, out)
    for note in motion.notes:
        print(f"note: {note}")
    if out.suffix.lower() == ".bvh" and motion.expression.any():
        print("note: expressions have no place in BVH and are left out")
    print(
        f"{out}: {motion.frames} frames, {motion.duration:.2f} s at {motion.fps:g} fps; "
        f"watch it with 'dinar render demo --motion {out} -o out.mp4'"
    )
