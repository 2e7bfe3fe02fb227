"""dinar models [show|get|check] [--from FILE.whl]"""

from __future__ import annotations

import argparse
import sys

from dinar_live.runtime.core.errors import ModelError
from dinar_live.runtime.vision.get_models import get_from, get_with_pip
from dinar_live.runtime.vision.models import LICENCE, MISSING, MODELS, PRESENT, VERSION, ModelFolder


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        choices=("show", "get", "check"),
        default="show",
        help="show what is there; get what is missing; check every file by its sha256, exit status 1 if one is wanting",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PATH",
        help="with get: a wheel of mediapipe, an npm package (.tgz) or a folder with .tflite files, instead of PyPI",
    )


def run(args: argparse.Namespace) -> int:
    folder = ModelFolder()
    if args.source is not None and args.action != "get":
        raise ModelError(f"--from: belongs to 'dinar models get', not to {args.action}")
    if args.action == "get":
        if args.source is not None:
            print(f"taken from {args.source}: {', '.join(get_from(args.source, folder))}")
        else:
            get_with_pip(folder, lambda text: print(text, file=sys.stderr, flush=True))
    states = {name: folder.state(name) for name in MODELS}
    print(f"{folder.folder}: networks of MediaPipe ({LICENCE}), from PyPI's mediapipe {VERSION}")
    for name, m in MODELS.items():
        state = states[name] if m.required or states[name] != MISSING else "not there (optional)"
        print(f"  {name:15} {m.bytes / 1e6:5.1f} MB  {state:9}  {m.what}")
        if args.action == "check":
            print(f"  {'':15} sha256 {m.sha256}")
    wanting = [n for n, m in MODELS.items() if states[n] != PRESENT and (m.required or states[n] != MISSING)]
    if wanting:
        print(f"wanting: {', '.join(wanting)}; 'dinar models get' fetches them")
    return 1 if wanting and args.action != "show" else 0
