"""BVH to SMPL-X: recognise the skeleton, calibrate it, carry its rotations and its path over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS

from . import bvh_up, kinematics
from . import calibration as cal
from . import reference_body as ref
from .bvh import Bvh, BvhClip, read_clip
from .bvh_skeleton import FileSkeleton
from .families import plain
from .joint_map import read_map
from .motion import Motion

_J = JOINT_INDEX
_IDENTITY = np.array((1.0, 0.0, 0.0, 0.0))
# Between rest pose and clip the hinges of a trusted skeleton differ by less than this; see docs/motion.md.
_ROLL_TRUST = np.radians(20)
_MODES = ("auto", "rest", "bones")
_ROLLS = ("auto", "rest", "hinge")
_UPS = ("auto", *bvh_up.AXES)
_SAMPLES = 1100  # frames that calibrations look at; a longer clip is thinned out evenly
_BLOCK = 256  # frames retargeted at once, so that memory does not grow with the clip
# A root that is turned against its own hip joints by more than this tells nothing; see `_root_from_hips`.
_LOOSE_ROOT = np.radians(10)


def load_bvh(path, *, up: str = "auto", fps: float | None = None, map=None, **options) -> Motion:
    """Read a BVH file and retarget it; up and other options as for `retarget`.

    fps: frames per second instead of what the file says. map: a file that names the joints
    (`joint_map.read_map`). Raises MotionError.
    """
    joint_map = None if map is None else read_map(map)
    return retarget(read_clip(path, fps), up=up, joint_map=joint_map, title=str(Path(path)), **options)


def retarget(
    bvh: Bvh | BvhClip,
    *,
    rig_joints=None,
    reference: str | int = "auto",
    roll: str = "auto",
    hands: str = "relaxed",
    up: str = "auto",
    joint_map: Mapping[str, str] | None = None,
    title: str = "",
) -> Motion:
    """A BVH clip as SMPL-X poses.

    rig_joints: [55,3] rest joints of the body to drive, metres; the open body's by default.
    reference: the pose that shows how the skeleton's joints are turned: "rest" (all rotations zero), a frame
    number (an upright pose with straight legs), "bones" (none: from offsets, hinges and averages), or "auto"
    = rest if it looks like a standing person.
    roll: about upper arms and thighs: "rest" = from the reference, "hinge" = from how elbows and knees bend,
    "auto" = hinge only where the reference is plainly off, and never in files with SMPL-X's own joints.
    hands: "relaxed" or "flat", for fingers that the file lacks.
    up: upward axis of the clip, "y", "z" or "-y"; "auto" = from rest pose and clip (`bvh_up.judged`).
    joint_map: SMPL-X joint -> name in the file, before what the names tell. title: what errors call the clip.
    Raises MotionError.
    """
    rest = ref.rest_joints() if rig_joints is None else np.asarray(rig_joints, np.float64)
    if rest.shape != (55, 3):
        raise MotionError(f"rig_joints: got shape {list(rest.shape)}, expected [55, 3]")
    for key, value, allowed in (
        ("roll", roll, _ROLLS),
        ("hands", hands, ("relaxed", "flat")),
        ("up", up, _UPS),
    ):
        if value not in allowed:
            raise MotionError(f"{key}: got {value!r}, expected {', '.join(allowed)}")
    return _Retarget(bvh, rest, title or "bvh", up, joint_map).run(reference, roll, hands, Path(title).stem)


class _Retarget(FileSkeleton):
    def __init__(self, bvh: Bvh | BvhClip, rest: np.ndarray, title: str, up: str = "auto", joint_map=None):
        super().__init__(bvh, title, joint_map)
        self.rest = rest
        self.up = up
        self.root_is_loose = False
        self.notes: list[str] = []

    def run(self, reference, roll: str, hands: str, name: str) -> Motion:
        bvh = self.bvh
        pose, kept = self._reference(reference)
        frames = bvh.frames - (kept.start or 0)
        sample = bvh.part(slice(kept.start, None, -(-frames // _SAMPLES)))
        world = sample.global_rotations()
        positions = sample.joint_positions(world)
        turn = self._upright(pose, world, positions)
        self._look_at_root(world, positions)
        world, positions = self._in_our_world(world, positions, turn)
        source = cal.MovingSkeleton(self.source, world, *self._directions())
        target = cal.target_bones(self.rest)
        if pose is None:
            calibrations = cal.from_bones(source, target)
            self.notes.append(
                "the rest pose is not a standing figure: calibrated from bones, hinges and averages over the clip"
            )
        else:
            at_rest, at = pose
            if self.root_is_loose:
                at_rest = at_rest.copy()
                at_rest[[self.source[0]]] = self._root_from_hips(at[None])
            turn_of_rest = self._turn_of_rest(pose)
            facing = rot.multiply(rot.conjugate(self._heading(turn_of_rest, pose)), turn_of_rest)
            calibrations = cal.from_reference(source, rot.multiply(facing, at_rest), target)
            calibrations = self._rolled(source, calibrations, target, roll)
        body, pelvis = np.zeros((frames, 55, 3), np.float32), np.empty((frames, 3))
        hips = None if self.root_is_loose else [self.source[_J[f"{s}_hip"]] for s in ("left", "right")]
        turning = self._turning()[1:]  # the pelvis has no parent
        for i in range(0, frames, _BLOCK):
            first = i + (kept.start or 0)
            part = bvh.part(slice(first, first + _BLOCK))
            world = part.global_rotations()
            world, positions = self._in_our_world(world, part.joint_positions(world, hips), turn)
            rotations = self._compose(world, calibrations)
            parents = rotations[:, [PARENTS[j] for j in turning]]
            local = rot.multiply(rot.conjugate(parents), rotations[:, turning])
            body[i : i + _BLOCK, 0] = rot.quaternion_to_axis_angle(rotations[:, 0])
            body[i : i + _BLOCK, turning] = rot.quaternion_to_axis_angle(local)
            pelvis[i : i + _BLOCK] = self._pelvis(positions, rotations[:, 0])
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
            notes=(f"skeleton family {self.skeleton.family}", *bvh.notes, *self.notes),
        )

    def _in_our_world(self, world, positions, turn) -> tuple[np.ndarray, np.ndarray]:
        """World rotations [N,S,4] and positions [N,S,3] of the file with y up, and with the root along the
        hips."""
        if self.root_is_loose:
            world[:, self.source[0]] = self._root_from_hips(positions)
        return rot.multiply(turn, world), rot.rotate(turn, positions)

    def _pelvis(self, positions: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Places [N,3] of the pelvis, metres: the hip joints, not the root, are what both skeletons have in
        the same place."""
        scale = kinematics.leg_length(self.rest) / self.leg
        hips = positions[:, [self.source[_J["left_hip"]], self.source[_J["right_hip"]]]].mean(axis=1) * scale
        return hips + rot.rotate(rotation, self.rest[0] - self.rest[[1, 2]].mean(axis=0))

    def _look_at_root(self, world: np.ndarray, positions: np.ndarray) -> None:
        """Rotations that were fitted to positions leave a root without offsets below it turned anyhow; then
        the hip joints say how the pelvis is turned."""
        fitted = self._root_from_hips(positions)
        if fitted is None:
            return
        dot = np.abs(np.sum(fitted * world[:, self.source[0]], axis=-1))
        off = 2 * np.arccos(np.clip(dot, 0, 1))
        if np.mean(off > _LOOSE_ROOT) > 0.25:
            self.root_is_loose = True
            self.notes.append(
                f"the root is turned against the hip joints, by {np.degrees(np.median(off)):.0f} degrees in the "
                "median: the pelvis was taken from the places of the joints"
            )

    def _reference(self, reference) -> tuple[tuple[np.ndarray, np.ndarray] | None, slice]:
        """The reference pose (world rotations [S,4], joint positions [S,3]) or None for "bones", and the
        frames to play."""
        bvh = self.bvh
        kept = slice(None)
        begin = bvh.part(slice(0, 2))
        still = np.abs(begin.rotations[..., 0]).min(axis=1) > 1 - 1e-9  # all rotations zero
        if bvh.frames > 1 and still[0] and not still[1]:
            kept = slice(1, None)
            self.notes.append("frame 0 is a rest pose put before the clip: left out")
        if reference == "bones":
            return None, kept
        if isinstance(reference, (int, np.integer)) and not isinstance(reference, bool):
            if not 0 <= reference < bvh.frames:
                raise MotionError(f"reference: got frame {reference}, expected 0 to {bvh.frames - 1}")
            one = bvh.part(slice(int(reference), int(reference) + 1))
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

    def _turn_of_rest(self, pose) -> np.ndarray:
        """The turn [4] by which a reference pose stands along y and faces +z, to the nearest axis."""
        up, left = self._axes(pose[1])
        return bvh_up.turn_to_y(bvh_up.nearest_axis(up), left)

    def _upright(self, pose, world, positions) -> np.ndarray:
        """The turn [4] from the file's world to ours: y up; a reference pose faces +z, to the nearest
        axis."""
        given = None if self.up == "auto" else np.array(bvh_up.AXES[self.up])
        trunk, left = self._axes(positions)
        if pose is None:
            axis = bvh_up.nearest_axis(trunk.mean(axis=0)) if given is None else given
            return bvh_up.turn_to_y(axis, left.mean(axis=0))
        stands = bvh_up.nearest_axis(self._axes(pose[1])[0])
        axis = given
        if axis is None:
            places = positions[:, list(self.source.values())]
            ankles = [self.source[_J[f"{s}_ankle"]] for s in ("left", "right")]
            hips = [self.source[_J[f"{s}_hip"]] for s in ("left", "right")]
            legs = rot.unit(positions[:, hips].mean(axis=1) - positions[:, ankles].mean(axis=1))
            first = positions[:, [self.source[0], *ankles]]
            axis, note = bvh_up.judged(stands, trunk, legs, np.concatenate([first, places], axis=1), self.leg)
            self.notes += [note] if note else []
        return rot.multiply(self._turn_of_rest(pose), rot.between(axis, stands))

    def _heading(self, turn: np.ndarray, pose) -> np.ndarray:
        """Rotation [4] about y from +z to where the reference pose faces, after `turn`."""
        left = rot.rotate(turn, self._axes(pose[1])[1])
        angle = np.arctan2(-left[2], left[0])
        # a rest pose that is only a little crooked is straight
        return rot.axis_angle_to_quaternion((0, angle if abs(angle) > np.radians(3) else 0.0, 0))

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

    def _turning(self) -> list[int]:
        """The SMPL-X joints that turn against their parents, ascending: those of the file, and those between."""
        joints = set(self.source)
        if _J["spine1"] not in joints:
            joints |= {_J["spine1"], _J["spine2"]}
        if _J["head"] in joints:
            joints.add(_J["neck"])
        return sorted(joints)

    def _compose(self, world: np.ndarray, calibrations) -> np.ndarray:
        """World rotations [N,55,4] of the SMPL-X joints from those of the file [N,S,4]; what the file lacks
        follows its parent, or lies between its neighbours."""
        out = np.empty((len(world), 55, 4))
        known = list(self.source)
        turns = np.stack([calibrations[j] for j in known])
        out[:, known] = rot.multiply(world[:, [self.source[j] for j in known]], turns)
        pelvis, chest = out[:, 0], out[:, _J["spine3"] if _J["spine3"] in self.source else 0]
        done = self._turning()
        if _J["spine1"] not in self.source:  # one spine joint: bend the back evenly
            out[:, _J["spine1"]] = rot.slerp(pelvis, chest, 1 / 3)
            out[:, _J["spine2"]] = rot.slerp(pelvis, chest, 2 / 3)
        if _J["neck"] not in self.source and _J["head"] in self.source:
            out[:, _J["neck"]] = rot.slerp(chest, out[:, _J["head"]], 0.5)
        for j, p in enumerate(PARENTS):
            if j not in done:
                out[:, j] = out[:, p]
        return out
