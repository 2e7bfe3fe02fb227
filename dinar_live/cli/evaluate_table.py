"""`dinar evaluate --table PEOPLE ...`: avatars made of photos by several methods, over many people."""

from __future__ import annotations

import argparse
import pathlib

from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.errors import InputError

from . import common
from .progress import Progress

PICTURES = {"kid": (299, 299), "reid": (256, 128)}  # (height, width) that the networks usually take
NAMES = {"kid": "KID", "reid": "ReID"}


def arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a table over people, in place of AVATAR and CAPTURE")
    group.add_argument(
        "--table",
        nargs="+",
        metavar="PEOPLE",
        help="captures with photo/, or folders of them: makes avatars of the photos and scores them",
    )
    group.add_argument(
        "--methods", nargs="+", default=["projection", "outline", "completion"], metavar="METHOD",
        help="of dinar export: projection, outline, completion",
    )  # fmt: skip
    group.add_argument("--photos", choices=("front", "back", "both"), default="front", help="that avatars are made of")  # fmt: skip
    group.add_argument("--every", type=int, default=1, metavar="N", help="only every n-th frame of a person")
    group.add_argument("--markdown", metavar="FILE.md", help="also write the table here")
    for name, (height, width) in PICTURES.items():
        what = f"your network for {NAMES[name]}: picture f32[1,3,{height},{width}] in [0,1] -> vector"
        group.add_argument(f"--{name}", metavar="FILE.onnx", help=what)


def run(args: argparse.Namespace, perceptual: dict) -> int:
    from dinar_live.export import people_table as table
    from dinar_live.export.from_photos import METHODS
    from dinar_live.export.metrics.embeddings import Embedding
    from dinar_live.runtime.bench import report
    from dinar_live.runtime.render.sinks import write_png

    if unknown := [m for m in args.methods if m not in METHODS]:
        raise InputError(f"--methods: got {', '.join(unknown)}, expected some of {', '.join(METHODS)}")
    if args.every < 1:
        raise InputError(f"--every: got {args.every}, expected 1 or more")
    if args.markdown is not None and not pathlib.Path(args.markdown).resolve().parent.is_dir():
        raise InputError(f"--markdown {args.markdown}: its folder does not exist")
    networks = {n: Embedding(f, PICTURES[n]) for n in PICTURES if (f := getattr(args, n))}
    measures = table.Measures(perceptual, **networks)
    folders = table.find_people(args.table)
    people = [
        table.Person.open(f, args.photos, args.split, args.every) for f in folders
    ]  # all, before the work
    methods, rows = list(dict.fromkeys(args.methods)), []
    scores = table.measure(
        Progress(people, unit="person", leave=False),
        methods,
        Body.open(),
        measures,
        options=common.engine_options(args),
        rows=rows,
    )
    frames = sum(len(p.frames) for p in people)
    text = table.markdown(scores, len(people), frames, args.photos)
    print(text)
    for method in methods[1:] if methods[0] == "projection" else []:
        name, gain = table.worst_against(scores, method, "projection")
        print(f"{method} against projection, worst case: {name}, {gain:+.2f} dB")
    if args.markdown is not None:
        pathlib.Path(args.markdown).write_text(text, encoding="utf-8")
        print(f"{args.markdown}: written")
    if args.sheet is not None:
        write_png(args.sheet, table.sheet(rows))
        print(f"sheet: {args.sheet}")
    if args.json is not None:
        report.write_json(args.json, {"photos": args.photos, "split": args.split, "people": len(people),
                                      "frames": frames, "scores": _without_nan(scores)})  # fmt: skip
        print(f"{args.json}: written")
    return 0


def _without_nan(value):
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    return None if value != value else value
