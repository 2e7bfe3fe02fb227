"""AvatarFit: a live source's poses as those of an avatar."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.pose import JOINTS, Pose
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.motion import kinematics

from .source import Sample, Skeleton

# A first heading smaller than this is meant; a larger one is where the performer's room happens to point. As
# for clips.
_TURN = np.radians(15)
_JAW = JOINT_INDEX["jaw"]
_JAW_OPEN = 0.25  # radians at mouthOpen = 1, for bodies whose face cannot do it
_ROOTS = ("start", "keep", "fixed")


class AvatarFit:
    """Samples of one source as poses of one avatar, by the rules of `Motion.for_avatar`; the first sample
    stands in for the clip.

    skeleton: of the source. rig_joints: [55,3] rest joints of the avatar, metres. expression_names: of the
        avatar's columns.
    root: "start" = the first sample is over the origin and faces +z, "keep" = where the source has it,
        "fixed" = no travel.
    ground: the lowest foot of the first sample stands on y = 0; sole: y of the soles in the rest pose, if
        known.
    mirror: left and right exchanged, as in a mirror. Where the avatar has no expression that opens the mouth,
    its jaw does. Raises MotionError.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        rig_joints,
        expression_names=(),
        *,
        root: str = "start",
        ground: bool = True,
        sole: float | None = None,
        mirror: bool = False,
    ):
        if root not in _ROOTS:
            raise MotionError(f"root: got {root!r}, expected one of {', '.join(_ROOTS)}")
        self._rest = checked("rig_joints", rig_joints, (JOINTS, 3), 100.0).astype(np.float64)
        leg = kinematics.leg_length(self._rest)
        if leg < 0.05:
            raise MotionError(
                f"rig_joints: the legs are {leg:g} m long, expected the rest joints of a body in metres"
            )
        self.scale = leg / skeleton.leg_length
        self._root = root
        self._ground = ground
        self._sole = sole
        self._mirror = mirror
        self._offset: np.ndarray | None = None
        self._turn: np.ndarray | None = None
        names = tuple(map(_mirrored_name, skeleton.expression_names)) if mirror else skeleton.expression_names
        index = {name: i for i, name in enumerate(expression_names)}
        pairs = [(i, index[name]) for i, name in enumerate(names) if name in index]
        self._from = [i for i, _ in pairs]
        self._to = [j for _, j in pairs]
        self._size = len(expression_names)
        opens = () if "mouthOpen" in index or "jawOpen" in index else ("mouthOpen", "jawOpen")
        self._opens = [names.index(name) for name in opens if name in names]

    def pose(self, sample: Sample) -> Pose:
        """The avatar's pose for one sample."""
        body, pelvis = sample.body, sample.pelvis
        if self._mirror:
            body, pelvis = body[_MIRROR] * (1.0, -1.0, -1.0), pelvis * (-1.0, 1.0, 1.0)
        if self._offset is None:
            self._offset = self._begin(body, pelvis)
        if self._opens and not body[_JAW].any():
            body = body.copy()
            body[_JAW, 0] = _JAW_OPEN * sample.expression[self._opens].max()
        if self._turn is not None:
            body = body.copy()
            body[0] = rot.quaternion_to_axis_angle(
                rot.multiply(self._turn, rot.axis_angle_to_quaternion(body[0]))
            )
            pelvis = rot.rotate(self._turn, pelvis)
        expression = np.zeros(self._size, np.float32)
        expression[self._to] = sample.expression[self._from]
        return Pose(body, pelvis * self._travel + self._offset, expression)

    def _begin(self, body: np.ndarray, pelvis: np.ndarray) -> np.ndarray:
        """Heading and travel from the first sample; returns its place, f64[3]."""
        if self._root != "keep" and abs(turn := heading(body[0])) > _TURN:
            self._turn = rot.axis_angle_to_quaternion((0.0, -turn, 0.0))
            pelvis = rot.rotate(self._turn, pelvis)
        self._travel = np.array((0.0, 1.0, 0.0) if self._root == "fixed" else (1.0, 1.0, 1.0)) * self.scale
        offset = -self._rest[0]
        if self._root == "start":
            offset[[0, 2]] -= np.asarray(pelvis)[[0, 2]] * self.scale
        if self._ground:
            world = kinematics.global_rotations(rot.axis_angle_to_quaternion(body[None, :12]), PARENTS[:12])
            offset[1] -= kinematics.lowest_foot(
                world, self._rest, np.asarray(pelvis)[None] * self.scale, self._sole
            )[0]
        return offset


def heading(root) -> float:
    """Where a root rotation [3] faces: radians about the vertical from +z to +x; 0 for a body that faces up
    or down."""
    forward = rot.rotate(rot.axis_angle_to_quaternion(root), (0.0, 0.0, 1.0))
    return float(np.arctan2(forward[0], forward[2])) if np.hypot(forward[0], forward[2]) > 0.2 else 0.0


def _mirrored_name(name: str) -> str:
    for a, b in (("Left", "Right"), ("Right", "Left"), ("left", "right"), ("right", "left")):
        if a in name:
            return name.replace(a, b)
    return name


_MIRROR = np.array([JOINT_INDEX[_mirrored_name(name)] for name in JOINT_NAMES])
