"""BVH files: a bounded parser and forward kinematics. Lengths stay in the file's units."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from .motion import MAX_FRAMES

MAX_BYTES = 512 << 20
MAX_JOINTS = 512
MAX_DEPTH = 128
MAX_VALUES = 100_000_000
_CHANNEL = re.compile(r"([xyz])(position|rotation)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Bvh:
    """A parsed file. Joints are in file order, so parents come before children.

    names, parents [J]: unique names and parent index (-1 = root). offsets: f64[J,3].
    ends: joint index -> f64[3] offset of its End Site. rotations: f64[N,J,4] local quaternions (w, x, y, z).
    positions: f64[N,J,3] each joint's place in its parent's frame (the offset unless the file animates it).
        fps: frames per second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    ends: dict[int, np.ndarray]
    rotations: np.ndarray
    positions: np.ndarray
    fps: float

    @property
    def frames(self) -> int:
        return len(self.rotations)

    def children(self, joint: int) -> list[int]:
        return [j for j, p in enumerate(self.parents) if p == joint]

    def global_rotations(self) -> np.ndarray:
        """f64[N,J,4]: from each joint's frame to the world."""
        out = np.empty_like(self.rotations)
        for j, p in enumerate(self.parents):
            out[:, j] = self.rotations[:, j] if p < 0 else rot.multiply(out[:, p], self.rotations[:, j])
        return out

    def joint_positions(self, world: np.ndarray | None = None) -> np.ndarray:
        """f64[N,J,3] world positions; `world` = global_rotations(), if at hand."""
        world = self.global_rotations() if world is None else world
        out = np.empty((self.frames, len(self.names), 3))
        for j, p in enumerate(self.parents):
            out[:, j] = (
                self.positions[:, j] if p < 0 else out[:, p] + rot.rotate(world[:, p], self.positions[:, j])
            )
        return out


def read_bvh(path) -> Bvh:
    """Parse a BVH file. Raises MotionError with the line number."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MotionError(
                f"{path}: {path.stat().st_size >> 20} MiB, expected at most {MAX_BYTES >> 20} MiB"
            )
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None
    return parse_bvh(text, str(path))


def parse_bvh(text: str, name: str = "bvh") -> Bvh:
    """Parse the text of a BVH file; `name` is what errors call it. Raises MotionError with the line
    number."""
    lines = text.splitlines()
    parser = _Hierarchy(lines, name)
    parser.read()
    names, parents, channels = parser.names, parser.parents, parser.channels
    offsets = np.array(parser.offsets)
    count, seconds, values = _motion(lines, parser.line, sum(map(len, channels)), parser.fail)
    rotations = np.zeros((count, len(names), 4))
    rotations[..., 0] = 1.0
    positions = np.broadcast_to(offsets, (count, *offsets.shape)).copy()
    column = 0
    for j, kinds in enumerate(channels):
        block = values[:, column : column + len(kinds)]
        column += len(kinds)
        turning = [i for i, (_, kind) in enumerate(kinds) if kind == "r"]
        if turning:
            rotations[:, j] = rot.euler_to_quaternion(
                np.radians(block[:, turning]), "".join(kinds[i][0] for i in turning)
            )
        for i, (axis, kind) in enumerate(kinds):
            if kind == "p":  # takes the place of the offset, as the common exporters write it
                positions[:, j, "xyz".index(axis)] = block[:, i]
    return Bvh(tuple(names), tuple(parents), offsets, parser.ends, rotations, positions, _rate(seconds))


def _rate(seconds: float) -> float:
    """Frames per second; .008333 and .03333 are 120 and 30 written short."""
    fps = 1.0 / seconds
    return float(round(fps)) if abs(fps - round(fps)) < 2e-4 * fps else fps


class _Hierarchy:
    """Reads HIERARCHY up to the MOTION line, word by word."""

    def __init__(self, lines: list[str], name: str):
        self.lines = lines
        self.name = name
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
            word = self.expect("JOINT", "END", "}")
            if word == "JOINT":
                if len(stack) >= MAX_DEPTH:
                    raise self.fail(f"joints are nested deeper than {MAX_DEPTH}")
                stack.append(self.joint(stack[-1]))
            elif word == "END":
                self.expect("SITE")
                self.expect("{")
                self.expect("OFFSET")
                self.ends.setdefault(stack[-1], np.array([self.number() for _ in range(3)]))
                self.expect("}")
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
        self.expect("{")
        self.expect("OFFSET")
        self.offsets.append([self.number() for _ in range(3)])
        self.expect("CHANNELS")
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
        self.channels.append(kinds)
        return index


def _motion(lines: list[str], line: int, columns: int, fail) -> tuple[int, float, np.ndarray]:
    """The MOTION block below `line`: frames, seconds per frame, values f64[frames, columns]."""
    rows = [i for i in range(line + 1, len(lines)) if lines[i].strip()]
    found = []
    for label, row in zip(("Frames", "Frame Time"), rows, strict=False):
        key, _, value = lines[row].partition(":")
        try:
            found.append(float(value))
        except ValueError:
            found.append(np.nan)
        if " ".join(key.split()).lower() != label.lower() or not np.isfinite(found[-1]):
            raise fail(f"got {lines[row].strip()[:40]!r}, expected '{label}: number'", row)
    if len(found) < 2:
        raise fail("the file ends inside MOTION, expected 'Frames:' and 'Frame Time:'", len(lines) - 1)
    count, seconds = found
    if not (1 <= count <= MAX_FRAMES and count == int(count)) or count * columns > MAX_VALUES:
        raise fail(
            f"got {count:g} frames of {columns} values, expected 1 to {MAX_FRAMES} frames and at most {MAX_VALUES} values",
            rows[0],
        )
    if not 1e-4 <= seconds <= 10:
        raise fail(f"got a frame time of {seconds:g} s, expected 0.0001 to 10", rows[1])
    count, rows = int(count), rows[2:]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", DeprecationWarning
        )  # numpy's way of saying that a word is not a number
        try:
            values = np.fromstring("\n".join(lines[i] for i in rows), np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            values = np.zeros(0)
    if values.size < count * columns or not np.isfinite(values).all():
        _explain(lines, rows, count, columns, fail)
    if values.size > count * columns:
        raise fail(
            f"{values.size} values follow, expected {count} frames of {columns}", rows[0] if rows else line
        )
    return count, seconds, values.reshape(count, columns)


def _explain(lines, rows, count, columns, fail) -> None:
    """Find the line that made the motion block unreadable, and raise."""
    total = 0
    for i in rows:
        words = lines[i].split()
        for word in words:
            try:
                good = np.isfinite(float(word))
            except ValueError:
                good = False
            if not good:
                raise fail(f"got {word[:40]!r}, expected a finite number", i)
        total += len(words)
    last = rows[-1] if rows else len(lines) - 1
    raise fail(f"the file ends after {total} of {count * columns} values ({count} frames of {columns})", last)
