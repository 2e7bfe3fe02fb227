"""Legs that stand on the floor: two-bone inverse kinematics from the pelvis and planted feet, over whole
clips."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX

# a leg is never stretched further than this part of its length: a straight knee pops
_REACH = 0.997


def solve_leg(side: str, rest, pelvis, pelvis_turn, ball, foot_yaw, foot_pitch) -> dict[int, np.ndarray]:
    """World rotations [N,4] of hip, knee, ankle and foot joint of one leg.

    side: "left" or "right". rest: [55,3] rest joints. pelvis: [N,3] and pelvis_turn [N,4] of the pelvis
        joint.
    ball: [N,3] where the foot joint (ball of the foot) is to be; foot_yaw [N] radians about y, foot_pitch [N]
    radians of heel lift. The toes stay level as far as the heel is lifted. The knee points where pelvis and
    foot do.
    """
    hip, knee, ankle, foot = (JOINT_INDEX[f"{side}_{n}"] for n in ("hip", "knee", "ankle", "foot"))
    zero = np.zeros_like(foot_yaw)
    yaw = rot.axis_angle_to_quaternion(np.stack([zero, foot_yaw, zero], -1))
    foot_turn = rot.multiply(yaw, rot.axis_angle_to_quaternion(np.stack([foot_pitch, zero, zero], -1)))
    toes = rot.multiply(
        yaw, rot.axis_angle_to_quaternion(np.stack([np.minimum(foot_pitch, 0) * 0.5, zero, zero], -1))
    )
    start = pelvis + rot.rotate(pelvis_turn, rest[hip] - rest[0])
    end = ball - rot.rotate(foot_turn, rest[foot] - rest[ankle])

    thigh, shank = rest[knee] - rest[hip], rest[ankle] - rest[knee]
    a, b = np.linalg.norm(thigh), np.linalg.norm(shank)
    line = end - start
    length = np.clip(np.linalg.norm(line, axis=1), abs(a - b) * 1.01, (a + b) * _REACH)
    along = rot.unit(line)
    # forward: between where the pelvis faces and where the foot does
    forward = rot.rotate(pelvis_turn, (0.0, 0.0, 1.0)) + rot.rotate(yaw, (0.0, 0.0, 1.0))
    forward = rot.unit(forward - np.einsum("ni,ni->n", forward, along)[:, None] * along)
    cosine = (a * a + length * length - b * b) / (2 * a * length)
    sine = np.sqrt(np.maximum(1 - cosine * cosine, 0))
    upper = cosine[:, None] * along + sine[:, None] * forward
    lower = rot.unit(length[:, None] * along - a * upper)
    hinge = np.cross(forward, along)  # to the left: the knee turns about it
    return {
        hip: _carry(thigh, upper, hinge),
        knee: _carry(shank, lower, hinge),
        ankle: foot_turn,
        foot: toes,
    }


def _carry(bone, new_bone, hinge) -> np.ndarray:
    """World rotations [N,4] that carry a rest bone [3] to new_bone [N,3] and the rest hinge, x, to hinge
    [N,3]."""
    return rot.matrix_to_quaternion(rot.frame(new_bone, hinge) @ rot.frame(bone, (1.0, 0.0, 0.0)).T)
