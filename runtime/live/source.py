"""Source: anything that poses come from, live or a file, behind one small interface; and the fit of its poses
to an avatar."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.pose import JOINTS, Pose
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.motion import kinematics
from dinar_live.runtime.motion.motion import Motion

# A first heading smaller than this is meant; a larger one is where the performer's room happens to point. As
# for clips.
_TURN = np.radians(15)
_JAW = JOINT_INDEX["jaw"]
_JAW_OPEN = 0.25  # radians at mouthOpen = 1, for bodies whose face cannot do it
_ROOTS = ("start", "keep", "fixed")


class Sample(NamedTuple):
    """One pose of a source.

    time_s: when it was taken, seconds on the source's own clock. received_s: when it came, time.monotonic()
        (or the clock given).
    sequence: grows by one with each sample of this source.
    body: f32[55,3] axis-angle, SMPL-X order, absolute hands. pelvis: f32[3] metres, world position of the
    source body's pelvis joint (up to a constant). expression: f32[E], named by Skeleton.expression_names.
    """

    time_s: float
    received_s: float
    sequence: int
    body: np.ndarray
    pelvis: np.ndarray
    expression: np.ndarray


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The body that a source's poses were made for: leg_length (thigh + shank, metres) and the names of its
    expressions."""

    leg_length: float
    expression_names: tuple[str, ...] = ()

    def __post_init__(self):
        if not 0.05 <= self.leg_length <= 10:
            raise MotionError(f"Skeleton.leg_length: got {self.leg_length:g}, expected 0.05 to 10 metres")


@dataclass(frozen=True)
class SourceState:
    """What an operator wants to see of a source.

    connected: samples or packets have come within the last second. rate_hz: samples per second of late, 0
        without. frames: samples so far.
    gaps: silences of more than three periods. drops: reason -> how many packets or values were dropped for
        it.
    calibration: "none" (not needed), "waiting" or "done". age_s: of the newest sample, None before the first.
    peer: who sends. hint: what to do next, "" when all is well.
    """

    name: str
    connected: bool = False
    rate_hz: float = 0.0
    frames: int = 0
    gaps: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    calibration: str = "none"
    age_s: float | None = None
    peer: str = ""
    hint: str = ""

    @property
    def dropped(self) -> int:
        """Packets and values dropped, for whatever reason."""
        return sum(self.drops.values())


class Source(ABC):
    """Where poses come from. Start it (or use it as a context manager), then `read` the newest sample as
    often as you like.

    `read`, `state`, `skeleton` and `calibrate` may be called from any thread.
    """

    @abstractmethod
    def start(self) -> None:
        """Begin to listen. Raises MotionError where that is not possible, saying why."""

    @abstractmethod
    def close(self) -> None:
        """Stop and free everything. May be called twice."""

    @abstractmethod
    def read(self) -> Sample | None:
        """The newest sample, again if there is no newer one; None before the first. Never waits."""

    @property
    @abstractmethod
    def state(self) -> SourceState:
        """How it is going."""

    @property
    @abstractmethod
    def skeleton(self) -> Skeleton | None:
        """The source's body; None before it is known. A new object means: fit anew."""

    def calibrate(self) -> None:  # noqa: B027  (most sources need none)
        """Take the performer's pose in the next frame as the T-pose. Does nothing where no calibration is
        needed."""

    def __enter__(self) -> Source:
        self.start()
        return self

    def __exit__(self, *exc) -> None:
        self.close()


class FileSource(Source):
    """A Motion played in real time, as if somebody performed it. clock: seconds; for tests."""

    def __init__(self, motion: Motion, *, loop: bool = True, clock: Callable[[], float] = time.monotonic):
        self._motion, self._loop, self._clock = motion, loop, clock
        self._skeleton = Skeleton(motion.leg_length, motion.expression_names or ())
        self._began: float | None = None

    def start(self) -> None:
        self._began = self._clock()

    def close(self) -> None:
        self._began = None

    def read(self) -> Sample | None:
        if self._began is None:
            return None
        now = self._clock()
        t = now - self._began
        body, pelvis, expression = self._motion.sample(t, self._loop)
        if self._motion.expression_names is None:
            expression = expression[:0]
        return Sample(t, now, int(t * self._motion.fps), body, pelvis, expression)

    @property
    def state(self) -> SourceState:
        playing = self._began is not None
        frames = int((self._clock() - self._began) * self._motion.fps) + 1 if playing else 0
        return SourceState(
            f"file {self._motion.name}".strip(),
            playing,
            self._motion.fps if playing else 0.0,
            frames,
            age_s=0.0 if playing else None,
        )

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton


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
        self._root, self._ground, self._sole, self._mirror = root, ground, sole, mirror
        self._offset: np.ndarray | None = None
        self._turn: np.ndarray | None = None
        names = tuple(map(_mirrored_name, skeleton.expression_names)) if mirror else skeleton.expression_names
        index = {name: i for i, name in enumerate(expression_names)}
        pairs = [(i, index[name]) for i, name in enumerate(names) if name in index]
        self._from, self._to = [i for i, _ in pairs], [j for _, j in pairs]
        self._size = len(expression_names)
        opens = () if "mouthOpen" in index or "jawOpen" in index else ("mouthOpen", "jawOpen")
        self._opens = [names.index(name) for name in opens if name in names]

    def pose(self, sample: Sample) -> Pose:
        """The avatar's pose for one sample."""
        body, pelvis = sample.body, sample.pelvis
        if self._mirror:
            body, pelvis = body[_MIRROR] * (1.0, -1.0, -1.0), pelvis * (-1.0, 1.0, 1.0)
        if self._offset is None:
            self._begin(body, pelvis)
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

    def _begin(self, body: np.ndarray, pelvis: np.ndarray) -> None:
        """Place and heading from the first sample."""
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
        self._offset = offset


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
