"""dinar cache [--clear] [kernels | engines | models ...]"""

from __future__ import annotations

import argparse
import pathlib
import shutil

from dinar_live.engines.cache import default_folder
from dinar_live.kernels.cuda.cache import Cache
from dinar_live.runtime.vision import models

WHAT = {
    "kernels": "CUDA kernels, compiled on this machine",
    "engines": "compiled engines, and what was measured of them",
    "models": "networks that find people in pictures, got by dinar models",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "parts",
        metavar="PART",
        nargs="*",
        type=part,
        help=f"{', '.join(WHAT)} (default: all of them)",
    )
    parser.add_argument(
        "--clear", action="store_true", help="remove them; they are made or got again when needed"
    )


def part(text: str) -> str:
    """One of WHAT."""
    if text not in WHAT:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {', '.join(WHAT)}")
    return text


def folders() -> dict[str, pathlib.Path]:
    """Part -> its folder, which need not be there. Parts that this user has no place for are left out."""
    places = {
        "kernels": Cache.of_user().folder,
        "engines": default_folder(),
        "models": models.default_folder(),
    }
    return {part: folder for part, folder in places.items() if folder is not None}


def contents(folder: pathlib.Path) -> tuple[int, int]:
    """How many files lie in a folder and below, and their bytes; links are not followed."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return len(files), sum(path.stat().st_size for path in files)


def run(args: argparse.Namespace) -> int:
    total = 0
    for part, folder in folders().items():
        if args.parts and part not in args.parts:
            continue
        count, size = contents(folder)
        total += size
        print(f"{part:<8} {size / 1e6:>8.1f} MB  {count:>4} files  {folder}  ({WHAT[part]})")
        if args.clear and folder.is_dir():
            if folder.is_symlink():
                print(f"         {folder} is a link: not cleared")
                total -= size
                continue
            shutil.rmtree(folder)
    print(f"{'cleared' if args.clear else 'in all'} {total / 1e6:.1f} MB")
    return 0
