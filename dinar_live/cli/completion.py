"""dinar completion bash|zsh|tcsh"""

from __future__ import annotations

import argparse

from . import common

SHELLS = ("bash", "zsh", "tcsh")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell",
        choices=SHELLS,
        help="for bash: dinar completion bash > ~/.local/share/bash-completion/completions/dinar",
    )


def run(args: argparse.Namespace) -> int:
    common.need("dinar completion", "completion", "shtab")
    import shtab

    from .main import VERBS, parser_of

    print(shtab.complete(parser_of(tuple(VERBS)), args.shell))
    return 0
