"""Moving an ankle: two-bone inverse kinematics that changes a posed leg as little as it can and keeps the
plane in which its knee bends."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot

# A straight knee bends by 6 degrees for the first millimetre and by 2 more for the second: noise. Below this
# bend, radians, a knee turns per millimetre as fast as it does here, and the ankle is a little off instead
# (by 3 mm at most with legs of 0.83 m).
EVEN = np.radians(9.0)
_LEAST = np.radians(0.5)  # a knee is not stretched further than this, unless it was
_SOFT = np.radians(3.0)  # over so much before that it gives way gently
_PLANE = 0.3  # sine of the bend below which the knee's own axis has a say in where it bends


def new_bend(bend, length_before, length, thigh: float, shank: float) -> np.ndarray:
    """Bend of the knee [N], radians, when the distance from hip to ankle shall change.

    bend [N]: as it is, radians, 0 = straight, negative = overstretched. length_before, length [N]: distances,
    metres. By the law of cosines where the knee is bent by more than `EVEN`; below, on the tangent to it there,
    so that neither a straight nor an overstretched knee snaps. The stretch ends softly (exponentially, with the
    slope kept) at `_LEAST`, or at `bend` where that is less. No change of length changes nothing.
    """

    def fold(b):
        return np.where(b > EVEN, 1 - np.cos(b), 1 - np.cos(EVEN) + np.sin(EVEN) * (b - EVEN))

    folded = fold(bend) + (length_before**2 - length**2) / (2 * thigh * shank)
    even = (folded - (1 - np.cos(EVEN))) / np.sin(EVEN) + EVEN
    wanted = np.where(even > EVEN, np.arccos(np.clip(1 - folded, -1, 1)), even)
    room = np.maximum(bend - _LEAST, 0.0)
    soft = np.minimum(_SOFT, room) + 1e-9
    less, start = bend - wanted, room - soft
    eased = start + soft * -np.expm1(-np.maximum(less - start, 0.0) / soft)
    return bend - np.where(less > start, eased, less)


def bend_sensitivity(length, thigh: float, shank: float) -> np.ndarray:
    """How fast the knee turns in `new_bend` as the ankle comes nearer, radians per metre [N]."""
    cosine = np.clip((length * length - thigh * thigh - shank * shank) / (2 * thigh * shank), -1, 1)
    return length / (thigh * shank * np.maximum(np.sqrt(1 - cosine * cosine), np.sin(EVEN)))


def move_ankle(hip_turn, knee_turn, thigh_bone, shank_bone, reach) -> tuple[np.ndarray, np.ndarray]:
    """World rotations [N,4] of hip and knee joint after the ankle has been moved.

    hip_turn, knee_turn: [N,4] world rotations of the pose. thigh_bone, shank_bone: [3] at rest, metres.
    reach: [N,3] from the hip to where the ankle shall be, metres. The knee bends further or less in the plane
    it bends in (`new_bend`), then the whole leg turns the shortest way to point at the target.
    """
    thigh, shank = rot.rotate(hip_turn, thigh_bone), rot.rotate(knee_turn, shank_bone)
    a, b = float(np.linalg.norm(thigh_bone)), float(np.linalg.norm(shank_bone))
    along, lower = thigh / a, shank / b
    # nearly straight legs have no plane: the knee's own axis, x, takes over
    axis = np.cross(along, lower) + _PLANE * rot.rotate(hip_turn, (1.0, 0.0, 0.0))
    axis = rot.unit(axis - np.einsum("ni,ni->n", axis, along)[:, None] * along)
    forward = np.cross(axis, along)
    bend = np.arctan2(np.einsum("ni,ni->n", lower, forward), np.einsum("ni,ni->n", lower, along))
    length = np.maximum(np.linalg.norm(reach, axis=-1), abs(a - b) + 0.05 * (a + b))
    further = new_bend(bend, np.linalg.norm(thigh + shank, axis=-1), length, a, b) - bend
    more = rot.axis_angle_to_quaternion(axis * further[:, None])
    turn = rot.between(thigh + rot.rotate(more, shank), reach)
    return rot.multiply(turn, hip_turn), rot.multiply(rot.multiply(turn, more), knee_turn)


def height_kept(rest, leg, joints, reach) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much higher [N] a hip must be, metres, for its knee to keep its bend; how much that matters [N]; and how
    much higher it may be at most [N] for the leg to reach.

    rest: [55,3] joints, leg: indices of hip, knee, ankle, foot; joints: [N,>=12,3] of the pose; reach: [N,3] from
    the hip of the pose to where the ankle shall be, metres.
    """
    hip, knee, ankle, _ = leg
    thigh, shank = (float(np.linalg.norm(rest[j] - rest[i])) for i, j in ((hip, knee), (knee, ankle)))
    given = np.linalg.norm(joints[:, ankle] - joints[:, hip], axis=1)
    across = np.hypot(reach[:, 0], reach[:, 2])
    same = reach[:, 1] + np.sqrt(np.maximum(given**2 - across**2, 0))
    upright = np.clip(-reach[:, 1] / given, 0, 1)
    longest = np.maximum(given, 0.9995 * (thigh + shank))
    farthest = reach[:, 1] + np.sqrt(np.maximum(longest**2 - across**2, 0))
    return same, (bend_sensitivity(given, thigh, shank) * upright) ** 2, farthest
