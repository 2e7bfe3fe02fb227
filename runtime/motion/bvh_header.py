"""What stands before the numbers of a BVH file: the tree of joints, and how many frames follow at which rate."""

from __future__ import annotations

import re

import numpy as np

from dinar_live.runtime.core.errors import MotionError

from . import bvh_numbers
from .motion import MAX_FRAMES

MAX_JOINTS = 512
MAX_DEPTH = 128
MAX_VALUES = 100_000_000
_CHANNEL = re.compile(r"([xyz])(position|rotation)", re.IGNORECASE)
_LABELS = ("Frames", "Frame Time")


class Hierarchy:
    """Reads HIERARCHY up to the MOTION line, word by word."""

    def __init__(self, lines: list[str], name: str, tell):
        self.lines = lines
        self.name = name
        self.tell = tell  # is called with a note for what was mended
        self.line = 0  # index of the line being read
        self.started = False
        self._words: list[str] = []
        self.names = []
        self.parents = []
        self.offsets = []
        self.channels = []
        self.ends: dict[int, np.ndarray] = {}

    def fail(self, message: str, line: int | None = None) -> MotionError:
        return MotionError(f"{self.name}: line {(self.line if line is None else line) + 1}: {message}")

    def word(self) -> str:
        while not self._words:
            self.line = self.line + 1 if self.started else 0
            self.started = True
            if self.line >= len(self.lines):
                self.line = max(len(self.lines) - 1, 0)
                raise self.fail("the file ends inside HIERARCHY, expected MOTION")
            self._words = self.lines[self.line].split()
            if self._words and self._words[0].startswith("#"):
                self.tell(bvh_numbers.COMMENTS)
                self._words = []
        return self._words.pop(0)

    def expect(self, *options: str) -> str:
        word = self.word()
        if word.upper() not in options:
            raise self.fail(f"got {word[:40]!r}, expected {' or '.join(options)}")
        return word.upper()

    def number(self) -> float:
        word = self.word()
        try:
            value = float(word)
        except ValueError:
            raise self.fail(f"got {word[:40]!r}, expected a number") from None
        if not np.isfinite(value) or abs(value) > 1e9:
            raise self.fail(f"got {word[:40]!r}, expected a finite number")
        return value

    def read(self) -> None:
        self.expect("HIERARCHY")
        self.expect("ROOT")
        stack = [self.joint(-1)]
        while stack:
            word = self.expect("JOINT", "END", "ENDSITE", "}")
            if word == "JOINT":
                if len(stack) >= MAX_DEPTH:
                    raise self.fail(f"joints are nested deeper than {MAX_DEPTH}")
                stack.append(self.joint(stack[-1]))
            elif word != "}":
                self.end_site(stack[-1], word == "END")
            else:
                stack.pop()
        if self.expect("MOTION", "ROOT") == "ROOT":
            raise self.fail("a second ROOT, expected one figure per file")
        if self._words:
            raise self.fail(f"got {self._words[0][:40]!r} after MOTION, expected a new line")

    def joint(self, parent: int) -> int:
        index = len(self.names)
        if index >= MAX_JOINTS:
            raise self.fail(f"more than {MAX_JOINTS} joints")
        # names may hold blanks: all of the line up to a brace
        words = [self.word()]
        while self._words and self._words[0] != "{":
            words.append(self._words.pop(0))
        name = " ".join(words)
        if name == "{":
            raise self.fail("a joint without a name")
        unique, copy = name, 2
        while unique in self.names:
            unique, copy = f"{name}#{copy}", copy + 1
        self.names.append(unique)
        self.parents.append(parent)
        offset, kinds = self.properties()
        if offset is None:
            raise self.fail(f"joint {name[:40]!r} has no OFFSET")
        self.offsets.append(offset)
        if kinds is None:
            self.tell("joints without CHANNELS do not move")
        self.channels.append(kinds or [])
        return index

    def peek(self) -> str:
        """The next word, which is read again."""
        word = self.word()
        self._words.insert(0, word)
        return word.upper()

    def properties(self) -> tuple[list[float] | None, list[tuple[str, str]] | None]:
        """What stands behind the brace of a joint, in any order: OFFSET and CHANNELS."""
        self.expect("{")
        offset, kinds = None, None
        while (key := self.peek()) in ("OFFSET", "CHANNELS"):
            self.word()
            if key == "OFFSET" and offset is None:
                offset = [self.number() for _ in range(3)]
            elif key == "CHANNELS" and kinds is None:
                kinds = self.kinds()
            else:
                raise self.fail(f"{key} is there twice in one joint")
        if offset is None and kinds is None:
            self.expect("OFFSET", "CHANNELS")
        return offset, kinds

    def end_site(self, joint: int, apart: bool) -> None:
        if apart:
            self.expect("SITE")
        named = []
        while self._words and self._words[0] != "{":
            named.append(self._words.pop(0))
        if named:
            self.tell("names of End Sites were skipped")
        offset, _ = self.properties()
        self.ends.setdefault(joint, np.array(offset or (0.0, 0.0, 0.0)))
        self.expect("}")

    def kinds(self) -> list[tuple[str, str]]:
        count = self.number()
        if count not in range(7):
            raise self.fail(f"got {count:g} channels, expected 0 to 6")
        kinds = []
        for _ in range(int(count)):
            word = self.word()
            match = _CHANNEL.fullmatch(word)
            if not match:
                raise self.fail(f"got channel {word[:40]!r}, expected Xposition ... Zrotation")
            kinds.append((match[1].lower(), match[2][0].lower()))
        if len(set(kinds)) != len(kinds):
            raise self.fail("a channel is named twice in one joint")
        return kinds

    def rest(self) -> list[tuple[int, str]]:
        """The lines below MOTION that say something, with their indices."""
        return [
            (i, line)
            for i, line in enumerate(self.lines[self.line + 1 :], self.line + 1)
            if line.strip() and not line.lstrip().startswith("#")
        ]


def _rate(seconds: float) -> float:
    """Frames per second; .008333 and .03333 are 120 and 30 written short."""
    fps = 1.0 / seconds
    return float(round(fps)) if abs(fps - round(fps)) < 2e-4 * fps else fps


def counts(skeleton: Hierarchy, columns: int, fps: float | None) -> tuple[int, float]:
    """Frames, as the file says, and frames per second. fps: given instead of the file's frame time."""
    rows, found = skeleton.rest(), []
    for label, (row, line) in zip(_LABELS, rows, strict=False):
        key, _, value = line.partition(":")
        try:
            found.append(float(value))
        except ValueError:
            found.append(np.nan)
        given = label == _LABELS[1] and fps is not None
        if " ".join(key.split()).lower() != label.lower() or not (np.isfinite(found[-1]) or given):
            raise skeleton.fail(f"got {line.strip()[:40]!r}, expected '{label}: number'", row)
    if len(found) < 2:
        raise skeleton.fail(
            "the file ends inside MOTION, expected 'Frames:' and 'Frame Time:'", len(skeleton.lines) - 1
        )
    count, seconds = found
    if not (1 <= count <= MAX_FRAMES and count == int(count)) or count * columns > MAX_VALUES:
        raise skeleton.fail(
            f"got {count:g} frames of {columns} values, expected 1 to {MAX_FRAMES} frames and at most {MAX_VALUES} values",
            rows[0][0],
        )
    if fps is not None:
        if not 0.1 <= fps <= 10_000:
            raise MotionError(f"{skeleton.name}: frames per second: got {fps:g}, expected 0.1 to 10000")
        skeleton.tell(f"{fps:g} frames per second, as given; the file has a frame time of {seconds:g} s")
        return int(count), float(fps)
    if not 1e-4 <= seconds <= 10:
        raise skeleton.fail(
            f"got a frame time of {seconds:g} s, expected 0.0001 to 10 (or give the rate, --source-fps)",
            rows[1][0],
        )
    return int(count), _rate(seconds)
