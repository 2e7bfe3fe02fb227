"""VRM humanoids (Unity's HumanBodyBones, local transforms) -> SMPL-X.

With L the local rotation that a bone has and C the constant turn between its frame and its SMPL-X joint
(`calibration`), a joint's local rotation is C_parent^-1 L C: no forward kinematics in a frame. C comes from
the model's rest pose where that is all identity (VRM 0, or normalised bones), and from a T-pose that the
performer takes where it is not (VRM 1, original bones).
"""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX, PARENTS
from dinar_live.runtime.motion import calibration, kinematics
from dinar_live.runtime.motion import reference_body as ref

_J = JOINT_INDEX
ROOT = len(PARENTS)  # the row of the model's root, after those of the joints
_REST = ref.rest_joints()
_TARGET = calibration.target_bones(_REST)
LEG = kinematics.leg_length(_REST)
_PARENTS = np.array(PARENTS)
_HIPS = [_J["left_hip"], _J["right_hip"]]
_HIP_CENTRE = _REST[_HIPS].mean(axis=0) - _REST[0]
_IDENTITY = np.array((1.0, 0.0, 0.0, 0.0))
_, _Y, _Z = np.eye(3)
# A bone that lies like ours within this shows a normalised skeleton; a T-pose may be so far off.
_NORMALISED, _T_POSE = np.cos(np.radians(35)), np.cos(np.radians(30))
# VRM's T-pose has the thumbs half way between sideways and forward (VRMC_vrm-1.0, tpose.md). For senders that
# give no bone positions.
_THUMBS = {
    _J[f"{side}_thumb1"]: rot.between(_TARGET[_J[f"{side}_thumb1"]], (sign, 0.0, 1.0))
    for side, sign in (("left", 1.0), ("right", -1.0))
}
_LIMBS = [
    _J[f"{side}_{joint}"] for side in ("left", "right") for joint in ("hip", "knee", "shoulder", "elbow")
]
# joint -> the one its bone points at, where that is not the first child
_TIPS = {_J["pelvis"]: _J["spine1"], _J["spine3"]: _J["neck"]} | {
    _J[f"{s}_wrist"]: _J[f"{s}_middle1"] for s in ("left", "right")
}
# Local turns, degrees, that a standing, sitting or dancing body stays below where its bones are unturned in the
# T-pose.
_ALWAYS_BELOW = {_J[name]: 65.0 for name in ("spine1", "spine2", "spine3", "neck", "head")} | {
    _J[f"{side}_{joint}"]: limit
    for side in ("left", "right")
    for joint, limit in (("collar", 60.0), ("hip", 140.0), ("ankle", 85.0), ("wrist", 110.0))
}
_CHILDREN = [[c for c, p in enumerate(PARENTS) if p == j] for j in range(len(PARENTS))]


def _bones() -> dict[bytes, int]:
    """Unity's names in lower case -> SMPL-X joint. The trees are the same, bone by bone."""
    names = {
        "hips": "pelvis",
        "spine": "spine1",
        "chest": "spine2",
        "upperchest": "spine3",
        "neck": "neck",
        "head": "head",
        "jaw": "jaw",
    }
    limbs = {
        "upperleg": "hip",
        "lowerleg": "knee",
        "foot": "ankle",
        "toes": "foot",
        "shoulder": "collar",
        "upperarm": "shoulder",
        "lowerarm": "elbow",
        "hand": "wrist",
        "eye": "eye",
    }
    fingers = {"index": "index", "middle": "middle", "little": "pinky", "ring": "ring", "thumb": "thumb"}
    for side in ("left", "right"):
        names |= {side + bone: f"{side}_{joint}" for bone, joint in limbs.items()}
        for bone, joint in fingers.items():
            names |= {
                f"{side}{bone}{part}": f"{side}_{joint}{i}"
                for i, part in enumerate(("proximal", "intermediate", "distal"), 1)
            }
    return {bone.encode(): _J[joint] for bone, joint in names.items()}


BONES = _bones()


def from_unity(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unity's transforms f64[n,7] (position, quaternion xyzw; left-handed) -> positions [n,3], quaternions
    [n,4] (w, x, y, z), ours."""
    quaternions = values[:, [6, 3, 4, 5]] * (1.0, 1.0, -1.0, -1.0)
    quaternions /= np.sqrt(np.einsum("ni,ni->n", quaternions, quaternions))[:, None]
    return values[:, :3] * (-1.0, 1.0, 1.0), quaternions


class Humanoid:
    """One performer's skeleton and how its bones turn into SMPL-X joints.

    positions: f64[56,3] local positions, metres; rotations: f64[56,4] local quaternions, of the frame it is
        made from; row 55 is the root.
    present: bool[55], which bones the performer sends.
    """

    def __init__(self, positions: np.ndarray, rotations: np.ndarray, present: np.ndarray):
        self.present = present.copy()
        self._absent = np.flatnonzero(~present)
        self._positions = np.where(present[:, None], positions[:ROOT], 0.0)
        self._rotations = np.where(present[:, None], rotations[:ROOT], _IDENTITY)
        self._root = positions[ROOT], rotations[ROOT]
        self._bones = self._find_bones()
        self.turns = np.tile(_IDENTITY, (ROOT, 1))  # C
        lengths = np.linalg.norm(self._positions, axis=1)
        legs = [lengths[_J[f"{s}_{j}"]] for s in ("left", "right") for j in ("knee", "ankle")]
        if min(legs) > 0.02:
            self.scale = LEG / (sum(legs) / 2)
        else:  # no bone positions: by the height of the hips
            hips = (self._positions[0] + self._root[0])[1]
            self.scale = (_REST[0, 1] - ref.SOLE) / hips if hips > 0.2 else 1.0
        # the middle of the hip joints, in the frame of the hips and in our pelvis'
        self._centre = self._positions[_HIPS].mean(axis=0) if present[_HIPS].all() else None
        self._our_centre = _HIP_CENTRE if self._centre is not None else np.zeros(3)

    def _find_bones(self) -> dict[int, np.ndarray]:
        """Joint -> direction of its bone in its own frame, where the performer sends positions."""
        bones = {}
        for j in range(ROOT):
            tip, way = j, np.zeros(3)
            while self.present[j]:
                tip = _TIPS.get(tip, _CHILDREN[tip][0] if _CHILDREN[tip] else None)
                if tip is None:
                    break
                if self.present[tip]:
                    way = self._positions[tip]
                    break
            if np.linalg.norm(way) > 1e-3:
                bones[j] = rot.unit(way)
        return bones

    @property
    def positioned(self) -> bool:
        """Whether the performer sends where its limbs are, which a look at its pose needs."""
        return all(a in self._bones for a in _LIMBS)

    @property
    def blind(self) -> bool:
        """Whether no positions are sent at all, so that axes of the bones' own cannot be measured."""
        return not self._bones

    @property
    def twisted(self) -> bool:
        """Whether bones are turned as no body turns: they have axes of their own."""
        sent = [(j, limit) for j, limit in _ALWAYS_BELOW.items() if self.present[j]]
        return any(abs(self._rotations[j, 0]) < np.cos(np.radians(limit) / 2) for j, limit in sent)

    @property
    def normalised(self) -> bool:
        """Whether the limbs lie like ours when no bone is turned, so that the rest pose is all identity. True
        where it cannot be seen."""
        return all(self._bones[a] @ _TARGET[a] > _NORMALISED for a in _LIMBS if a in self._bones)

    def t_pose_faults(self) -> list[str]:
        """What keeps the frame from being a T-pose, in plain words; empty if it is one or if the bones'
        positions are not known."""
        if not self.positioned:
            return []
        world = self._world(self._rotations)
        up, left = self._up_and_left(world)
        if up @ _Y < _T_POSE:
            return ["the body leans"]
        faults = []
        for side, sign in (("left", 1.0), ("right", -1.0)):
            arm = rot.rotate(world[_J[f"{side}_shoulder"]], self._bones[_J[f"{side}_shoulder"]])
            forearm = rot.rotate(world[_J[f"{side}_elbow"]], self._bones[_J[f"{side}_elbow"]])
            leg = rot.rotate(world[_J[f"{side}_hip"]], self._bones[_J[f"{side}_hip"]])
            if arm @ (sign * left) < _T_POSE or forearm @ (sign * left) < _T_POSE:
                faults.append(f"the {side} arm is not stretched out to the side")
            if leg @ -_Y < _T_POSE:
                faults.append(f"the {side} leg is not straight down")
        return faults

    def use_rest(self) -> Humanoid:
        """Calibrates for bones that are identity in the model's T-pose."""
        self._use(np.tile(_IDENTITY, (ROOT, 1)), _IDENTITY)
        return self

    def use_pose(self) -> Humanoid:
        """Calibrates with this frame as the T-pose (or near it: arms and legs are measured), whichever way it
        faces."""
        world = self._world(self._rotations)
        forward = (
            np.cross(self._up_and_left(world)[1], _Y) if self.positioned else rot.rotate(self._root[1], _Z)
        )
        yaw = np.arctan2(forward[0], forward[2])
        self._use(world, rot.axis_angle_to_quaternion((0.0, yaw, 0.0)))
        return self

    def _use(self, world: np.ndarray, facing: np.ndarray) -> None:
        reference = rot.multiply(rot.conjugate(facing), world)
        source = {j: j for j in range(ROOT) if self.present[j]}
        skeleton = calibration.MovingSkeleton(source, world[None], self._bones, {}, {})
        found = calibration.from_reference(skeleton, reference, _TARGET)
        for j, thumb in _THUMBS.items():
            if j not in self._bones:
                found |= {k: rot.multiply(found[k], thumb) for k in (j, j + 1, j + 2) if k in found}
        turns = np.tile(_IDENTITY, (ROOT, 1))
        for j, p in enumerate(PARENTS):
            turns[j] = found[j] if j in found else (turns[p] if p >= 0 else _IDENTITY)
        self.turns = turns
        self._parent_turns = rot.conjugate(np.concatenate([[_IDENTITY], turns[_PARENTS[1:]]]))

    def _world(self, local: np.ndarray) -> np.ndarray:
        local = local.copy()
        local[0] = rot.multiply(self._root[1], local[0])
        return kinematics.global_rotations(local[None])[0]

    def _up_and_left(self, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Directions of the trunk and, on the ground, of the line of the hips, in the world."""
        positions = np.zeros((ROOT, 3))
        for j, p in enumerate(PARENTS[1:], 1):
            positions[j] = positions[p] + rot.rotate(world[p], self._positions[j])
        left = positions[_HIPS[0]] - positions[_HIPS[1]]
        shoulders = positions[_J["left_shoulder"]] + positions[_J["right_shoulder"]]
        return rot.unit(shoulders - positions[_HIPS].sum(axis=0)), rot.unit(left * (1, 0, 1))

    def retarget(self, positions: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A frame of the performer, as in the constructor -> body f32[55,3] and pelvis f32[3], metres, for
        legs as long as `LEG`."""
        local = np.where(self.present[:, None], rotations[:ROOT], _IDENTITY)
        local[0] = hips = rot.multiply(rotations[ROOT], local[0])
        q = rot.multiply(self._parent_turns, rot.multiply(local, self.turns))
        at = positions[ROOT] + _turned(rotations[ROOT], positions[0] * self.present[0])
        if self._centre is not None:
            at += _turned(hips, self._centre)
        # the hip joints, not the root, are what both skeletons have in the same place
        pelvis = at * self.scale - _turned(q[0], self._our_centre)
        body = rot.quaternion_to_axis_angle(q).astype(np.float32)
        body[self._absent] = 0.0  # exactly, not 1e-17
        return body, pelvis.astype(np.float32)


def _turned(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """One vector turned by one quaternion: numpy's cross product alone takes longer than all of this."""
    w, x, y, z = quaternion.tolist()
    a, b, c = vector.tolist()
    tx, ty, tz = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return np.array(
        (a + w * tx + y * tz - z * ty, b + w * ty + z * tx - x * tz, c + w * tz + x * ty - y * tx)
    )


class Stillness:
    """Tells when a performer has stood still: rotations within `limit` radians for `seconds`."""

    def __init__(self, seconds: float = 1.0, limit: float = np.radians(4)):
        self.seconds = seconds
        self._limit = np.cos(limit / 2)
        self._since = 0.0
        self._first = None

    def check(self, rotations: np.ndarray, now: float) -> float:
        """Seconds of stillness so far. rotations: [n,4]; hands and face (joints from 22 on) may move."""
        q = rotations[: _J["jaw"]]
        if self._first is None or np.abs(np.einsum("ni,ni->n", q, self._first)).min() < self._limit:
            self._first = q.copy()
            self._since = now
        return now - self._since
