"""The skeleton of a BVH file as retargeting sees it: which joint is which, and what its offsets show."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, PARENTS

from . import bvh_up
from .bvh import Bvh, BvhClip
from .families import plain, recognise
from .tree import path_to

_J = JOINT_INDEX
# The pelvis of a skeleton without a standing rest pose: its frame was laid along the axes if hips and spine
# are this near to them.
_SNAP_HIPS, _SNAP_SPINE = np.cos(np.radians(5)), np.cos(np.radians(25))


class FileSkeleton:
    """bvh: the clip. source: SMPL-X joint -> its joint in the file. leg: thigh + shank, in the file's unit.
    Raises MotionError for an unknown skeleton."""

    def __init__(self, bvh: Bvh | BvhClip, title: str, joint_map=None):
        self.bvh = bvh
        self.title = title
        self.skeleton = recognise(bvh.names, bvh.parents, title, joint_map)
        self.source = self.skeleton.source
        legs = [
            self._distance(f"{s}_{a}", f"{s}_{b}")
            for s in ("left", "right")
            for a, b in (("hip", "knee"), ("knee", "ankle"))
        ]
        self.leg = sum(legs) / 2
        if min(legs) < 0.1 * self.leg or self.leg < 1e-6:
            raise MotionError(f"{title}: the legs have no length, so the file's unit cannot be found")

    def _distance(self, a: str, b: str) -> float:
        return float(np.linalg.norm(self._within(self.source[_J[a]], self.source[_J[b]])))

    def _within(self, joint: int, below: int) -> np.ndarray:
        """Offset from `joint` to a joint below it, in the frame of `joint`, with the joints in between at
        rest."""
        path = path_to(below, self.bvh.parents)
        return sum((self.bvh.offsets[j] for j in path[path.index(joint) + 1 :]), np.zeros(3))

    def _root_from_hips(self, positions: np.ndarray) -> np.ndarray | None:
        """World rotation [N,4] of the root by which its hip joints are where they are [N,S,3]; None if the
        hips do not show it."""
        root, left, right = (self.source[_J[n]] for n in ("pelvis", "left_hip", "right_hip"))
        a, b = self._within(root, left), self._within(root, right)
        line, up = a - b, -(a + b) / 2
        now = positions[:, root] - (positions[:, left] + positions[:, right]) / 2
        if np.linalg.norm(np.cross(rot.unit(line), up)) < 0.1 * np.linalg.norm(line):  # level with the root
            tip = self._above_root()
            if tip is None:
                return None
            up, now = self._within(root, tip), positions[:, tip] - positions[:, root]
        if np.linalg.norm(np.cross(line, rot.unit(up))) < 0.02 * self.leg:
            return None
        there = rot.frame(positions[:, left] - positions[:, right], now)
        return rot.matrix_to_quaternion(there @ rot.frame(line, up).T)

    def _above_root(self) -> int | None:
        """The file's first joint of the trunk that is not in the same place as the root."""
        root = self.source[0]
        for joint in self._mapped(("spine1", "spine2", "spine3", "neck", "head")):
            if np.linalg.norm(self._within(root, joint)) > 0.02 * self.leg:
                return joint
        return None

    def _axes(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Directions up the trunk and from right to left of joint positions [...,S,3]."""
        at = {
            n: positions[..., self.source[_J[n]], :]
            for n in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
        }
        up = at["left_shoulder"] + at["right_shoulder"] - at["left_hip"] - at["right_hip"]
        return rot.unit(up), rot.unit(at["left_hip"] - at["right_hip"])

    def _standing(self, positions: np.ndarray) -> bool:
        """Is this pose a person standing upright, legs not far from straight, arms alike on both sides?"""
        up, left = self._axes(positions)
        bone = {
            n: rot.unit(positions[self.source[_J[b]]] - positions[self.source[_J[n]]])
            for s in ("left", "right")
            for n, b in (
                (f"{s}_hip", f"{s}_knee"),
                (f"{s}_knee", f"{s}_ankle"),
                (f"{s}_shoulder", f"{s}_elbow"),
                (f"{s}_elbow", f"{s}_wrist"),
            )
        }
        if (
            abs(up @ left) > 0.3
            or not np.isclose(np.linalg.norm(up), 1)
            or not np.isclose(np.linalg.norm(left), 1)
        ):
            return False
        if max(bone[f"{s}_{n}"] @ up for s in ("left", "right") for n in ("hip", "knee")) > -0.7:
            return False
        for n in ("shoulder", "elbow"):
            a, b = bone[f"left_{n}"], bone[f"right_{n}"]
            if a @ (b - 2 * (b @ left) * left) < 0.8 or a @ left < -0.3 or a @ up > 0.5:
                return False
        return True

    def _directions(self):
        """Bone, lateral and knuckle directions, each in the frame of its source joint (see
        `calibration.MovingSkeleton`)."""
        bones, lateral, knuckles = {}, {}, {}
        tips = {
            j: next((c for c, p in enumerate(PARENTS) if p == j and c in self.source), None)
            for j in self.source
        }
        for n in ("left", "right"):
            tips[_J[f"{n}_wrist"]] = next(
                (_J[f"{n}_{f}1"] for f in ("middle", "index") if _J[f"{n}_{f}1"] in self.source), None
            )
        tips[0] = None
        tips[_J["spine3"]] = (
            _J["neck"] if _J["neck"] in self.source else _J["head"] if _J["head"] in self.source else None
        )
        for j, s in self.source.items():
            tip = tips[j]
            if tip is not None and s in path_to(self.source[tip], self.bvh.parents)[:-1]:
                vector = self._within(s, self.source[tip])
            else:  # a leaf for us: towards its End Site, through what joints there are
                vector, k = np.zeros(3), s
                while np.linalg.norm(vector) < 0.01 * self.leg and k is not None:
                    children = [c for c in self.bvh.children(k) if "thumb" not in plain(self.bvh.names[c])]
                    vector = vector + (
                        self.bvh.offsets[children[0]] if children else self.bvh.ends.get(k, np.zeros(3))
                    )
                    k = children[0] if children else None
            if np.linalg.norm(vector) > 1e-3 * self.leg:
                bones[s] = rot.unit(vector)
        for joint, pairs in (("pelvis", ("hip",)), ("spine3", ("collar", "shoulder"))):
            s = self.source.get(_J[joint])
            if s is None:
                continue
            for pair in pairs:
                ends = self._mapped(f"{side}_{pair}" for side in ("left", "right"))
                if len(ends) < 2 or any(s not in path_to(e, self.bvh.parents) for e in ends):
                    continue
                line = self._within(s, ends[0]) - self._within(s, ends[1])
                if np.linalg.norm(line) > 0.02 * self.leg:
                    lateral[s] = rot.unit(line)
                    break
        self._pelvis_bone(bones, lateral)
        for side in ("left", "right"):
            ends = self._mapped(f"{side}_{f}1" for f in ("index", "pinky"))
            if len(ends) == 2:
                s = self.source[_J[f"{side}_wrist"]]
                knuckles[s] = rot.unit(self._within(s, ends[0]) - self._within(s, ends[1]))
        return bones, lateral, knuckles

    def _pelvis_bone(self, bones: dict[int, np.ndarray], lateral: dict[int, np.ndarray]) -> None:
        """The pelvis points up the spine, at right angles to the hip line. Where both lie near the axes of its
        own frame, the frame was laid along pelvis and floor, and the axis is the better witness: the lowest
        spine bone of many skeletons leans back."""
        root, tip = self.source[0], self._above_root()
        bones.pop(root, None)
        if tip is None:
            return
        bone = rot.unit(self._within(root, tip))
        line = lateral.get(root)
        if line is not None and np.linalg.norm(np.cross(line, bone)) > 0.3:
            bone = rot.unit(bone - (bone @ line) * line)
            axis = bvh_up.nearest_axis(bone)
            if np.abs(line).max() > _SNAP_HIPS and bone @ axis > _SNAP_SPINE and abs(axis @ line) < 0.1:
                bone = axis
        bones[root] = bone

    def _mapped(self, names: Iterable[str]) -> list[int]:
        """The file's joints for these of SMPL-X, without those that it lacks."""
        return [self.source[_J[name]] for name in names if _J[name] in self.source]
