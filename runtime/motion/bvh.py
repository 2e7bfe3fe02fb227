"""BVH files: a bounded parser, tolerant of what common exporters get wrong, and forward kinematics. Lengths
stay in the file's units."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from . import bvh_numbers
from .bvh_header import MAX_JOINTS, MAX_VALUES, Hierarchy, counts
from .motion import MAX_FRAMES

__all__ = ["MAX_JOINTS", "Bvh", "BvhClip", "parse_bvh", "read_bvh", "read_clip"]

MAX_BYTES = 512 << 20
MAX_HEADER = 16 << 20
ADDED = "positions of joints are near zero, unlike their offsets: they were added to those"
_LOOKED_AT = 1000  # frames
_BLOCK = 256  # frames turned at once, so that what is computed stays in the processor's cache
_HEADER_END = re.compile(rb"(?:^|[\r\n])[ \t]*frame[ \t]*time[ \t]*:[^\r\n]*(?:\r\n|\r|\n)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Bvh:
    """A parsed file. Joints are in file order, so parents come before children.

    names, parents [J]: unique names and parent index (-1 = root). offsets: f64[J,3].
    ends: joint index -> f64[3] offset of its End Site. rotations: f64[N,J,4] local quaternions (w, x, y, z).
    positions: f64[N,J,3] each joint's place in its parent's frame (the offset unless the file animates it).
    fps: frames per second. notes: what the reader mended.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    ends: dict[int, np.ndarray]
    rotations: np.ndarray
    positions: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return len(self.rotations)

    def children(self, joint: int) -> list[int]:
        return [j for j, p in enumerate(self.parents) if p == joint]

    def part(self, frames: slice) -> Bvh:
        """The same skeleton in some of the frames."""
        return replace(self, rotations=self.rotations[frames], positions=self.positions[frames])

    def global_rotations(self) -> np.ndarray:
        """f64[N,J,4]: from each joint's frame to the world."""
        out = np.empty_like(self.rotations)
        for j, p in enumerate(self.parents):
            out[:, j] = self.rotations[:, j] if p < 0 else rot.multiply(out[:, p], self.rotations[:, j])
        return out

    def joint_positions(self, world: np.ndarray | None = None, only: list[int] | None = None) -> np.ndarray:
        """f64[N,J,3] world positions; `world` = global_rotations(), if at hand. only: the joints that are wanted;
        others are zero."""
        world = self.global_rotations() if world is None else world
        wanted = set(range(len(self.names)) if only is None else only)
        for j in reversed(range(len(self.names))):
            if j in wanted and self.parents[j] >= 0:
                wanted.add(self.parents[j])
        out = np.zeros((self.frames, len(self.names), 3))
        for j, p in enumerate(self.parents):
            if j not in wanted:
                continue
            out[:, j] = (
                self.positions[:, j] if p < 0 else out[:, p] + rot.rotate(world[:, p], self.positions[:, j])
            )
        return out


class BvhClip:
    """A file as it was read: the skeleton, and its numbers as they are, which take less memory than poses.

    names, parents, offsets, ends, fps, notes: as in `Bvh`. channels: for each joint (axis, "p" or "r").
    values: f64[N, all channels].
    """

    def __init__(self, skeleton: Hierarchy, values: np.ndarray, fps: float, notes: tuple[str, ...]):
        self.names = tuple(skeleton.names)
        self.parents = tuple(skeleton.parents)
        self.offsets = np.array(skeleton.offsets)
        self.ends = skeleton.ends
        self.channels = skeleton.channels
        self.values = values
        self.fps = fps
        self.notes = notes
        self._added = self._added_to_offsets()
        if self._added:
            self.notes += (ADDED,)

    @property
    def frames(self) -> int:
        return len(self.values)

    def _added_to_offsets(self) -> frozenset[int]:
        """Joints below the root whose positions are changes of their offsets. Most programs write whole places,
        which are as long as the offsets; changes are short."""
        shares = {}
        for joint, kinds in self._columns():
            places = [column for _, kind, column in kinds if kind == "p"]
            long = float(np.linalg.norm(self.offsets[joint]))
            if self.parents[joint] >= 0 and len(places) == 3 and long > 1e-6:
                some = self.values[:: -(-len(self.values) // _LOOKED_AT), places]
                shares[joint] = float(np.median(np.linalg.norm(some, axis=1))) / long
        short = sum(share < 0.5 for share in shares.values())
        return frozenset(shares if len(shares) > 2 and short >= 0.8 * len(shares) else ())

    def children(self, joint: int) -> list[int]:
        return [j for j, p in enumerate(self.parents) if p == joint]

    def part(self, frames: slice) -> Bvh:
        """Poses of some of the frames."""
        values = self.values[frames]
        rotations, moved = self._rotations(values), self._moved(values)
        return self._bvh(rotations, moved)

    def whole(self) -> Bvh:
        """All poses; the numbers are given up, so that both are not held at once."""
        rotations, moved = self._rotations(self.values), self._moved(self.values)
        self.values = np.zeros((0, self.values.shape[1]))
        return self._bvh(rotations, moved)

    def _bvh(self, rotations: np.ndarray, moved: dict[tuple[int, int], np.ndarray]) -> Bvh:
        positions = np.empty((len(rotations), *self.offsets.shape))
        positions[:] = self.offsets
        for (joint, axis), column in moved.items():
            positions[:, joint, axis] = column
        return Bvh(
            self.names, self.parents, self.offsets, self.ends, rotations, positions, self.fps, self.notes
        )

    def _columns(self):
        """For each joint its channels with their columns."""
        column = 0
        for joint, kinds in enumerate(self.channels):
            yield joint, [(axis, kind, column + i) for i, (axis, kind) in enumerate(kinds)]
            column += len(kinds)

    def _rotations(self, values: np.ndarray) -> np.ndarray:
        out = np.zeros((len(values), len(self.names), 4))
        out[..., 0] = 1.0
        alike: dict[str, tuple[list[int], list[list[int]]]] = {}  # order of axes -> joints, and their columns
        for joint, kinds in self._columns():
            turning = [(axis, column) for axis, kind, column in kinds if kind == "r"]
            if turning:
                joints, columns = alike.setdefault("".join(a for a, _ in turning), ([], []))
                joints.append(joint)
                columns.append([c for _, c in turning])
        for order, (joints, columns) in alike.items():
            for i in range(0, len(values), _BLOCK):
                rows = slice(i, i + _BLOCK)
                out[rows, joints] = rot.euler_to_quaternion(np.radians(values[rows, columns]), order)
        return out

    def _moved(self, values: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
        """(joint, axis) -> its position [N], which takes the place of the offset, as the common exporters
        write it, or is added to it."""
        return {
            (joint, "xyz".index(axis)): values[:, column]
            + (self.offsets[joint]["xyz".index(axis)] if joint in self._added else 0.0)
            for joint, kinds in self._columns()
            for axis, kind, column in kinds
            if kind == "p"
        }


def read_bvh(path) -> Bvh:
    """Parse a BVH file. Raises MotionError with the line number."""
    return read_clip(path).whole()


def read_clip(path, fps: float | None = None) -> BvhClip:
    """Read a BVH file, its numbers left as they are. fps: frames per second instead of what the file says.
    Raises MotionError with the line number."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MotionError(f"{path}: {size >> 20} MiB, expected at most {MAX_BYTES >> 20} MiB")
        with path.open("rb") as file:
            return _clip(file, size, str(path), fps)
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None


def parse_bvh(text: str, name: str = "bvh") -> Bvh:
    """Parse the text of a BVH file; `name` is what errors call it. Raises MotionError with the line
    number."""
    data = text.encode("utf-8", errors="replace")
    return _clip(io.BytesIO(data), len(data), name, None).whole()


def _clip(file: BinaryIO, size: int, name: str, fps: float | None) -> BvhClip:
    notes: list[str] = []

    def tell(note: str) -> None:
        if note not in notes:
            notes.append(note)

    begin = file.read(2)
    file.seek(0)
    if begin in (b"\xff\xfe", b"\xfe\xff"):
        data = file.read().decode("utf-16", errors="replace").encode("utf-8")
        file, size = io.BytesIO(data), len(data)
        tell("the file is written in UTF-16")
    header = _header(file)
    skeleton = Hierarchy(header.decode("utf-8-sig", errors="replace").splitlines(), name, tell)
    skeleton.read()
    columns = sum(map(len, skeleton.channels))
    count, rate = counts(skeleton, columns, fps)
    values = _rows(file, size, skeleton, count, columns, tell)
    return BvhClip(skeleton, values, rate, tuple(notes))


def _header(file: BinaryIO) -> bytes:
    """All up to the line of the frame time, and the file stands behind it; without that line, all there is,
    up to a bound."""
    data = b""
    while len(data) < MAX_HEADER and (new := file.read(1 << 16)):
        looked = max(0, len(data) - 256)
        data += new
        if found := _HEADER_END.search(data, looked):
            data = data[: found.end()]
            break
    file.seek(len(data))
    return data


def _rows(file: BinaryIO, size: int, skeleton: Hierarchy, count: int, columns: int, tell) -> np.ndarray:
    """The values f64[N, columns] behind the frame time. N is `count` unless whole rows follow those."""
    wanted = count * columns
    # a value takes at least two bytes, whatever the file says of itself
    out = np.empty(min(wanted, (size - file.tell()) // 2 + 1))
    used, width = 0, None
    try:
        for piece, offset in bvh_numbers.pieces(file, tell):
            values = bvh_numbers.numbers(piece, offset, tell)
            if width is None and len(values):
                width = _width(piece)
            if used + len(values) > len(out):
                if used + len(values) > MAX_VALUES:
                    raise MotionError(f"{skeleton.name}: more than {MAX_VALUES} values")
                out.resize(max(used + len(values), len(out) * 9 // 8), refcheck=False)
            out[used : used + len(values)] = values
            used += len(values)
    except bvh_numbers.BadWord as e:
        file.seek(0)
        line = max(len(file.read(e.offset + 1).splitlines()) - 1, 0)
        raise skeleton.fail(f"got {e.word!r}, expected a finite number", line) from None
    if used < wanted:
        file.seek(0)
        last = max(len(file.read().rstrip().splitlines()) - 1, 0)
        raise skeleton.fail(
            f"the file ends after {used} of {wanted} values ({count} frames of {columns})", last
        )
    frames, over = (used // columns, used % columns) if columns else (count, used)
    if used > wanted and (width != columns or frames > MAX_FRAMES):
        raise skeleton.fail(
            f"{used} values follow, {width} in the first row, expected {count} frames of {columns}",
            skeleton.rest()[1][0] + 1,
        )
    if frames > count:
        tell(f"the file says {count} frames and has {frames}: all were read")
    if over:
        tell(f"{over} values after the last whole row were ignored")
    out.resize(frames * columns, refcheck=False)
    return out.reshape(frames, columns)


def _width(piece: bytes) -> int:
    """How many values the first row has."""
    for line in piece.splitlines():
        if len(row := bvh_numbers.numbers(line + b"\n", 0, lambda note: None)):
            return len(row)
    return 0
