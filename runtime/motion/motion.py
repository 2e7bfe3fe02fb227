"""Motion: a clip of SMPL-X poses that knows its speed and the size of the body it was made for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import InputError, MotionError
from dinar_live.runtime.core.pose import JOINTS, MAX_ANGLE, Pose
from dinar_live.runtime.core.short_repr import short_repr
from dinar_live.runtime.core.validate import checked

from . import kinematics

MAX_FRAMES = 1_000_000
# frames looked at to find the floor; a longer clip is thinned out evenly
_FLOOR_FRAMES = 3000
_NO_EXPRESSION = np.zeros((0, 0), np.float32)


def _checked(name: str, value, shape, limit=np.inf) -> np.ndarray:
    try:
        return checked(name, value, shape, limit)
    except InputError as e:
        raise MotionError(str(e)) from None


@dataclass(frozen=True, eq=False)
class Motion:
    """A clip. Arrays are copied, checked and read-only; y is up and the body faces +z when its root is not
    turned.

    body: f32[N,55,3] axis-angle, SMPL-X joint order, hands absolute (flat_hand_mean=True).
    pelvis: f32[N,3] world position of the pelvis joint, metres, of the body that the clip was made for.
    leg_length: thigh + shank of that body, metres.
    fps: frames per second.
    expression: f32[N,E], and expression_names the E names; None = the axes are not known by name.
    cyclic: the last frame runs on into the first, so a loop blends the two; otherwise a loop starts again
        with a cut.
    notes: what a user should know about how the clip was read.
    Raises MotionError, naming the field.
    """

    body: np.ndarray
    pelvis: np.ndarray
    leg_length: float
    fps: float
    expression: np.ndarray = field(default_factory=lambda: _NO_EXPRESSION)
    expression_names: tuple[str, ...] | None = None
    name: str = ""
    cyclic: bool = False
    notes: tuple[str, ...] = field(default=())

    __repr__ = short_repr

    def __post_init__(self):
        body = _checked("Motion.body", self.body, (-1, JOINTS, 3), MAX_ANGLE)
        n = len(body)
        if not 1 <= n <= MAX_FRAMES:
            raise MotionError(f"Motion.body: got {n} frames, expected 1 to {MAX_FRAMES}")
        expression = self.expression
        if expression is None or expression is _NO_EXPRESSION:
            expression = np.zeros((n, 0), np.float32)
        values = {
            "body": body,
            "pelvis": _checked("Motion.pelvis", self.pelvis, (n, 3), 1e4),
            "expression": _checked("Motion.expression", expression, (n, -1), 100.0),
            "leg_length": float(self.leg_length),
            "fps": float(self.fps),
            "notes": tuple(self.notes),
        }
        for key, low, high in (("leg_length", 0.05, 10.0), ("fps", 0.1, 10_000.0)):
            if not low <= values[key] <= high:
                raise MotionError(f"Motion.{key}: got {values[key]:g}, expected {low:g} to {high:g}")
        names = self.expression_names
        if names is not None:
            names = tuple(str(s) for s in names)
            if len(names) != values["expression"].shape[1]:
                raise MotionError(
                    f"Motion.expression_names: got {len(names)} names for {values['expression'].shape[1]} columns"
                )
        for key, value in (values | {"expression_names": names}).items():
            object.__setattr__(self, key, value)

    @property
    def frames(self) -> int:
        return len(self.body)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to its return in a loop: frames / fps."""
        return self.frames / self.fps

    @cached_property
    def quaternions(self) -> np.ndarray:
        """f32[N,55,4] (w, x, y, z), neighbours in time on the same side of the sphere."""
        q = np.empty((self.frames, JOINTS, 4), np.float32)
        for i in range(
            0, self.frames, 4096
        ):  # in pieces: the float64 in between would be several times the clip
            q[i : i + 4096] = rot.axis_angle_to_quaternion(self.body[i : i + 4096])
        return rot.continuous(q)

    def _between(self, t: float, loop: bool) -> tuple[int, int, float]:
        """The frames on both sides of time t and how far it is from the first to the second."""
        if not np.isfinite(t):
            raise MotionError(f"time: got {t}, expected a finite number of seconds")
        x = t * self.fps
        if loop:
            x %= self.frames
        last = self.frames - 1
        i = int(x) if x > 0 else 0
        if i < last:
            return i, i + 1, max(x - i, 0.0)
        if loop and self.cyclic and x < self.frames:
            return last, 0, x - last
        return last, last, 0.0

    def sample(self, t: float, loop: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At t seconds: body f32[55,3], pelvis f32[3], expression f32[E]; slerp and linear between frames.
        loop=False holds the ends."""
        i, j, s = self._between(t, loop)
        if s == 0.0:
            return self.body[i], self.pelvis[i], self.expression[i]
        q = rot.slerp(self.quaternions[i], self.quaternions[j], s)
        pelvis = self.pelvis[i] + np.float32(s) * (self.pelvis[j] - self.pelvis[i])
        expression = self.expression[i] + np.float32(s) * (self.expression[j] - self.expression[i])
        return rot.quaternion_to_axis_angle(q).astype(np.float32), pelvis, expression

    def resample(self, fps: float) -> Motion:
        """The same clip at another rate, by slerp; the duration is kept to within half a frame, the start
        exactly."""
        fps = float(fps)
        if not 0.1 <= fps <= 10_000:
            raise MotionError(f"fps: got {fps:g}, expected 0.1 to 10000")
        if fps == self.fps:
            return self
        count = max(1, round(self.duration * fps))
        if count > MAX_FRAMES:
            raise MotionError(f"resample: {count} frames at {fps:g} fps, expected at most {MAX_FRAMES}")
        if self.cyclic:  # exactly one period, so that the seam stays where it was
            x = np.arange(count) * (self.frames / count)
            fps = count / self.duration
        else:
            x = np.minimum(np.arange(count) * (self.fps / fps), self.frames - 1)
        i = np.minimum(x.astype(np.int64), self.frames - 1)
        j = (i + 1) % self.frames if self.cyclic else np.minimum(i + 1, self.frames - 1)
        s = x - i
        body = np.empty((count, JOINTS, 3), np.float32)
        for k in range(0, count, 4096):
            part = slice(k, k + 4096)
            q = rot.slerp(self.quaternions[i[part]], self.quaternions[j[part]], s[part, None])
            body[part] = rot.quaternion_to_axis_angle(q)
        w = s[:, None]
        return replace(
            self,
            body=body,
            fps=fps,
            pelvis=(1 - w) * self.pelvis[i] + w * self.pelvis[j],
            expression=(1 - w) * self.expression[i] + w * self.expression[j],
        )

    def slice(self, start: int = 0, stop: int | None = None) -> Motion:
        """Frames start..stop, as Python slices count. The part is not cyclic."""
        part = slice(start, stop)
        if not len(range(*part.indices(self.frames))):
            raise MotionError(f"slice: {start}..{stop} leaves no frame of {self.frames}")
        return replace(
            self,
            body=self.body[part],
            pelvis=self.pelvis[part],
            expression=self.expression[part],
            cyclic=False,
        )

    def for_avatar(
        self,
        rig_joints,
        expression_names=(),
        *,
        ground: bool = True,
        root: str = "start",
        sole: float | None = None,
    ) -> AvatarMotion:
        """The clip fitted to one avatar.

        rig_joints: [55,3] rest joints, metres. expression_names: of the avatar's expression columns.
        ground: lift or lower the whole clip so that its lowest foot stands on y = 0. sole: y of the soles in
            the rest pose, if known.
        root: where the clip happens: "start" = its first frame is over the origin and faces +z, "keep" =
        where and as the file has it, "fixed" = as "start", but over the origin all the time (no travel).
        Raises MotionError.
        """
        return AvatarMotion(self, rig_joints, tuple(expression_names), ground=ground, root=root, sole=sole)


def _facing_forward(motion: Motion) -> Motion:
    """The clip turned about the vertical so that its first frame faces +z; small angles are left as they are
    meant."""
    forward = rot.rotate(motion.quaternions[0, 0], (0.0, 0.0, 1.0))
    yaw = np.arctan2(forward[0], forward[2])
    if abs(yaw) < np.radians(15):
        return motion
    turn = rot.axis_angle_to_quaternion((0.0, -yaw, 0.0))
    body = motion.body.copy()
    body[:, 0] = rot.quaternion_to_axis_angle(rot.multiply(turn, motion.quaternions[:, 0]))
    return replace(motion, body=body, pelvis=rot.rotate(turn, motion.pelvis))


class AvatarMotion:
    """A clip fitted to an avatar: `pose_at(seconds)` and `pose(frame)` give `Pose`. Made by
    `Motion.for_avatar`.

    The pelvis path is scaled by the ratio of leg lengths, in height and on the ground alike, so that steps
    fit the legs.
    """

    def __init__(
        self,
        motion: Motion,
        rig_joints,
        expression_names: tuple[str, ...],
        *,
        ground: bool,
        root: str,
        sole: float | None,
    ):
        rest = _checked("rig_joints", rig_joints, (JOINTS, 3), 100.0).astype(np.float64)
        if root not in ("start", "keep", "fixed"):
            raise MotionError(f"root: got {root!r}, expected 'start', 'keep' or 'fixed'")
        leg = kinematics.leg_length(rest)
        if leg < 0.05:
            raise MotionError(
                f"rig_joints: the legs are {leg:g} m long, expected the rest joints of a body in metres"
            )
        if root != "keep":
            motion = _facing_forward(motion)
        self.motion = motion
        self.scale = leg / motion.leg_length
        self.notes = list(motion.notes)  # the clip's, and what this avatar cannot show
        self._travel = np.array((0.0, 1.0, 0.0) if root == "fixed" else (1.0, 1.0, 1.0)) * self.scale
        self._rest = rest[0]
        self._offset = -rest[0]
        if root == "start":
            self._offset[[0, 2]] -= motion.pelvis[0, [0, 2]] * self.scale
        if ground:
            step = -(-motion.frames // _FLOOR_FRAMES)
            world = kinematics.global_rotations(motion.quaternions[::step, :12], kinematics.PARENTS[:12])
            feet = kinematics.lowest_foot(world, rest, motion.pelvis[::step] * self.scale, sole)
            # not the minimum: one bad frame of a capture would lift the whole clip
            self._offset[1] -= np.percentile(feet, 5)
        self._columns(motion, expression_names)

    def _columns(self, motion: Motion, names: tuple[str, ...]) -> None:
        """Which expression columns of the clip go where in the avatar."""
        self._size = len(names)
        self._from: list[int] = []
        self._to: list[int] = []
        if motion.expression_names is None:
            if motion.expression.shape[1] and np.any(motion.expression):
                self.notes.append(
                    f"{motion.expression.shape[1]} expression columns of unknown meaning were dropped"
                )
            return
        index = {name: i for i, name in enumerate(names)}
        missing = []
        for i, name in enumerate(motion.expression_names):
            if name in index:
                self._from.append(i)
                self._to.append(index[name])
            elif np.any(motion.expression[:, i]):
                missing.append(name)
        if missing:
            self.notes.append(f"the avatar lacks these expressions of the clip: {', '.join(missing)}")

    @property
    def duration(self) -> float:
        """Seconds of the clip, after which a loop begins again."""
        return self.motion.duration

    @property
    def taken_s(self) -> None:
        """A clip is recorded (see PoseSource)."""
        return None

    @property
    def has_place(self) -> bool:
        """A clip may be moved to where the avatar was before (see PoseSource)."""
        return False

    @property
    def fps(self) -> float:
        return self.motion.fps

    @property
    def frames(self) -> int:
        return self.motion.frames

    def pose_at(self, t: float, loop: bool = True) -> Pose:
        """The pose at t seconds. loop=False holds the first and last pose."""
        return self._pose(*self.motion.sample(t, loop))

    def pose(self, frame: int) -> Pose:
        """The pose of one frame of the clip, exactly as stored."""
        m = self.motion
        return self._pose(m.body[frame], m.pelvis[frame], m.expression[frame])

    def ground_path(self) -> np.ndarray:
        """f64[N,2]: where the pelvis joint is above the ground (x, z) in each frame, metres."""
        return (self._rest + self.motion.pelvis * self._travel + self._offset)[:, [0, 2]]

    def _pose(self, body, pelvis, expression) -> Pose:
        values = np.zeros(self._size, np.float32)
        values[self._to] = expression[self._from]
        return Pose(body=body, transl=pelvis * self._travel + self._offset, expression=values)
