"""dinar capture VIDEO|PICTURES --out CAPTURE: a film of a person who turns round, made ready for `dinar fit`"""

from __future__ import annotations

import argparse
import pathlib
import sys

from dinar_live.runtime.core.errors import InputError

from . import common


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="VIDEO|PICTURES",
        help="a video of a person who turns round once, or a folder of pictures, or pictures in order",
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a capture that is already there")
    parser.add_argument("--frames", type=int, default=100, help="to take, 40 to 120")
    parser.add_argument("--size", type=int, default=640, help="pixels of the pictures' longer side, at most")
    parser.add_argument("--height", type=float, metavar="METRES", help="of the person, barefoot")
    parser.add_argument(
        "--focal",
        type=float,
        metavar="PIXELS",
        help="the camera's focal length (default: found from the film)",
    )
    parser.add_argument(
        "--person", type=int, metavar="N", help="which one, counted from the left (default: the largest)"
    )
    parser.add_argument("--sheet", metavar="FILE.png", help="the contact sheet (default: OUT_sheet.png)")
    parser.add_argument("--threads", type=int, default=0, help="0 = all cores")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dinar_live.export.filming.footage import Footage
    from dinar_live.export.filming.make import Options, understand, write_capture
    from dinar_live.export.filming.sheet import film_sheet
    from dinar_live.runtime.render.sinks import write_png
    from dinar_live.runtime.vision.get_models import get_with_pip
    from dinar_live.runtime.vision.landmarker import Landmarker
    from dinar_live.runtime.vision.models import ModelFolder

    out = pathlib.Path(args.out)
    if out.exists() and not (out / "capture.npz").is_file():
        raise InputError(f"{out}: exists and is no capture, not overwriting it; choose another --out")
    if out.exists() and not args.overwrite:
        raise InputError(f"{out}: exists; choose another --out, or give --overwrite")
    common.check_threads(args.threads)
    sheet = pathlib.Path(args.sheet or out.with_name(f"{out.name}_sheet.png"))
    options = Options(args.frames, args.size, args.height, args.focal, args.person, args.threads)
    footage = Footage.open(args.sources)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def progress(text, items, total):
        if items is not None:
            return tqdm(items, desc=text, total=total, unit="frame", leave=False, disable=None)
        bar = tqdm(desc=text, unit="frame", leave=False, disable=None)

        def count(n: int) -> None:
            bar.update(n - bar.n)

        return count

    landmarker = Landmarker(ModelFolder(getter=lambda f: get_with_pip(f, say)), threads=args.threads)
    film = understand(footage, landmarker, options, say, progress)
    write_png(sheet, film_sheet(film))
    write_capture(film, out)
    for warning in film.warnings:
        say(f"note: {warning}")
    for frame in film.frames:
        if frame.why:
            say(f"dropped, {frame.look.time:.1f} s: {frame.why}")
    scores = sorted(f.score.value for f in film.kept)
    print(
        f"{out}: {len(scores)} frames, score {scores[len(scores) // 2]:.2f} (worst {scores[0]:.2f}); look at {sheet}"
    )
    print(f"next: dinar fit {out} --out me")
    return 0
