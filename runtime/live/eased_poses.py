"""EasedPoses: from poses that come live to a motion of one's own and back, without a jump."""

from __future__ import annotations

import math

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.pose_source import PoseSource

from .avatar_fit import heading


class EasedPoses:
    """Poses that come live, over a source to fall back on. The newest is shown and held for hold_s, then eased
    to the fallback within ease_s, and back within ease_s when poses come again. Before the first one only the
    fallback is shown.

    fallback: what to show while none comes; moved to where the last pose stood and faced, unless it has a place
        of its own; None = nothing, and no easing. pelvis: rest position of the pelvis joint [3], metres.
    Not thread-safe. Times are seconds of a clock that only grows.
    """

    def __init__(self, fallback: PoseSource | None, pelvis, *, hold_s: float, ease_s: float):
        self.hold_s = hold_s
        self._fallback = fallback
        self._pelvis = np.asarray(pelvis, np.float64)
        self._ease_s = ease_s
        self._newest: Pose | None = None
        self._taken_s = -math.inf
        self._weight = 0.0  # 0 fallback .. 1 live, before it is smoothed
        self._asked_s: float | None = None
        self._place = np.zeros(2)  # where the newest pose stood last, on the ground
        self._yaw = 0.0

    def take(self, pose: Pose, taken_s: float) -> None:
        """A live pose, and when it came."""
        self._newest = pose
        self._taken_s = taken_s

    def let_go(self) -> None:
        """Hold the newest pose no longer."""
        self._taken_s = -math.inf

    def holds(self, taken_s: float, now: float) -> bool:
        """Whether a pose that came at taken_s is still shown."""
        return now - taken_s <= self.hold_s

    def taken_s(self, now: float) -> float | None:
        """When the live pose that is shown came; None while the fallback is shown or eased to."""
        return self._taken_s if self.holds(self._taken_s, now) else None

    def pose(self, t: float, now: float) -> Pose | None:
        """What to show; None without a live pose and a fallback. t: seconds, where the fallback is."""
        live = self._newest if self.holds(self._taken_s, now) else None
        if self._fallback is None:
            return live
        self._weigh(now, live)
        if self._newest is None or self._weight == 0:
            return self._in_place(self._fallback.pose_at(t))
        if self._weight == 1:
            return self._newest
        return _blend(self._in_place(self._fallback.pose_at(t)), self._newest, _smooth(self._weight))

    def _weigh(self, now: float, live: Pose | None) -> None:
        """Moves the weight on to now, and notes where the live pose stands."""
        # At the first call nobody has seen anything that could jump.
        elapsed = self._ease_s if self._asked_s is None else max(now - self._asked_s, 0.0)
        self._asked_s = now
        step = elapsed / self._ease_s if self._ease_s else 1.0
        self._weight = min(max(self._weight + (step if live is not None else -step), 0.0), 1.0)
        # not while easing back: what is eased away from must not jump
        moves = self._fallback is not None and not self._fallback.has_place
        if live is not None and moves and self._weight == 1:
            self._place = (self._pelvis + live.transl)[[0, 2]]
            self._yaw = heading(live.body[0])

    def _in_place(self, pose: Pose) -> Pose:
        if not self._yaw and not self._place.any():
            return pose
        turn = rot.axis_angle_to_quaternion((0.0, self._yaw, 0.0))
        body = pose.body.copy()
        body[0] = rot.quaternion_to_axis_angle(rot.multiply(turn, rot.axis_angle_to_quaternion(body[0])))
        pelvis = rot.rotate(turn, self._pelvis + pose.transl)
        pelvis[[0, 2]] += self._place
        return Pose(body, pelvis - self._pelvis, pose.expression)


def _smooth(x: float) -> float:
    return x * x * (3 - 2 * x)


def _blend(a: Pose, b: Pose, s: float) -> Pose:
    q = rot.slerp(rot.axis_angle_to_quaternion(a.body), rot.axis_angle_to_quaternion(b.body), s)
    # a client may leave out the last ones
    expression = np.zeros(max(len(a.expression), len(b.expression)), np.float32)
    expression[: len(a.expression)] += (1 - s) * a.expression
    expression[: len(b.expression)] += s * b.expression
    return Pose(rot.quaternion_to_axis_angle(q), (1 - s) * a.transl + s * b.transl, expression)
