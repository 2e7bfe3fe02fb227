"""Recordings (.dmot): poses as they come, on disk at once, readable however they end. The bytes:
docs/motion.md."""

from __future__ import annotations

import json
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from .motion import MAX_FRAMES, Motion

MAGIC = b"DMOT"
SCHEMA = 1
MAX_HEADER = 16_384
MAX_EXPRESSIONS = 512
MAX_BYTES = 4 << 30
SUFFIXES = (".dmot", ".dmot.part")
_PREFIX = struct.Struct("<4sHHI")  # magic, schema, zero, bytes of JSON that follow
_FLUSH_SECONDS = 0.5
_GAP_SECONDS = 0.5
_MAX_SECONDS = 7 * 24 * 3600.0


def frame_dtype(expressions: int) -> np.dtype:
    """One frame of a recording: seconds f64, pelvis f32[3], body f32[55,3], expression f32[E]; little-endian,
    no padding."""
    return np.dtype(
        [
            ("t", "<f8"),
            ("pelvis", "<f4", (3,)),
            ("body", "<f4", (55, 3)),
            ("expression", "<f4", (expressions,)),
        ]
    )


class Recorder:
    """Appends poses to a recording.

    path: ends in .dmot; while it records, the file is called PATH.part, and can be read as well.
    leg_length: thigh + shank of the body that the pelvis path belongs to, metres. fps: of frames that come at
    an exact rate; None = they come when they come, and their times count. expression_names: of the columns.
    source: what was recorded, for people. Raises MotionError.
    """

    def __init__(
        self,
        path,
        *,
        leg_length: float,
        fps: float | None = None,
        expression_names=(),
        source: str = "",
        name: str = "",
        cyclic: bool = False,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        if self.path.suffix.lower() != ".dmot":
            raise MotionError(f"{self.path}: a recording ends in .dmot")
        if self.path.exists() and not overwrite:
            raise MotionError(
                f"{self.path}: exists already; give another name, or say that it may be replaced"
            )
        # None: columns whose meaning is not known; their number is only known from the first frame
        self._names = None if expression_names is None else tuple(str(n) for n in expression_names)
        self._header = {
            "format": "dinar-motion",
            "skeleton": "smplx-55",
            "up": "y",
            "units": "m",
            "leg_length": float(leg_length),
            "fps": None if fps is None else float(fps),
            "name": name or self.path.stem,
            "source": str(source)[:1000],
            "cyclic": bool(cyclic),
        }
        self.frames = 0
        self.seconds = 0.0
        self._part = self.path.with_name(self.path.name + ".part")
        self._file: BinaryIO | None = None
        self._frame = np.zeros((), frame_dtype(0))
        self._first = self._flushed = 0.0

    def append(self, t: float, body, pelvis, expression=()) -> None:
        """One frame: t seconds (ascending; the first may have any value), body [55,3] axis-angle, pelvis [3]
        metres, expression [E]."""
        expression = np.asarray(expression)
        file = self._file or self._begin(expression.size)
        frame = self._frame
        try:
            frame["body"], frame["pelvis"], frame["expression"] = body, pelvis, expression
        except (ValueError, TypeError) as e:
            shapes = f"body [55,3], pelvis [3], {frame['expression'].size} expressions"
            raise MotionError(f"frame {self.frames}: {e}; expected {shapes}") from None
        self._first = t if not self.frames else self._first
        seconds = t - self._first
        if not (
            np.isfinite(frame["body"]).all()
            and np.isfinite(frame["pelvis"]).all()
            and np.isfinite(frame["expression"]).all()
        ):
            raise MotionError(f"frame {self.frames}: holds NaN or infinite values")
        if self.frames and not self.seconds < seconds <= _MAX_SECONDS:
            raise MotionError(
                f"frame {self.frames}: at {seconds:g} s, expected after {self.seconds:g} s, the frame before"
            )
        if self.frames >= MAX_FRAMES:
            raise MotionError(f"{self.path}: a recording has at most {MAX_FRAMES} frames")
        frame["t"] = seconds
        now = time.monotonic()
        try:
            file.write(frame.tobytes())
            if now - self._flushed > _FLUSH_SECONDS:  # so much is lost at most if the program is killed
                file.flush()
                self._flushed = now
        except OSError as e:
            raise MotionError(f"{self._part}: cannot be written ({e.strerror or e})") from None
        self.frames += 1
        self.seconds = seconds

    def _begin(self, columns: int) -> BinaryIO:
        """Write the header. Raises MotionError."""
        if self._names is not None and columns != len(self._names):
            raise MotionError(
                f"frame 0: got {columns} expressions, expected {len(self._names)}, one for each name"
            )
        if columns > MAX_EXPRESSIONS:
            raise MotionError(f"got {columns} expressions, expected at most {MAX_EXPRESSIONS}")
        header = self._header | {
            "expressions": columns,
            "expression_names": None if self._names is None else list(self._names),
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        if len(text) > MAX_HEADER:
            raise MotionError(
                f"{self.path}: the header has {len(text)} bytes, expected at most {MAX_HEADER}; shorten names and source"
            )
        _checked_header(json.loads(text), str(self.path))
        self._frame = np.zeros((), frame_dtype(columns))
        try:
            file = self._file = open(self._part, "wb")
            file.write(_PREFIX.pack(MAGIC, SCHEMA, 0, len(text)) + text)
        except OSError as e:
            raise MotionError(f"{self._part}: cannot be written ({e.strerror or e})") from None
        return file

    def close(self) -> None:
        """Finish: the file takes its name. A recording without frames leaves no file."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(self._part, self.path)
        except OSError as e:
            raise MotionError(
                f"{self.path}: cannot be finished ({e.strerror or e}); what there is lies in {self._part}"
            ) from None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc) -> None:
        self.close()  # whatever ended it: the frames so far are whole


def write_recording(motion: Motion, path) -> None:
    """Write a clip as a recording at its own exact rate. Raises MotionError."""
    with Recorder(
        path,
        leg_length=motion.leg_length,
        fps=motion.fps,
        expression_names=motion.expression_names,
        name=motion.name,
        source="; ".join(motion.notes),
        cyclic=motion.cyclic,
        overwrite=True,
    ) as recorder:
        for i in range(motion.frames):
            recorder.append(i / motion.fps, motion.body[i], motion.pelvis[i], motion.expression[i])


@dataclass(frozen=True, eq=False)
class Recording:
    """What is in a recording. header: its JSON. frames: `frame_dtype` array [N]. cut: bytes at the end that
    are no whole frame."""

    header: dict
    frames: np.ndarray
    cut: int


def read_recording(path) -> Recording:
    """Read a .dmot file (or a .dmot.part that was cut off) and check it all. Raises MotionError naming what
    is wrong."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MotionError(f"{path}: {size / 2**30:.1f} GiB, expected at most {MAX_BYTES >> 30} GiB")
        with open(path, "rb") as file:
            prefix = file.read(_PREFIX.size)
            if len(prefix) < _PREFIX.size or prefix[:4] != MAGIC:
                raise MotionError(
                    f"{path}: not a recording, expected a file that begins with {MAGIC.decode()}"
                )
            _, schema, zero, length = _PREFIX.unpack(prefix)
            if schema != SCHEMA or zero or not 2 <= length <= MAX_HEADER:
                raise MotionError(
                    f"{path}: schema {schema}, header of {length} bytes; expected schema {SCHEMA} and at most {MAX_HEADER}"
                )
            header = _header(file.read(length), length, str(path))
            dtype = frame_dtype(header["expressions"])
            count, cut = divmod(size - _PREFIX.size - length, dtype.itemsize)
            if not 1 <= count <= MAX_FRAMES:
                raise MotionError(f"{path}: {count} whole frames, expected 1 to {MAX_FRAMES}")
            frames = np.fromfile(file, dtype, count)
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e.strerror or e})") from None
    t = frames["t"]
    bad = ~np.isfinite(t)
    bad[1:] |= ~(t[1:] > t[:-1])
    bad |= t > _MAX_SECONDS
    for key in ("pelvis", "body", "expression"):
        bad |= ~np.isfinite(frames[key]).reshape(len(t), -1).all(axis=1)
    if bad.any():
        raise MotionError(
            f"{path}: frame {int(np.argmax(bad))}: damaged (NaN, or its time is not after the one before)"
        )
    return Recording(header, frames, cut)


def load_recording(path, *, fps: float | None = None) -> Motion:
    """A recording as a clip of an even rate: its own, or, where frames came when they came, `fps`, by default
    the median of its steps.

    Raises MotionError.
    """
    r = read_recording(path)
    header, f = r.header, r.frames
    notes = []
    if r.cut:
        notes.append(f"the recording was cut off: {r.cut} bytes of a frame at its end are left out")
    names = header["expression_names"]
    motion = {
        "leg_length": header["leg_length"],
        "expression_names": None if names is None else tuple(names),
        "name": header["name"],
        "cyclic": header["cyclic"],
    }
    if header["fps"] is not None:
        whole = Motion(
            body=f["body"],
            pelvis=f["pelvis"],
            expression=f["expression"],
            fps=header["fps"],
            notes=tuple(notes),
            **motion,
        )
        return whole if fps is None else whole.resample(fps)
    t = f["t"] - f["t"][0]
    if fps is None:
        fps = round(1 / float(np.median(np.diff(t))), 1) if len(t) > 1 else 30.0
    try:
        return even_motion(t, f["body"], f["pelvis"], f["expression"], fps=fps, notes=tuple(notes), **motion)
    except MotionError as e:
        raise MotionError(f"{path}: {e}") from None


def even_motion(t, body, pelvis, expression, *, fps: float, notes=(), **fields) -> Motion:
    """Poses at uneven times t [N] seconds, ascending from 0, as a clip of even rate, by slerp; gaps are
    bridged, and noted.

    body [N,55,3], pelvis [N,3], expression [N,E]; fields: the others of Motion. Raises MotionError.
    """
    if not 0.1 <= fps <= 10_000 or t[-1] * fps > MAX_FRAMES:
        raise MotionError(
            f"{t[-1]:.0f} s at {fps:g} frames per second, expected 0.1 to 10000 and at most {MAX_FRAMES} frames"
        )
    steps = np.diff(t)
    gaps = steps > max(_GAP_SECONDS, 1.5 / fps)
    if gaps.any():
        notes = (*notes, f"{int(gaps.sum())} gaps of up to {steps.max():.1f} s are bridged")
    at = np.arange(int(t[-1] * fps + 1e-6) + 1) / fps
    i = np.clip(np.searchsorted(t, at, side="right") - 1, 0, max(len(t) - 2, 0))
    j = np.minimum(i + 1, len(t) - 1)
    w = np.clip((at - t[i]) / np.where(j > i, t[j] - t[i], 1.0), 0.0, 1.0)
    out = np.empty((len(at), 55, 3), np.float32)
    for k in range(0, len(at), 4096):
        p = slice(k, k + 4096)
        a, b = (rot.axis_angle_to_quaternion(body[x[p]]) for x in (i, j))
        out[p] = rot.quaternion_to_axis_angle(rot.slerp(a, b, w[p, None]))
    w = w[:, None]
    return Motion(
        body=out,
        pelvis=(1 - w) * pelvis[i] + w * pelvis[j],
        expression=(1 - w) * expression[i] + w * expression[j],
        fps=fps,
        notes=notes,
        **fields,
    )


def _header(text: bytes, length: int, name: str) -> dict:
    if len(text) < length:
        raise MotionError(f"{name}: ends inside its header")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise MotionError(f"{name}: the header is no JSON ({type(e).__name__})") from None
    if not isinstance(header, dict):
        raise MotionError(f"{name}: the header is a {type(header).__name__}, expected an object")
    return _checked_header(header, name)


def _checked_header(h: dict, name: str) -> dict:
    def number(value, low, high):
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    names, count = h.get("expression_names"), h.get("expressions")
    rules = {
        "format": (h.get("format") == "dinar-motion", "dinar-motion"),
        "skeleton": (h.get("skeleton") == "smplx-55", "smplx-55"),
        "up": (h.get("up") == "y", "y"),
        "units": (h.get("units") == "m", "m"),
        "leg_length": (number(h.get("leg_length"), 0.05, 10), "0.05 to 10"),
        "fps": ("fps" in h and (h["fps"] is None or number(h["fps"], 0.1, 10_000)), "0.1 to 10000 or null"),
        "name": (isinstance(h.get("name"), str), "text"),
        "source": (isinstance(h.get("source"), str), "text"),
        "cyclic": (isinstance(h.get("cyclic"), bool), "true or false"),
        "expressions": (
            isinstance(count, int) and number(count, 0, MAX_EXPRESSIONS),
            f"0 to {MAX_EXPRESSIONS}",
        ),
        "expression_names": (
            names is None
            or (isinstance(names, list) and len(names) == count and all(isinstance(n, str) for n in names)),
            "null, or one name for each expression",
        ),
    }
    for key, (good, expected) in rules.items():
        if not good:
            raise MotionError(f"{name}: header: {key}: got {str(h.get(key))[:60]!r}, expected {expected}")
    return h
