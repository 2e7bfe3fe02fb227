"""dinar evaluate AVATAR CAPTURE [--split validation] [--json FILE] [--sheet FILE.png]

dinar evaluate --table PEOPLE ...: avatars made of photos by several methods (evaluate_table.py)"""

from __future__ import annotations

import argparse
import pathlib
import sys

from dinar_live.runtime.core.errors import InputError

from . import common, evaluate_table
from .inspect import printable
from .progress import Progress

MAX_FLICKER = 10_000
PERCEPTUAL = ("lpips", "dists")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "avatar", metavar="AVATAR", nargs="?", help="avatar bundle (folder or .zip), or 'demo'"
    )
    parser.add_argument("capture", metavar="CAPTURE", nargs="?", help="folder with capture.npz and images/")
    parser.add_argument(
        "--split",
        choices=("validation", "training", "all"),
        default="validation",
        help="which frames of the capture",
    )
    parser.add_argument("--renderer", nargs="+", default=["auto"], metavar="NAME", help="the avatar's renderers to evaluate, or 'all'"
                        " (default: its first)")  # fmt: skip
    parser.add_argument(
        "--align",
        nargs="?",
        const="both",
        choices=("outlines", "both"),
        help="for captures whose poses are estimates: first move each frame's pose and translation so that the avatar's outline, or "
        "outline and colours (both), lie on the picture (docs/evaluate.md#alignment)",
    )
    parser.add_argument(
        "--poses",
        metavar="FILE.npz",
        help="poses to start from instead of the capture's: AVATAR_poses.npz, as `dinar fit` writes it",
    )
    parser.add_argument("--json", metavar="FILE", help="also write every frame's scores here")
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="draw the worst frames here: render, truth, difference"
    )
    parser.add_argument("--flicker", type=int, default=60, metavar="FRAMES", help="how many frames of the motion to measure flicker on, "
                        "at 30 fps; 0 = none")  # fmt: skip
    parser.add_argument(
        "--motion", metavar="MOTION", default="demo", help="for flicker: .npz, .bvh or .dmot file, or 'demo'"
    )
    common.file_arguments(parser)
    parser.add_argument(
        "--lpips",
        nargs=2,
        metavar=("VGG16", "HEADS"),
        help="weights for LPIPS, which you bring (needs torch)",
    )
    parser.add_argument(
        "--dists",
        nargs=2,
        metavar=("VGG16", "WEIGHTS"),
        help="weights for DISTS, which you bring (needs torch)",
    )
    evaluate_table.arguments(parser)
    common.engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from dinar_live.export.capture import Capture
    from dinar_live.export.evaluate import evaluate, measure_flicker, sheet, summary, table
    from dinar_live.runtime.bench import report
    from dinar_live.runtime.render.sinks import write_png

    if args.flicker != 0 and not 2 <= args.flicker <= MAX_FLICKER:
        raise InputError(f"--flicker: got {args.flicker}, expected 0 or 2..{MAX_FLICKER} frames")
    if args.json is not None:
        report.refuse_unwritable(args.json)
    if args.sheet is not None and pathlib.Path(args.sheet).suffix.lower() != ".png":
        raise InputError(f"--sheet {args.sheet}: expected the name of a .png file")
    if bool(args.table) == bool(args.avatar) or (args.avatar and not args.capture):
        raise InputError("expected AVATAR and CAPTURE, or --table PEOPLE ... without them")
    options = common.engine_options(args)
    perceptual = {name: _perceptual(name, *files) for name in PERCEPTUAL if (files := getattr(args, name))}
    if args.table:
        return evaluate_table.run(args, perceptual)
    avatar, capture = common.open_avatar(args.avatar), Capture.open(args.capture)
    frames = capture.frames(args.split)
    if args.poses:
        capture = capture.with_poses_of(args.poses)
    motion = common.open_motion(args.motion, args) if args.flicker else None

    def progress(items):
        return Progress(items, unit="frame", leave=False)

    results = []
    shown = f"{printable(avatar.name)} against {printable(capture.name)}"
    print(f"{shown}: {len(frames)} frames ({args.split}), {capture.size[1]}x{capture.size[0]}")
    if args.align:
        from dinar_live.export.fit.align import aligned

        capture = aligned(avatar, capture, frames, args.align, progress=progress)
        print(f"aligned ({args.align}): poses and translations of the frames were moved, the avatar was not")
    for name in _names(args.renderer, avatar):
        e = evaluate(avatar, capture, frames, name, options=options, perceptual=perceptual, progress=progress)
        if args.flicker:
            e.flicker.update(
                measure_flicker(
                    avatar,
                    name,
                    args.flicker,
                    capture.size,
                    motion=motion,
                    options=options,
                    progress=progress,
                )
            )
        print("\n".join(table(e)))
        sys.stdout.flush()
        results.append(e)
    if missing := [name for name in PERCEPTUAL if name not in perceptual]:
        print(f"{' and '.join(n.upper() for n in missing)} not run: the weights are not in this package; bring them with "
              f"{' and '.join(f'--{n}' for n in missing)}")  # fmt: skip
    if args.sheet is not None:
        write_png(args.sheet, sheet(results))
        print(f"sheet: {args.sheet}")
    if args.json is not None:
        figures = {
            "avatar": avatar.name,
            "capture": capture.name,
            "split": args.split,
            "size": list(capture.size),
            "aligned": args.align,
        }
        report.write_json(args.json, {**figures, "renderers": [summary(e) for e in results]})
        print(f"{args.json}: written")
    return 0


def _names(wanted: list[str], avatar) -> list[str]:
    """The renderers meant by --renderer."""
    if wanted == ["all"]:
        return list(avatar.renderers)
    names = list(dict.fromkeys(next(iter(avatar.renderers)) if name == "auto" else name for name in wanted))
    if unknown := [name for name in names if name not in avatar.renderers]:
        raise InputError(
            f"--renderer: got {', '.join(unknown)}, the avatar has {', '.join(avatar.renderers)}"
        )
    return names


def _perceptual(name: str, backbone: str, weights: str):
    """LPIPS or DISTS as a function of two pictures f32[H,W,3] in [0,1]."""
    common.need(f"--{name}", "export", "torch")
    import torch

    from dinar_live.export.dinar.lpips import load_lpips
    from dinar_live.export.metrics.dists import load_dists

    network = (load_lpips if name == "lpips" else load_dists)(backbone, weights)

    def distance(a, b) -> float:
        x, y = (torch.from_numpy(p.transpose(2, 0, 1)[None]) for p in (a, b))
        with torch.inference_mode():
            return float(network(2 * x - 1, 2 * y - 1) if name == "lpips" else network(x, y))

    return distance
