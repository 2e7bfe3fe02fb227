"""A file that says which joint of a skeleton is which of SMPL-X: a table [joints] in TOML."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES

MAX_BYTES = 64 << 10
_SPINE = {"spine1", "spine2", "spine3"}  # of which a file with fewer joints has several in one


def read_map(path) -> dict[str, str]:
    """SMPL-X joint -> the file's joint ("" = none of them) from a map file. Raises MotionError."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MotionError(f"{path}: {path.stat().st_size} bytes, expected a map of at most {MAX_BYTES}")
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise MotionError(f"{path}: no TOML: {e}") from None
    if set(table) != {"joints"} or not isinstance(table["joints"], dict):
        raise MotionError(f"{path}: got {', '.join(table) or 'nothing'}, expected one table [joints]")
    joints = table["joints"]
    for joint, name in joints.items():
        if joint not in JOINT_INDEX:
            raise MotionError(
                f"{path}: {joint!r} is no joint of SMPL-X{_near(joint, JOINT_NAMES)}; expected {JOINT_NAMES[0]}, "
                f"{JOINT_NAMES[1]}, {JOINT_NAMES[2]} ..."
            )
        if not isinstance(name, str):
            raise MotionError(
                f"{path}: {joint}: got {name!r}, expected the file's name of the joint in quotes"
            )
    return joints


def _near(name: str, options: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, options, 3, 0.5)
    return f" (like {', '.join(near)})" if near else ""


def apply_map(
    source: dict[str, int], joint_map: Mapping[str, str], names: Sequence[str], title: str
) -> dict[str, int]:
    """A mapping SMPL-X joint -> joint of the file with the map's entries instead of its own. Raises
    MotionError."""
    given: dict[str, int] = {}
    for joint, name in joint_map.items():
        if joint not in JOINT_INDEX:
            raise MotionError(f"{title}: map: {joint!r} is no joint of SMPL-X{_near(joint, JOINT_NAMES)}")
        if not name:
            continue
        if name not in names:
            raise MotionError(f"{title}: map: {joint}: there is no joint {name!r}{_near(name, names)}")
        if twice := [o for o, j in given.items() if names[j] == name and not {o, joint} <= _SPINE]:
            raise MotionError(f"{title}: map: {name!r} is given for {twice[0]} and for {joint}")
        given[joint] = list(names).index(name)
    kept = {
        k: j
        for k, j in source.items()
        if k not in joint_map and all(j != g or {k, o} <= _SPINE for o, g in given.items())
    }
    return kept | given


def write_map(
    source: Mapping[str, int], names: Sequence[str], parents: Sequence[int], problem: str = ""
) -> str:
    """The text of a map file: what was understood, ready to edit. problem: why it is not enough."""
    lines = [
        "# SMPL-X joint = joint of the file. An empty name means that the file has none;",
        "# what is left out is found by name, as far as it can be.",
    ]
    if problem:
        lines += [f"# NOT ENOUGH YET: {problem}.", "# Needed are the pelvis and hip ... wrist of both sides."]
    lines += ["[joints]"]
    for joint in JOINT_NAMES:
        if joint in source:
            lines.append(f"{joint} = {json.dumps(names[source[joint]], ensure_ascii=False)}")
        elif JOINT_INDEX[joint] < 25 or problem == "":
            lines.append(f'# {joint} = ""')
    used = set(source.values())
    lines += ["", "# The joints of the file (* = used above):"]
    depth: list[int] = []
    for j, parent in enumerate(parents):
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
        shown = names[j].encode("unicode_escape").decode("ascii") if not names[j].isprintable() else names[j]
        lines.append(f"# {'  ' * min(depth[j], 40)}{shown}{' *' if j in used else ''}")
    return "\n".join(lines) + "\n"
