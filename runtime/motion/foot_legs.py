"""The lower body as the foot lock sees it: joints, marks and soles of a clip on one skeleton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX

from . import kinematics, leg_ik
from .foot_contacts import foot_marks
from .motion import Motion

LOWER = kinematics.PARENTS[:12]
"""Parents of the pelvis, the legs, the feet and what lies between them in the order of joints."""
LEGS = tuple(
    tuple(JOINT_INDEX[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot"))
    for side in ("left", "right")
)


@dataclass(frozen=True)
class Legs:
    """What the lock works on: the lower body of a clip on one skeleton, metres.

    rest: [55,3] joints. world: [N,12,4] quaternions. pelvis: [N,3]. sole: y of the soles at rest, or None.
    """

    rest: np.ndarray
    world: np.ndarray
    pelvis: np.ndarray
    sole: float | None = None

    def joints(self) -> np.ndarray:
        """Positions [N,12,3]."""
        return kinematics.joint_positions(self.world, self.rest[:12], self.pelvis, LOWER)

    def marks(self) -> np.ndarray:
        """`foot_marks` [N,2,2,3]."""
        return foot_marks(self.joints(), self.world, self.rest, self.sole)

    def soles(self) -> np.ndarray:
        """Height [N,2] of the lowest point of each sole."""
        points = kinematics.foot_points(self.world, self.rest, self.pelvis, self.sole)
        return points[..., 1].reshape(len(points), 2, -1).min(axis=2)


def legs_of(motion: Motion, rest: np.ndarray, sole: float | None = None) -> Legs:
    """The lower body of a clip on the skeleton rest [55,3], its path scaled to it as `for_avatar` does."""
    world = kinematics.global_rotations(motion.quaternions[:, :12], LOWER)
    scale = kinematics.leg_length(rest) / motion.leg_length
    return Legs(rest, world, motion.pelvis.astype(np.float64) * scale, sole)


def stepped(rest: np.ndarray, world: np.ndarray, side: int, reach: np.ndarray) -> np.ndarray:
    """World rotations [N,12,4] after the ankle of a leg has been put at `reach` [N,3] from its hip; the foot's own
    are kept."""
    hip, knee, ankle, _ = LEGS[side]
    out = world.copy()
    out[:, hip], out[:, knee] = leg_ik.move_ankle(
        world[:, hip], world[:, knee], rest[knee] - rest[hip], rest[ankle] - rest[knee], reach
    )
    return out


def added_turns(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How much more, or otherwise, joints turn from frame to frame than before: radians [N-1,2] for each leg,
    the most of hip, knee and ankle. before, after: world quaternions [N,12,4]."""
    change = rot.multiply(
        rot.conjugate(kinematics.local_rotations(before, LOWER)),
        kinematics.local_rotations(after, LOWER),
    )
    step = rot.multiply(rot.conjugate(change[:-1]), change[1:])
    angle = 2 * np.arctan2(np.linalg.norm(step[..., 1:], axis=-1), np.abs(step[..., 0]))
    return np.stack([angle[:, list(side[:3])].max(axis=1) for side in LEGS], axis=1)
