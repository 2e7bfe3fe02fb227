"""Easing: from whoever performs to an idle motion and back, without a jump."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.pose import Pose

from .source import heading


class Easing:
    """Blends a performer's poses with an idle motion: within ease_s to the idle motion, on the spot and
    facing where the performer was, once the performer is no longer to be followed, and within ease_s back.
    Before the first performance it idles.

    idle: has pose_at(seconds). pelvis: rest position of the pelvis joint [3], metres. stay=False leaves the
        idle motion where it is.
    """

    def __init__(self, idle, pelvis, ease_s: float, *, stay: bool = True):
        self._idle, self._pelvis, self._ease, self._stay = idle, np.asarray(pelvis, np.float64), ease_s, stay
        self._weight = 0.0  # 0 idle .. 1 live, before it is eased
        self._asked_s: float | None = None
        self._place = np.zeros(2)  # where the performer was last, on the ground
        self._yaw = 0.0

    def pose(self, t: float, now: float, live: Pose | None, follows: bool) -> Pose:
        """What to show. t: seconds, where the idle motion is. now: seconds of a clock that only grows. live:
        the performer's last pose, None before the first; follows: whether it is to be followed still."""
        # At the first call nobody has seen anything that could jump.
        elapsed = self._ease if self._asked_s is None else max(now - self._asked_s, 0.0)
        self._asked_s = now
        step = elapsed / self._ease if self._ease else 1.0
        self._weight = min(max(self._weight + (step if follows else -step), 0.0), 1.0)
        if (
            follows and self._stay and self._weight == 1
        ):  # not while easing back: what is eased away from must not jump
            self._place, self._yaw = (self._pelvis + live.transl)[[0, 2]], heading(live.body[0])
        if live is None or self._weight == 0:
            return self._at_place(self._idle.pose_at(t))
        if self._weight == 1:
            return live
        return _blend(self._at_place(self._idle.pose_at(t)), live, _smooth(self._weight))

    def _at_place(self, idle: Pose) -> Pose:
        if not self._yaw and not self._place.any():
            return idle
        turn = rot.axis_angle_to_quaternion((0.0, self._yaw, 0.0))
        body = idle.body.copy()
        body[0] = rot.quaternion_to_axis_angle(rot.multiply(turn, rot.axis_angle_to_quaternion(body[0])))
        pelvis = rot.rotate(turn, self._pelvis + idle.transl)
        pelvis[[0, 2]] += self._place
        return Pose(body, pelvis - self._pelvis, idle.expression)


def _smooth(x: float) -> float:
    return x * x * (3 - 2 * x)


def _blend(a: Pose, b: Pose, s: float) -> Pose:
    q = rot.slerp(rot.axis_angle_to_quaternion(a.body), rot.axis_angle_to_quaternion(b.body), s)
    expression = np.zeros(
        max(len(a.expression), len(b.expression)), np.float32
    )  # a client may leave out the last ones
    expression[: len(a.expression)] += (1 - s) * a.expression
    expression[: len(b.expression)] += s * b.expression
    return Pose(rot.quaternion_to_axis_angle(q), (1 - s) * a.transl + s * b.transl, expression)
