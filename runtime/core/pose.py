"""Pose: what an avatar does in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .short_repr import short_repr
from .validate import checked

JOINTS = 55
MAX_ANGLE = 4 * np.pi


@dataclass(frozen=True, eq=False)
class Pose:
    """One SMPL-X pose. Arrays are copied, checked and read-only.

    body: [55,3] axis-angle in radians, SMPL-X joint order, hands absolute (flat_hand_mean=True).
    transl: [3] metres; the pelvis stands at rest joint 0 + transl.
    expression: [E] coefficients in the avatar's expression space; fewer than the avatar has means zeros for
    the rest. Raises InputError, naming the field.
    """

    body: np.ndarray = field(default_factory=lambda: np.zeros((JOINTS, 3), np.float32))
    transl: np.ndarray = field(default_factory=lambda: np.zeros(3, np.float32))
    expression: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    __repr__ = short_repr

    def __post_init__(self):
        object.__setattr__(self, "body", checked("Pose.body", self.body, (JOINTS, 3), MAX_ANGLE))
        object.__setattr__(self, "transl", checked("Pose.transl", self.transl, (3,), 1e4))
        object.__setattr__(self, "expression", checked("Pose.expression", self.expression, (-1,), 100.0))
