"""Both legs of one pose at a time: what `foot_legs` computes over clips, in a tenth of the calls, for live sources."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot

from . import kinematics, leg_ik
from .foot_contacts import BALL, HEEL, foot_marks
from .foot_legs import LEGS, LOWER

_HIPS, _KNEES, _ANKLES, _FEET = (list(joints) for joints in zip(*LEGS, strict=True))
_STANDING = np.tile((1.0, 0.0, 0.0, 0.0), (1, len(LOWER), 1))


class LegPair:
    """The legs of one skeleton: rest [55,3] joints, metres; sole: y of its soles at rest, or None.

    Poses are given as root: the world rotation [4] and place [3] of the pelvis, and local: quaternions [12,4] of the
    lower body; changes [2,3,4] turn hip, knee and ankle of both legs further, in their own frames.
    """

    def __init__(self, rest: np.ndarray, sole: float | None):
        self._hips = rest[_HIPS] - rest[0]
        self._bones = [rest[b] - rest[a] for a, b in ((_HIPS, _KNEES), (_KNEES, _ANKLES), (_ANKLES, _FEET))]
        at_rest = rest[None, :12]
        heels = foot_marks(at_rest, _STANDING, rest, sole)[0, :, HEEL]
        self._heels = heels - rest[_ANKLES]
        corners = kinematics.foot_points(_STANDING, rest, rest[None, 0], sole)[0].reshape(2, -1, 3)
        ankle, foot = np.split(corners, 2, axis=1)  # carried by the ankle, by the foot joint
        self._corners = ankle - rest[_ANKLES][:, None], foot - rest[_FEET][:, None]

    def feet(self, root, local, changes) -> tuple[np.ndarray, np.ndarray]:
        """The marks [2,2,3] (`foot_marks`) and the height [2] of the lowest point of each sole."""
        turn, place = root
        world, turns = np.broadcast_to(turn, (2, 4)), []
        for i, joints in enumerate((_HIPS, _KNEES, _ANKLES)):
            world = rot.multiply(world, rot.multiply(local[joints], changes[:, i]))
            turns.append(world)
        turns.append(rot.multiply(world, local[_FEET]))
        hip, knee, ankle, foot = rot.quaternion_to_matrix(np.stack(turns))  # each [2,3,3]
        at = place + self._hips @ rot.quaternion_to_matrix(turn).T
        for matrix, bone in zip((hip, knee), self._bones, strict=False):
            at = at + np.einsum("sij,sj->si", matrix, bone)
        ball = at + np.einsum("sij,sj->si", ankle, self._bones[2])
        marks = np.empty((2, 2, 3))
        marks[:, HEEL] = at + np.einsum("sij,sj->si", ankle, self._heels)
        marks[:, BALL] = ball
        of_ankle = at[:, 1] + np.einsum("sj,scj->sc", ankle[:, 1], self._corners[0]).min(axis=1)
        of_foot = ball[:, 1] + np.einsum("sj,scj->sc", foot[:, 1], self._corners[1]).min(axis=1)
        return marks, np.minimum(of_ankle, of_foot)

    def reaching(self, root_turn, local, side: int, change, turn, reach) -> np.ndarray:
        """Changes [3,4] of a leg that turn its foot by `turn` [4], in the world, and put its ankle at `reach` [3] from
        the hip, or, where reach is a number, so much higher; by bending the leg that `change` [3,4] makes."""
        joints = local[list(LEGS[side][:3])]
        hip = rot.multiply(root_turn, rot.multiply(joints[0], change[0]))
        knee = rot.multiply(hip, rot.multiply(joints[1], change[1]))
        ankle = rot.multiply(turn, rot.multiply(knee, rot.multiply(joints[2], change[2])))
        thigh, shank = self._bones[0][side], self._bones[1][side]
        if np.ndim(reach) == 0:
            up = np.array((0.0, float(reach), 0.0))
            reach = rot.rotate(hip, thigh) + rot.rotate(knee, shank) + up
        moved = leg_ik.move_ankle(hip[None], knee[None], thigh, shank, np.asarray(reach)[None])
        after = np.stack([moved[0][0], moved[1][0], ankle])
        new = rot.multiply(rot.conjugate(np.stack([root_turn, after[0], after[1]])), after)
        return rot.multiply(rot.conjugate(joints), new)
