"""Forward kinematics of the 55-joint skeleton over whole clips, and the measures that retargeting needs."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX, PARENTS

# The foot joint (ball of the foot) stands this far above the sole, in leg lengths (0.028 m on the open body).
_SOLE_BELOW_BALL = 0.033
# Corners of the left sole, measured on the open body: joint that carries the corner, x (outwards) and z from
# it, in leg lengths.
_SOLE = (
    ("ankle", -0.034, -0.052),
    ("ankle", 0.040, -0.050),
    ("ankle", -0.050, 0.135),
    ("ankle", 0.064, 0.130),
    ("foot", -0.050, 0.0),
    ("foot", 0.062, 0.0),
    ("foot", -0.050, 0.055),
    ("foot", 0.022, 0.060),
)


def global_rotations(local, parents=PARENTS) -> np.ndarray:
    """Local quaternions [N,J,4] -> quaternions [N,J,4] from each joint's frame to the world; parents come
    before children."""
    local = np.asarray(local, np.float64)
    out = np.empty_like(local)
    for j, p in enumerate(parents):
        out[:, j] = local[:, j] if p < 0 else rot.multiply(out[:, p], local[:, j])
    return out


def local_rotations(world, parents=PARENTS) -> np.ndarray:
    """The inverse of `global_rotations`: world quaternions [N,J,4] -> local quaternions [N,J,4]."""
    world = np.asarray(world, np.float64)
    parents = np.asarray(parents)
    child = parents >= 0
    out = world.copy()
    out[:, child] = rot.multiply(rot.conjugate(world[:, parents[child]]), world[:, child])
    return out


def joint_positions(world, rest, root, parents=PARENTS) -> np.ndarray:
    """World quaternions [N,J,4], rest joints [J,3] and root positions [N,3] -> joint positions [N,J,3]."""
    rest = np.asarray(rest, np.float64)
    out = np.empty((len(world), len(rest), 3))
    for j, p in enumerate(parents):
        out[:, j] = root if p < 0 else out[:, p] + rot.rotate(world[:, p], rest[j] - rest[p])
    return out


def leg_length(rest) -> float:
    """Thigh + shank in the units of the rest joints [55,3], mean of left and right."""
    rest = np.asarray(rest, np.float64)
    lengths = [
        np.linalg.norm(rest[JOINT_INDEX[f"{side}_{a}"]] - rest[JOINT_INDEX[f"{side}_{b}"]])
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(sum(lengths) / 2)


def foot_points(world, rest, root, sole: float | None = None) -> np.ndarray:
    """Places [N,16,3] of the corners of both soles (left, then right: heels, balls, toes) over a clip.

    sole: y of the soles in the rest pose, metres; by default a fixed part of the leg below the foot joints.
    """
    rest = np.asarray(rest, np.float64)
    leg = leg_length(rest)
    joints = joint_positions(world[:, :12], rest[:12], root, PARENTS[:12])  # pelvis, legs and feet come first
    out = np.empty((len(world), 2 * len(_SOLE), 3))
    corners = [
        (f"{side}_{part}", sign * x, z) for side, sign in (("left", 1), ("right", -1)) for part, x, z in _SOLE
    ]
    for i, (name, x, z) in enumerate(corners):
        joint = JOINT_INDEX[name]
        floor = (
            sole
            if sole is not None
            else rest[JOINT_INDEX[name.replace("ankle", "foot")], 1] - _SOLE_BELOW_BALL * leg
        )
        out[:, i] = joints[:, joint] + rot.rotate(
            world[:, joint], np.array((x * leg, floor - rest[joint, 1], z * leg))
        )
    return out


def lowest_foot(world, rest, root, sole: float | None = None) -> np.ndarray:
    """Height [N] of the lowest point of both soles over a clip; `sole` as for `foot_points`."""
    return foot_points(world, rest, root, sole)[..., 1].min(axis=1)
