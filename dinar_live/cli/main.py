"""dinar VERB ...: photo of a person in, live avatar out."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Collection

from dinar_live import __version__

from .config_file import OPTION, with_file

# verb: what it does; its module here has `arguments(parser)` and `run(args) -> exit code`
VERBS = {
    "demo": "watch the built-in avatar move: server and client in separate processes",
    "render": "render a motion to a video or a folder of PNGs, without a server",
    "serve": "stream an avatar over ZeroMQ, with a page to watch",
    "play": "drive a server with a motion file",
    "record": "record what a live source sends, to play it again later",
    "convert": "convert motion files from one format to another, with filters",
    "live": "stream an avatar that follows live motion capture",
    "keys": "manage the keys (CURVE) of those who may connect to a server",
    "completion": "print what completes verbs and options in a shell",
    "cache": "show and clear what is kept between runs: compiled kernels, engines, networks",
    "doctor": "check what works on this machine, and how to get the rest to work",
    "bench": "measure frame rate and latency",
    "compile": "build an avatar's engines ahead of time, and check what they compute",
    "inspect": "print what is in an avatar and draw a sheet of it",
    "export": "make an avatar from photos",
    "pose": "find the pose of a person: of a photo a fit and a mask, of a video a motion",
    "alive": "make the person of a photo move within the photo: a video",
    "models": "show, get and check the networks that find people in pictures",
    "capture": "make a capture for `fit` of a film of a person who turns round",
    "fit": "make an avatar with hair and clothes from a capture: many posed pictures",
    "distill": "train a light renderer to draw what a slow one of the same avatar draws",
    "evaluate": "compare frames of an avatar with the pictures of a capture",
}


FIRST = {
    "dinar demo": VERBS["demo"],
    "dinar export --photo me.jpg --out me": "make an avatar of one photo of you",
    "dinar render me demo -o me.mp4": "make a video of it; a motion file of yours instead of 'demo'",
    "dinar serve me --viewer": "stream it to programs, and to a page in your browser",
    "dinar doctor": VERBS["doctor"],
}
"""What somebody who types `dinar` alone needs: command -> what it does."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds defaults to help texts where they say something and the text does not already."""

    def _get_help_string(self, action):
        says = isinstance(action.default, str | int | float) and not isinstance(action.default, bool)
        text = action.help or ""
        return super()._get_help_string(action) if says and "default" not in text else text


class _Verb(argparse.ArgumentParser):
    """A verb's parser, which reads the file of --config where the verb has that option."""

    def parse_known_args(self, args=None, namespace=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        if args is not None and any(OPTION in action.option_strings for action in self._actions):
            from dinar_live.runtime.core.errors import InputError

            try:
                args = with_file(self, args)
            except InputError as e:
                self.exit(2, f"{self.prog}: {e}\n")
        return super().parse_known_args(args, namespace)


def parser_of(full: Collection[str]) -> argparse.ArgumentParser:
    """The parser of the command line. full: the verbs that it knows the arguments of; their modules are
    imported."""
    parser = argparse.ArgumentParser(prog="dinar", description=__doc__)
    parser.add_argument(
        "--version",
        action="version",
        version=f"dinar-live {__version__}",
        help="print the version and exit",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Verb)
    for verb, text in VERBS.items():
        sub = verbs.add_parser(
            verb, help=text, description=text[0].upper() + text[1:] + ".", formatter_class=_Help
        )
        if verb in full:
            importlib.import_module(f".{verb}", __package__).arguments(sub)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb; errors a user can cause end with one line and exit code 2."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser_of(argv[:1]).parse_args(argv)  # only the verb asked for is imported
    args.given = argv
    if args.verb is None:
        width = max(map(len, FIRST))
        print("Photo of a person in, live avatar out. To begin with:\n")
        print("\n".join(f"  {command:{width}}  {text}" for command, text in FIRST.items()))
        print(f"\n'dinar VERB --help' explains a verb; 'dinar --help' lists all {len(VERBS)}.")
        return 2
    from dinar_live.runtime.core.errors import (
        DinarError,
    )  # not for --help and --version, which answer at once

    try:
        return importlib.import_module(f".{args.verb}", __package__).run(args) or 0
    except DinarError as e:
        print(f"dinar {args.verb}: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as e:  # a full disk, a folder that may not be written
        print(
            f"dinar {args.verb}: {e.filename or ''}: {e.strerror or e}".replace(": :", ":"), file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
