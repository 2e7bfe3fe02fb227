"""Pose: what an avatar does in one frame."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError

JOINTS = 55
MAX_ANGLE = 4 * np.pi


def checked(name: str, value, shape: tuple[int, ...], limit: float = np.inf) -> np.ndarray:
    """`value` as a read-only float32 array of `shape` (-1 = any), finite and within +-limit; else InputError naming `name`."""
    try:
        array = np.array(value, dtype=np.float32, copy=True, order="C")
    except (TypeError, ValueError) as e:
        raise InputError(f"{name}: not an array of numbers ({e})") from None
    if array.ndim != len(shape) or any(s not in (-1, n) for s, n in zip(shape, array.shape, strict=True)):
        expected = "[" + ",".join("n" if s < 0 else str(s) for s in shape) + "]"
        raise InputError(f"{name}: got shape {list(array.shape)}, expected {expected}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds NaN or infinite values, expected finite numbers")
    if array.size and np.abs(array).max() > limit:
        raise InputError(f"{name}: got a value of {np.abs(array).max():g}, expected at most {limit:g} in magnitude")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Pose:
    """One SMPL-X pose. Arrays are copied, checked and read-only.

    body: [55,3] axis-angle in radians, SMPL-X joint order, hands absolute (flat_hand_mean=True).
    transl: [3] metres; the pelvis stands at rest joint 0 + transl.
    expression: [E] coefficients in the avatar's expression space; fewer than the avatar has means zeros for the rest.
    Raises InputError, naming the field.
    """

    body: np.ndarray = field(default_factory=lambda: np.zeros((JOINTS, 3), np.float32))
    transl: np.ndarray = field(default_factory=lambda: np.zeros(3, np.float32))
    expression: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self):
        object.__setattr__(self, "body", checked("Pose.body", self.body, (JOINTS, 3), MAX_ANGLE))
        object.__setattr__(self, "transl", checked("Pose.transl", self.transl, (3,), 1e4))
        object.__setattr__(self, "expression", checked("Pose.expression", self.expression, (-1,), 100.0))
