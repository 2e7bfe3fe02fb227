"""--config FILE: options of a verb from a TOML file."""

from __future__ import annotations

import argparse
import difflib
import pathlib
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from dinar_live.runtime.core.errors import InputError

OPTION = "--config"


def argument(parser: argparse.ArgumentParser) -> None:
    """--config."""
    parser.add_argument(
        OPTION,
        metavar="FILE",
        help="options in TOML by their names here without dashes in front, as fps = 30 or motion = ['a.bvh', 'b.bvh']; what stands "
        "on the command line wins (docs/running.md)",
    )


def with_file(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """`arguments` of a verb, with those of the file that --config names put in front, so that argparse checks them
    and what was given by hand wins. A positional argument in the file becomes the default of `parser`'s.

    Raises InputError naming file and key.
    """
    probe = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    probe.add_argument(OPTION)
    path = probe.parse_known_args(list(arguments))[0].config
    if path is None:
        return list(arguments)
    words = []
    for key, value in _read(path).items():
        action = _action(parser, key, f"{path}: {key}")
        if action.option_strings:
            words += _words(action, value, f"{path}: {key}")
        else:
            values = value if isinstance(value, list) else [value]
            if not values or not all(isinstance(v, str) for v in values):
                raise InputError(f"{path}: {key}: got {value!r}, expected a list of names")
            action.nargs, action.default, action.required = "*", values, False
    return [*words, *arguments]


def _read(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: {e.strerror}; {OPTION} expects a TOML file") from None
    except ValueError as e:
        raise InputError(f"{path}: is no TOML ({e})") from None


def _action(parser: argparse.ArgumentParser, key: str, where: str) -> argparse.Action:
    known = {}
    for action in parser._actions:
        for name in action.option_strings or (action.dest,):
            if name not in ("-h", "--help", OPTION) and not name.startswith("--no-"):
                known[name.lstrip("-").replace("_", "-")] = action
    for action in parser._actions:  # --no-page has no --page
        for name in action.option_strings:
            known.setdefault(name.lstrip("-"), action)
    for name in ("h", "help", OPTION.lstrip("-")):
        known.pop(name, None)
    if (found := known.get(key.replace("_", "-"))) is None:
        near = difflib.get_close_matches(key.replace("_", "-"), known, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
        raise InputError(f"{where}: no such option{hint}")
    return found


def _words(action: argparse.Action, value: Any, where: str) -> Iterator[str]:
    option = next(o for o in action.option_strings if o.startswith("--"))
    if isinstance(action, argparse.BooleanOptionalAction) and isinstance(value, bool):
        yield next(o for o in action.option_strings if o.startswith("--no-") != value)
        return
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise InputError(f"{where}: got {value!r}, expected true or false")
        if value:
            yield option
        return
    if isinstance(value, dict):
        value = [f"{name}={_text(each, where)}" for name, each in value.items()]
    many = isinstance(value, list)
    if many and not isinstance(action, argparse._AppendAction):
        raise InputError(f"{where}: got a list, expected one value")
    for each in value if many else [value]:
        yield f"{option}={_text(each, where)}"


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{where}: got {value!r}, expected text or a number")
    return str(value)
