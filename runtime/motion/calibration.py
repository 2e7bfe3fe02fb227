"""The constant turn between each joint of a foreign skeleton and its SMPL-X joint, from directions of bones.

With G_s the world rotation of a source joint and A the turn from the file's world to ours, the SMPL-X joint's
world rotation is R_j = A G_s C_j. `C_j` is found here, either from a reference pose or, where no pose of the
file can be trusted, from the bones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS

_X, _Y, _Z = np.eye(3)
_J = JOINT_INDEX
_TORSO = {_J[n] for n in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")}
_LIMBS = {_J[f"{s}_{n}"] for s in ("left", "right") for n in ("hip", "knee", "shoulder", "elbow")}
# joint that bends by a hinge below it -> that joint
_HINGED = {
    _J[f"{s}_{a}"]: _J[f"{s}_{b}"]
    for s in ("left", "right")
    for a, b in (("hip", "knee"), ("shoulder", "elbow"))
}
# SMPL-X joint whose direction from the joint is "the bone", where it is not simply the first child
_TIP = {_J["pelvis"]: _J["spine1"], _J["spine3"]: _J["neck"]} | {
    _J[f"{s}_wrist"]: _J[f"{s}_middle1"] for s in ("left", "right")
}
# Bones of hands, feet and shoulders point differently in different skeletons; they are turned only if they
# differ by more than this.
_LOOSE = np.radians(35)


@dataclass(frozen=True, eq=False)
class MovingSkeleton:
    """A skeleton in motion. source: SMPL-X joint -> its joint. world: f64[N,S,4] world rotations, y up
    already.

    bones: its joint -> f64[3] direction of the bone in the joint's own frame (absent where the file shows
        none).
    lateral: its joint -> f64[3] direction from right to left in the joint's own frame, for hips and chest.
    knuckles: its joint -> f64[3] direction from little finger to index in the hand's own frame.
    """

    source: dict[int, int]
    world: np.ndarray
    bones: dict[int, np.ndarray]
    lateral: dict[int, np.ndarray]
    knuckles: dict[int, np.ndarray]


def target_bones(rest) -> np.ndarray:
    """f64[55,3]: direction of the bone that leaves each joint; for the last of a chain, that of the bone
    before."""
    rest = np.asarray(rest, np.float64)
    out = np.zeros((len(PARENTS), 3))
    for j, p in enumerate(PARENTS):
        tip = _TIP.get(j, next((c for c, q in enumerate(PARENTS) if q == j), None))
        out[j] = rest[tip] - rest[j] if tip is not None else out[p]
    out[_J["head"]] = _Y
    return rot.unit(out)


def hinge_axis(joint: int) -> np.ndarray:
    """The SMPL-X direction about which the knee or elbow below `joint` (and the joint itself, by convention)
    bends in the T-pose."""
    name = JOINT_NAMES[joint]
    if any(part in name for part in ("shoulder", "elbow", "wrist", "collar")):
        return -_Y if name.startswith("left") else _Y
    return _Z if joint >= 25 else _X


def from_reference(s: MovingSkeleton, reference: np.ndarray, target: np.ndarray) -> dict[int, np.ndarray]:
    """C [4] of each mapped joint from one upright pose: world rotations [S,4] of the source, facing +z.

    Trunk, head and feet keep their orientation, so that an upright source stands upright; arms and legs are
    turned by the smallest rotation, parents first, until they lie along the source's.
    """
    pose = np.tile((1.0, 0.0, 0.0, 0.0), (len(PARENTS), 1))
    out = {}
    inner = {PARENTS[j] for j in s.source}  # an End Site beyond the last joint of a chain is often a dummy
    for j, p in enumerate(PARENTS):
        upright = j in _TORSO or JOINT_NAMES[j].endswith("ankle") or JOINT_NAMES[j].endswith("collar")
        pose[j] = pose[j] if upright else pose[p]
        if j not in s.source:
            continue
        k = s.source[j]
        if j not in _TORSO and j in inner and k in s.bones:
            now, wanted = rot.rotate(pose[j], target[j]), rot.rotate(reference[k], s.bones[k])
            if j in _LIMBS or now @ wanted < np.cos(_LOOSE):
                pose[j] = rot.multiply(rot.between(now, wanted), pose[j])
        out[j] = rot.multiply(rot.conjugate(reference[k]), pose[j])
    return out


def from_bones(
    s: MovingSkeleton, target: np.ndarray, only=None, known: dict[int, np.ndarray] | None = None
) -> dict[int, np.ndarray]:
    """C [4] of each mapped joint (or those in `only`; `known` gives the others) without any reference pose.

    The bone gives two of the three angles. Roll about it comes from a second direction: the line of hips,
    shoulders or knuckles, the hinge below, or, if there is none, from the rule that over the clip a joint is
    not twisted against its parent.
    """
    out = dict(known or {})
    turned: dict[int, np.ndarray] = {}  # R of the joints so far
    for j, p in enumerate(PARENTS):
        if j not in s.source:
            if p >= 0 and p in turned:
                turned[j] = turned[p]
            continue
        k = s.source[j]
        if only is None or j in only:
            out[j] = _from_bone(s, j, k, target, turned.get(p))
        turned[j] = rot.multiply(s.world[:, k], out[j])
    return out


def _from_bone(
    s: MovingSkeleton, j: int, k: int, target: np.ndarray, parent: np.ndarray | None
) -> np.ndarray:
    bone = s.bones.get(k)
    aim, side = (_Y if j in _TORSO else target[j]), (_X if j in _TORSO else hinge_axis(j))
    if j == _J["head"] and bone is not None and bone @ _mean_direction(s, k, parent, aim) < np.cos(_LOOSE):
        bone = None  # an End Site that does not point out of the head
    if bone is None:  # nothing to see: as the parent, on average
        first = _mean_direction(s, k, parent, aim)
        second = _mean_direction(s, k, parent, side)
    else:
        first = bone
        second = s.lateral.get(k)
        if second is not None:  # the line of hips or shoulders is the surer of the two
            return _align(side, aim, second, bone)
        if k in s.knuckles:
            second, side = s.knuckles[k], _Z
        elif j in _HINGED and _HINGED[j] in s.source:
            second, strength = clip_hinge(s, j)
            second = second if strength > 0 else None
        if second is None:
            second = _mean_direction(s, k, parent, side)
    return _align(aim, side, first, second)


def _align(aim, side, first, second) -> np.ndarray:
    """The rotation [4] that carries aim to first exactly and side as near to second as it can."""
    return rot.matrix_to_quaternion(rot.frame(first, second) @ rot.frame(aim, side).T)


def _mean_direction(s: MovingSkeleton, k: int, parent: np.ndarray | None, direction) -> np.ndarray:
    """Where a direction of the parent's SMPL-X joint lies in the frame of source joint k, on average over the
    clip."""
    there = np.asarray(direction) if parent is None else rot.rotate(parent, direction)
    return rot.unit(rot.rotate(rot.conjugate(s.world[:, k]), there).mean(axis=0))


def clip_hinge(s: MovingSkeleton, j: int) -> tuple[np.ndarray, float]:
    """The axis [3], in the frame of joint j's source, about which the joint below bends over the clip, and
    how sure it is (0..1).

    Elbows and knees bend one way, so the cross products of the two bones add up; 0 means that the clip does
    not bend them enough.
    """
    k, below = s.source[j], s.source[_HINGED[j]]
    if k not in s.bones or below not in s.bones:
        return np.zeros(3), 0.0
    here = rot.rotate(rot.conjugate(s.world[:, k]), rot.rotate(s.world[:, below], s.bones[below]))
    axes = np.cross(s.bones[k], here)
    sine = np.linalg.norm(axes, axis=1)
    bent = sine > 0.25
    if bent.sum() < max(1, 0.03 * len(sine)):
        return np.zeros(3), 0.0
    total = axes[bent].sum(axis=0)
    sure = float(np.linalg.norm(total) / sine[bent].sum())
    return rot.unit(total), sure if sure > 0.7 else 0.0


def roll_error(s: MovingSkeleton, j: int, calibration: np.ndarray) -> float:
    """Angle about the bone, radians, from where `calibration` [4] puts the hinge below j to where the clip
    bends; 0 if unknown."""
    axis, sure = clip_hinge(s, j)
    if not sure:
        return 0.0
    bone = s.bones[s.source[j]]
    placed = rot.rotate(calibration, hinge_axis(j))
    a, b = (rot.unit(v - (v @ bone) * bone) for v in (placed, axis))
    return float(np.arctan2(np.cross(a, b) @ bone, a @ b))
