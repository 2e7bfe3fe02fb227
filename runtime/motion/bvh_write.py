"""Motion as a BVH file: the 55 joints of SMPL-X under their own names, T-pose at rest, y up."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_NAMES, PARENTS

from . import kinematics
from . import reference_body as ref
from .motion import Motion

UNITS = {"m": 1.0, "cm": 100.0}
# Where a chain ends, its last bone goes on by this much, metres: there is no further joint that would say so.
_HEAD, _TOES, _TIP = (0.0, 0.18, 0.0), (0.0, 0.0, 0.07), 0.6


def write_bvh(motion: Motion, path, *, rig_joints=None, unit: str = "cm") -> None:
    """Write a clip as BVH. The file appears whole or not at all.

    rig_joints: [55,3] rest joints, metres, of the skeleton in the file; the open body's, at the size the clip
        was made for, by default.
    The path is scaled to its legs. unit: "cm", as most programs take BVH, or "m"; the format has no place to
    say which. Expressions have no place in BVH and are left out. Raises MotionError.
    """
    if unit not in UNITS:
        raise MotionError(f"unit: got {unit!r}, expected {' or '.join(UNITS)}")
    rest = ref.rest_joints() if rig_joints is None else np.asarray(rig_joints, np.float64)
    if rest.shape != (55, 3) or not np.isfinite(rest).all():
        raise MotionError(f"rig_joints: got shape {list(rest.shape)}, expected [55, 3] finite numbers")
    leg = kinematics.leg_length(rest)
    if rig_joints is None:
        rest = rest * (motion.leg_length / leg)
        leg = motion.leg_length
    with replacing(path) as file:
        file.writelines(
            line + "\n" for line in _lines(motion, rest * UNITS[unit], UNITS[unit] * leg / motion.leg_length)
        )


class replacing:
    """Opens a file that takes the place of `path` when the block ends well, and leaves no trace when not.
    Raises MotionError."""

    def __init__(self, path, mode: str = "w"):
        self.path = Path(path)
        self.mode = mode

    def __enter__(self):
        try:
            text = "b" not in self.mode
            self._file = tempfile.NamedTemporaryFile(
                self.mode,
                encoding="ascii" if text else None,
                newline="\n" if text else None,
                dir=self.path.parent,
                prefix=f".{self.path.name}.",
                delete=False,
            )
        except OSError as e:
            raise MotionError(f"{self.path}: cannot be written ({e.strerror or e})") from None
        return self._file

    def __exit__(self, kind, error, _):
        temporary = Path(self._file.name)
        try:
            self._file.close()
            if kind is None:
                temporary.chmod(0o644)
                os.replace(temporary, self.path)
        except OSError as e:
            kind, error = OSError, e
        finally:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise MotionError(f"{self.path}: cannot be written ({error.strerror or error})") from None


def _lines(motion: Motion, rest: np.ndarray, scale: float) -> Iterator[str]:
    order: list[int] = []  # joints as the hierarchy nests them, which is how the channels follow each other
    yield "HIERARCHY"
    yield from _joint(0, 0, rest, order)
    yield "MOTION"
    yield f"Frames: {motion.frames}"
    yield f"Frame Time: {1 / motion.fps:.9f}"
    for start in range(0, motion.frames, 1024):
        part = slice(start, start + 1024)
        turns = np.degrees(rot.quaternion_to_euler_zxy(rot.axis_angle_to_quaternion(motion.body[part])))[
            :, order
        ]
        places = motion.pelvis[part].astype(np.float64) * scale
        for row in np.concatenate([places, turns.reshape(len(turns), -1)], axis=1):
            yield " ".join(f"{x:.5f}" for x in row)


def _joint(j: int, depth: int, rest: np.ndarray, order: list[int]) -> Iterator[str]:
    pad = "  " * depth
    order.append(j)
    p = PARENTS[j]
    offset = (
        np.zeros(3) if p < 0 else rest[j] - rest[p]
    )  # zero: some readers add the root's offset to its path, others do not
    yield f"{pad}{'ROOT' if p < 0 else 'JOINT'} {JOINT_NAMES[j]}"
    yield f"{pad}{{"
    yield f"{pad}  OFFSET {_row(offset)}"
    place = "6 Xposition Yposition Zposition" if p < 0 else "3"
    yield f"{pad}  CHANNELS {place} Zrotation Xrotation Yrotation"
    children = [c for c, q in enumerate(PARENTS) if q == j]
    for child in children:
        yield from _joint(child, depth + 1, rest, order)
    if not children:
        yield from (
            f"{pad}  End Site",
            f"{pad}  {{",
            f"{pad}    OFFSET {_row(_end(j, offset, rest))}",
            f"{pad}  }}",
        )
    if JOINT_NAMES[j] == "head":
        yield from (
            f"{pad}  End Site",
            f"{pad}  {{",
            f"{pad}    OFFSET {_row(np.array(_HEAD) * _metre(rest))}",
            f"{pad}  }}",
        )
    yield f"{pad}}}"


def _metre(rest: np.ndarray) -> float:
    """File units per metre of the open body."""
    return kinematics.leg_length(rest) / kinematics.leg_length(ref.rest_joints())


def _end(j: int, offset: np.ndarray, rest: np.ndarray) -> np.ndarray:
    if JOINT_NAMES[j].endswith("foot"):
        return np.array(_TOES) * _metre(rest)
    return offset * _TIP


def _row(values) -> str:
    return " ".join(f"{x:.6f}" for x in values)
