"""BVH to SMPL-X: recognise the skeleton, calibrate it, carry its rotations and its path over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS

from . import calibration as cal
from . import kinematics
from . import reference_body as ref
from .bvh import Bvh, read_bvh
from .families import path_to, plain, recognise
from .motion import Motion

_J = JOINT_INDEX
_IDENTITY = np.array((1.0, 0.0, 0.0, 0.0))
# Between rest pose and clip the hinges of a trusted skeleton differ by less than this; see docs/motion.md.
_ROLL_TRUST = np.radians(20)
_MODES = ("auto", "rest", "bones")
_ROLLS = ("auto", "rest", "hinge")


def load_bvh(path, **options) -> Motion:
    """Read a BVH file and retarget it; options as for `retarget`. Raises MotionError."""
    path = Path(path)
    return retarget(read_bvh(path), name=path.stem, title=str(path), **options)


def retarget(
    bvh: Bvh,
    *,
    rig_joints=None,
    reference: str | int = "auto",
    roll: str = "auto",
    hands: str = "relaxed",
    name: str = "",
    title: str = "bvh",
) -> Motion:
    """A BVH clip as SMPL-X poses.

    rig_joints: [55,3] rest joints of the body to drive, metres; the open body's by default.
    reference: the pose that shows how the skeleton's joints are turned: "rest" (all rotations zero), a frame
    number (an upright pose with straight legs), "bones" (none: from offsets, hinges and averages), or "auto"
    = rest if it looks like a standing person.
    roll: about upper arms and thighs: "rest" = from the reference, "hinge" = from how elbows and knees bend,
    "auto" = hinge only where the reference is plainly off, and never in files with SMPL-X's own joints.
    hands: "relaxed" or "flat", for fingers that the file lacks.
    Raises MotionError.
    """
    rest = ref.rest_joints() if rig_joints is None else np.asarray(rig_joints, np.float64)
    if rest.shape != (55, 3):
        raise MotionError(f"rig_joints: got shape {list(rest.shape)}, expected [55, 3]")
    for key, value, allowed in (("roll", roll, _ROLLS), ("hands", hands, ("relaxed", "flat"))):
        if value not in allowed:
            raise MotionError(f"{key}: got {value!r}, expected {', '.join(allowed)}")
    return _Retarget(bvh, rest, title).run(reference, roll, hands, name)


class _Retarget:
    def __init__(self, bvh: Bvh, rest: np.ndarray, title: str):
        self.bvh = bvh
        self.rest = rest
        self.title = title
        self.skeleton = recognise(bvh.names, bvh.parents, title)
        self.source = self.skeleton.source
        self.notes: list[str] = []
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

    def run(self, reference, roll: str, hands: str, name: str) -> Motion:
        bvh = self.bvh
        pose, kept = self._reference(reference)
        world = bvh.global_rotations()
        positions = bvh.joint_positions(world)
        turn = self._upright(pose, world, positions)
        world, positions = rot.multiply(turn, world)[kept], rot.rotate(turn, positions)[kept]
        source = cal.MovingSkeleton(self.source, world, *self._directions())
        target = cal.target_bones(self.rest)
        if pose is None:
            calibrations = cal.from_bones(source, target)
            self.notes.append(
                "the rest pose is not a standing figure: calibrated from bones, hinges and averages over the clip"
            )
        else:
            facing = rot.multiply(rot.conjugate(self._heading(turn, pose)), turn)
            calibrations = cal.from_reference(source, rot.multiply(facing, pose[0]), target)
            calibrations = self._rolled(source, calibrations, target, roll)
        rotations = self._compose(source, calibrations)
        scale = kinematics.leg_length(self.rest) / self.leg
        hips = positions[:, [self.source[_J["left_hip"]], self.source[_J["right_hip"]]]].mean(axis=1) * scale
        # the hip joints, not the root, are what both skeletons have in the same place
        pelvis = hips + rot.rotate(rotations[:, 0], self.rest[0] - self.rest[[1, 2]].mean(axis=0))
        local = kinematics.local_rotations(rotations)
        body = rot.quaternion_to_axis_angle(local)
        missing = [j for j in range(25, 55) if j not in self.source]
        if hands == "relaxed" and missing:
            body[:, missing] = ref.relaxed_hands()[np.array(missing) - 25]
            self.notes.append(f"{len(missing)} finger joints are not in the file: relaxed")
        return Motion(
            body=body,
            pelvis=pelvis,
            leg_length=kinematics.leg_length(self.rest),
            fps=bvh.fps,
            expression_names=(),
            name=name,
            notes=(f"skeleton family {self.skeleton.family}", *self.notes),
        )

    def _reference(self, reference) -> tuple[tuple[np.ndarray, np.ndarray] | None, slice]:
        """The reference pose (world rotations [S,4], joint positions [S,3]) or None for "bones", and the
        frames to play."""
        bvh = self.bvh
        kept = slice(None)
        still = np.abs(bvh.rotations[..., 0]).min(axis=1) > 1 - 1e-9  # all rotations zero
        if bvh.frames > 1 and still[0] and not still[1]:
            kept = slice(1, None)
            self.notes.append("frame 0 is a rest pose put before the clip: left out")
        if reference == "bones":
            return None, kept
        if isinstance(reference, (int, np.integer)) and not isinstance(reference, bool):
            if not 0 <= reference < bvh.frames:
                raise MotionError(f"reference: got frame {reference}, expected 0 to {bvh.frames - 1}")
            frame = slice(int(reference), int(reference) + 1)
            one = Bvh(
                bvh.names,
                bvh.parents,
                bvh.offsets,
                bvh.ends,
                bvh.rotations[frame],
                bvh.positions[frame],
                bvh.fps,
            )
        elif reference in _MODES:
            rest = np.tile(_IDENTITY, (1, len(bvh.names), 1))
            one = Bvh(bvh.names, bvh.parents, bvh.offsets, bvh.ends, rest, bvh.offsets[None], bvh.fps)
        else:
            raise MotionError(
                f"reference: got {reference!r}, expected a frame number, 'auto', 'rest' or 'bones'"
            )
        world = one.global_rotations()
        pose = world[0], one.joint_positions(world)[0]
        if not self._standing(pose[1]):
            if reference != "auto":
                raise MotionError(
                    f"{self.title}: reference {reference!r} is not a standing figure; use another frame, or 'bones'"
                )
            return None, kept
        return pose, kept

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

    def _upright(self, pose, world, positions) -> np.ndarray:
        """The turn [4] from the file's world to ours: y up; a reference pose faces +z, to the nearest
        axis."""
        if pose is None:
            up, left = (v.mean(axis=0) for v in self._axes(positions))
        else:
            up, left = self._axes(pose[1])
        up = _nearest_axis(up)
        left = (
            _nearest_axis(left - (left @ up) * up)
            if np.linalg.norm(left - (left @ up) * up) > 1e-6
            else np.roll(up, 1)
        )
        return rot.matrix_to_quaternion(np.stack([left, up, np.cross(left, up)]))

    def _heading(self, turn: np.ndarray, pose) -> np.ndarray:
        """Rotation [4] about y from +z to where the reference pose faces, after `turn`."""
        left = rot.rotate(turn, self._axes(pose[1])[1])
        angle = np.arctan2(-left[2], left[0])
        # a rest pose that is only a little crooked is straight
        return rot.axis_angle_to_quaternion((0, angle if abs(angle) > np.radians(3) else 0.0, 0))

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
        for side in ("left", "right"):
            ends = self._mapped(f"{side}_{f}1" for f in ("index", "pinky"))
            if len(ends) == 2:
                s = self.source[_J[f"{side}_wrist"]]
                knuckles[s] = rot.unit(self._within(s, ends[0]) - self._within(s, ends[1]))
        return bones, lateral, knuckles

    def _mapped(self, names: Iterable[str]) -> list[int]:
        """The file's joints for these of SMPL-X, without those that it lacks."""
        return [self.source[_J[name]] for name in names if _J[name] in self.source]

    def _rolled(self, source, calibrations, target, roll: str) -> dict[int, np.ndarray]:
        """Limbs whose roll the hinges contradict are calibrated from bones instead."""
        if roll == "rest" or (roll == "auto" and self._smplx_names()):
            return calibrations
        redo = set()
        for side in ("left", "right"):
            for top, *below in (("hip", "knee"), ("shoulder", "elbow", "wrist")):
                error = abs(cal.roll_error(source, _J[f"{side}_{top}"], calibrations[_J[f"{side}_{top}"]]))
                if roll == "hinge" or error > _ROLL_TRUST:
                    redo |= {_J[f"{side}_{n}"] for n in (top, *below)}
                    if roll == "auto":
                        self.notes.append(
                            f"{side} {top}: the reference pose has the hinge {np.degrees(error):.0f} degrees off, "
                            "roll taken from the clip"
                        )
        return cal.from_bones(source, target, redo, calibrations) if redo else calibrations

    def _smplx_names(self) -> bool:
        """Are the body's joints called as SMPL-X calls them? Then its T-pose is their zero, and elbows may
        bend about any axis."""
        return all(
            j in self.source and plain(self.bvh.names[self.source[j]]) == plain(JOINT_NAMES[j])
            for j in range(1, 22)
        )

    def _compose(self, source, calibrations) -> np.ndarray:
        """World rotations [N,55,4] of the SMPL-X joints; what the file lacks follows its parent, or lies
        between its neighbours."""
        n = len(source.world)
        out = np.empty((n, 55, 4))
        mapped = {j: rot.multiply(source.world[:, k], calibrations[j]) for j, k in self.source.items()}
        pelvis = mapped[0]
        chest = mapped.get(_J["spine3"], pelvis)
        if _J["spine1"] not in mapped:  # one spine joint: bend the back evenly
            mapped[_J["spine1"]], mapped[_J["spine2"]] = (
                rot.slerp(pelvis, chest, 1 / 3),
                rot.slerp(pelvis, chest, 2 / 3),
            )
        if _J["neck"] not in mapped and _J["head"] in mapped:
            mapped[_J["neck"]] = rot.slerp(chest, mapped[_J["head"]], 0.5)
        for j, p in enumerate(PARENTS):
            out[:, j] = mapped[j] if j in mapped else out[:, p]
        return out


def _nearest_axis(direction: np.ndarray) -> np.ndarray:
    axis = np.zeros(3)
    i = int(np.argmax(np.abs(direction)))
    axis[i] = np.sign(direction[i])
    return axis
