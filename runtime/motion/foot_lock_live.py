"""Feet that stay where they are put down, while they are performed: the filter for live sources."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from . import foot_contacts, kinematics, leg_ik
from . import reference_body as ref
from .foot_contacts import BALL, BALL_HEIGHT, HEEL, foot_marks
from .foot_legs import LEGS, LOWER
from .foot_lock import MAX_ADDED, fall
from .leg_pair import LegPair

MAX_DELAY = 0.5
"""Seconds."""
_STALE = 0.25  # seconds without a pose after which the lock begins anew, as other filters do
_EASE = 0.35  # seconds in which a foot is let go
_TURN, _LIFT = (
    0.12,
    0.05,
)  # seconds, time constants: of a foot's turn while it rolls, and of the pelvis' height
_DEEP = 1e-4  # metres
_UP, _UP_MOST = 0.15, 0.05  # of what a foot was raised by: seconds, time constant; leg lengths
_SLIP = 0.0045  # leg lengths that a held foot may be shown from its spot
_GUARD = 0.2  # seconds, time constant: of what the pelvis was raised by to keep soles out of the ground
_FARTHEST = 0.09  # leg lengths between where a foot is held and where the performer has it
_UNTURNED = np.array((1.0, 0.0, 0.0, 0.0))
_UNCHANGED = np.tile(_UNTURNED, (3, 1))  # a leg as it is


class _Sample(NamedTuple):
    t: float
    body: np.ndarray  # [55,3] as it came
    pelvis: np.ndarray  # [3] metres of the rig
    local: np.ndarray  # [12,4]
    world: np.ndarray  # [12,4]
    joints: np.ndarray  # [12,3]
    marks: np.ndarray  # [2,2,3]
    rests: np.ndarray  # bool [2,2]: low and slow
    soles: np.ndarray  # [2] height of the lowest point of each sole


class _Foot:
    """What is remembered of one foot: where its marks are held [3] or None, how it is turned (axis-angle), and what
    hip, knee and ankle were changed by when it was let go (axis-angle [3,3]), and when."""

    def __init__(self):
        self.spots: list[np.ndarray | None] = [None, None]
        self.turn = np.zeros(3)
        self.flat: np.ndarray | None = None
        self.up = 0.0
        self.change = np.zeros((3, 3))
        self.free_since = -np.inf

    @property
    def planted(self) -> bool:
        return self.spots[HEEL] is not None or self.spots[BALL] is not None


class FootLock:
    """`lock_feet` for a live source: a Filter whose poses come `delay` seconds late (`latency`).

    rig_joints: [55,3] rest joints, metres, of the avatar whose feet count, by default the open body's; sole: y of
    its soles at rest. leg_length: thigh + shank of the body that the pelvis paths are for, metres, by default the
    rig's. delay: seconds, 0.03 to `MAX_DELAY`; contacts shorter than it are not held, which is what tells a foot at
    rest from one in passing. No joint gains more than `MAX_ADDED` from one pose to the next: where that is not
    enough, a foot slips. Raises MotionError.
    """

    def __init__(self, rig_joints=None, *, sole: float | None = None, delay: float = 0.1, leg_length=None):
        rest = ref.rest_joints() if rig_joints is None else np.asarray(rig_joints, np.float64)
        if rest.shape != (55, 3) or not np.isfinite(rest).all():
            raise MotionError(f"rig_joints: got shape {list(rest.shape)}, expected [55, 3] finite numbers")
        if not 0.03 <= delay <= MAX_DELAY:
            raise MotionError(f"delay: got {1000 * delay:g} ms, expected 30 to {1000 * MAX_DELAY:g} ms")
        self.delay = float(delay)
        self.leg_length = leg_length
        self._rest = rest
        self._sole = sole
        self._leg = kinematics.leg_length(rest)
        self._legs = LegPair(rest, sole)
        self.reset()

    @property
    def latency(self) -> float:
        """Seconds by which poses come late, and at most one sample more."""
        return self.delay

    def reset(self) -> None:
        """Forget everything: another body follows."""
        self._samples: deque[_Sample] = deque()
        self._heights: deque[tuple[float, float]] = deque()
        self._grounds: deque[tuple[float, float]] = deque()
        self._feet = (_Foot(), _Foot())
        self._lift = self._guard = 0.0
        self._last: tuple[float, np.ndarray] | None = None  # time of the last pose out, changes [2,3,4]

    def step(self, t: float, body, pelvis) -> tuple[np.ndarray, np.ndarray]:
        """The pose of t - `delay` seconds, body [55,3] axis-angle and pelvis [3] metres, with its feet held; from the
        pose at t. Until there is one so old, the oldest. Times ascend."""
        if self._samples and not 0 < t - self._samples[-1].t < _STALE:
            self.reset()
        scale = self._leg / (self.leg_length or self._leg)
        self._take(t, np.array(body, np.float64), np.array(pelvis, np.float64) * scale)
        while len(self._samples) > 1 and self._samples[1].t <= t - self.delay + 1e-9:
            self._samples.popleft()
        out, path = self._shown(self._samples[0])
        return out, path / scale

    def _take(self, t: float, body: np.ndarray, pelvis: np.ndarray) -> None:
        """Takes a sample in, and finds whether its marks are low and slow."""
        local = rot.axis_angle_to_quaternion(body[None, :12])
        world = kinematics.global_rotations(local, LOWER)
        joints = kinematics.joint_positions(world, self._rest[:12], pelvis[None], LOWER)
        marks = foot_marks(joints, world, self._rest, self._sole)[0]
        height = marks[..., 1] / self._leg - (0.0, BALL_HEIGHT)
        self._heights.append((t, float(height.min())))
        while t - self._heights[0][0] > foot_contacts.NEAR:
            self._heights.popleft()
        height = height - min(h for _, h in self._heights)
        rests = np.zeros((2, 2), bool)
        if self._samples:
            before = self._samples[-1]
            for s in reversed(self._samples):
                if t - s.t > 0.0155:
                    break
                before = s
            speed = np.linalg.norm(marks - before.marks, axis=-1) / (t - before.t) / self._leg
            held = self._samples[-1].rests
            rests = (height < np.where(held, foot_contacts.LOW_OFF, foot_contacts.LOW_ON)) & (
                speed < np.where(held, foot_contacts.SLOW_OFF, foot_contacts.SLOW_ON)
            )
        _, soles = self._legs.feet((world[0, 0], pelvis), local[0], _UNCHANGED[None])
        self._grounds.append((t, float(soles.min())))
        while t - self._grounds[0][0] > foot_contacts.NEAR + self.delay:
            self._grounds.popleft()
        self._samples.append(_Sample(t, body, pelvis, local[0], world[0], joints[0], marks, rests, soles))

    def _shown(self, s: _Sample) -> tuple[np.ndarray, np.ndarray]:
        """The pose of a sample with feet held."""
        dt = 0.0 if self._last is None else max(s.t - self._last[0], 0.0)
        for side, foot in enumerate(self._feet):
            self._plant(s, side, foot, dt)
        self._lift += (self._wanted_lift(s) - self._lift) * -np.expm1(-dt / _LIFT)
        changes, cut = self._above_ground(s, dt)
        for foot, change, gives_way in zip(self._feet, changes, cut, strict=True):
            if gives_way and foot.planted:  # it is held again where it is next
                foot.spots = [None, None]
                foot.change = rot.quaternion_to_axis_angle(change)
                foot.free_since = s.t
                foot.up = 0.0
        self._last = s.t, changes
        body = s.body.copy()
        for (hip, knee, ankle, _), foot, change in zip(LEGS, self._feet, changes, strict=True):
            joints = [hip, knee, ankle]
            body[joints] = rot.quaternion_to_axis_angle(rot.multiply(s.local[joints], change))
            if foot.planted:
                foot.change = rot.quaternion_to_axis_angle(change)
                foot.free_since = s.t
        return body, s.pelvis + (0.0, self._lift + self._guard, 0.0)

    def _above_ground(self, s: _Sample, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """Changes [2,3,4] of the joints of both legs, and which legs bool [2] cannot follow.

        A foot that would be deeper than the performer's and than the ground is raised; what its joints cannot do in
        the time, the pelvis does, with the other foot where it was as far as that leg can."""
        ground = min(k for _, k in self._grounds)
        least = np.minimum(s.soles, ground)
        self._guard *= np.exp(-dt / _GUARD)
        for foot in self._feet:
            foot.up *= np.exp(-dt / _UP)
        tries = 0
        while True:
            wanted = np.stack([self._wanted(s, side, foot) for side, foot in enumerate(self._feet)])
            changes, cut = wanted, np.zeros(2, bool)
            if self._last is not None and dt > 0:
                changes = _limited(self._last[1], wanted)
                cut = np.abs(np.einsum("sji,sji->sj", wanted, changes)).min(axis=1) < 1 - 1e-9
            marks, soles = self._feet_of(s, changes)
            deep = np.maximum(least - soles, 0.0)
            if deep.max() <= _DEEP:
                return changes, cut | self._slipped(marks)
            tries += 1
            if tries % 3:
                for foot, more in zip(self._feet, deep, strict=True):
                    foot.up = min(foot.up + float(more), _UP_MOST * self._leg)
                continue
            self._guard += float(deep.max())
            if tries == 6:  # as it is, on a higher pelvis
                return changes, cut | self._slipped(marks + (0.0, float(deep.max()), 0.0))

    def _slipped(self, marks: np.ndarray) -> np.ndarray:
        """Which feet bool [2] are shown too far from where they are held; marks: [2,2,3] as shown."""
        far = [
            max(
                (
                    np.linalg.norm(m - spot)
                    for m, spot in zip(own, foot.spots, strict=True)
                    if spot is not None
                ),
                default=0.0,
            )
            for own, foot in zip(marks, self._feet, strict=True)
        ]
        return np.array(far) > _SLIP * self._leg

    def _wanted(self, s: _Sample, side: int, foot: _Foot) -> np.ndarray:
        """Changes [3,4] of a leg as it should be shown, whatever time that takes."""
        change = self._reached(s, side, foot) if foot.planted else self._released(s, side, foot)
        if foot.up < _DEEP:
            return change
        return self._legs.reaching(s.world[0], s.local, side, change, _UNTURNED, foot.up)

    def _feet_of(self, s: _Sample, changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The marks [2,2,3], and the height [2] of the lowest point of each sole, with changes [2,3,4] at the pelvis'
        height of now."""
        return self._legs.feet(
            (s.world[0], s.pelvis + (0.0, self._lift + self._guard, 0.0)), s.local, changes
        )

    def _plant(self, s: _Sample, side: int, foot: _Foot, dt: float) -> None:
        """Puts marks down where they are shown now, takes them up, and turns the foot."""
        shown, was = None, foot.planted
        for mark in (HEEL, BALL):
            stays = all(k.rests[side, mark] for k in self._samples if k.t <= s.t + 0.6 * self.delay)
            spot = foot.spots[mark]
            if not s.rests[side, mark] or (
                spot is not None and np.linalg.norm(spot - s.marks[side, mark]) > _FARTHEST * self._leg
            ):
                foot.spots[mark] = None
            elif spot is None and stays:
                shown = self._shown_marks(s, side, foot) if shown is None else shown
                if np.linalg.norm(shown[mark] - s.marks[side, mark]) < 0.7 * _FARTHEST * self._leg:
                    foot.spots[mark] = shown[mark]
        if foot.planted != was:  # spots and changes hold it
            foot.up = 0.0
        heel, ball = foot.spots
        ankle = s.world[LEGS[side][2]]
        if heel is None or ball is None:
            foot.turn = foot.turn * np.exp(-dt / _TURN)
            foot.flat = None
        else:
            if foot.flat is None:  # its edges would go into the ground if it rolled on
                sole = s.marks[side, BALL] - s.marks[side, HEEL]
                foot.flat = rot.multiply(rot.between(sole, ball - heel), ankle)
            foot.turn = rot.quaternion_to_axis_angle(rot.multiply(foot.flat, rot.conjugate(ankle)))

    def _released(self, s: _Sample, side: int, foot: _Foot) -> np.ndarray:
        """Changes [3,4] of a leg whose foot is free: from those when it was let go to those that put it where the
        performer has it, whatever the pelvis does."""
        rest = fall((s.t - foot.free_since) / _EASE)
        back = self._reaching(s, side, _UNTURNED, s.joints[LEGS[side][2]], self._lift)
        return rot.axis_angle_to_quaternion(
            rest * foot.change + (1 - rest) * rot.quaternion_to_axis_angle(back)
        )

    def _shown_marks(self, s: _Sample, side: int, foot: _Foot) -> np.ndarray:
        """Where the marks [2,3] of a foot are when its leg is as it would be shown at a sample."""
        if foot.planted:
            q, ball = self._placed_ball(s, side, foot)
            return np.stack([ball + rot.rotate(q, s.marks[side, HEEL] - s.marks[side, BALL]), ball])
        changes = np.tile(_UNTURNED, (2, 3, 1))
        changes[side] = self._wanted(s, side, foot)
        return self._feet_of(s, changes)[0][side]

    @staticmethod
    def _placed_ball(s: _Sample, side: int, foot: _Foot) -> tuple[np.ndarray, np.ndarray]:
        """The turn (quaternion) of a planted foot and where its ball is [3]."""
        q = rot.axis_angle_to_quaternion(foot.turn)
        ball = foot.spots[BALL]
        if ball is None:
            ball = foot.spots[HEEL] + rot.rotate(q, s.marks[side, BALL] - s.marks[side, HEEL])
        return q, ball

    def _target(self, s: _Sample, side: int, foot: _Foot) -> tuple[np.ndarray, np.ndarray]:
        """The turn of a planted foot and where its ankle is to be [3]."""
        q, ball = self._placed_ball(s, side, foot)
        return q, ball + rot.rotate(q, s.joints[LEGS[side][2]] - s.marks[side, BALL])

    def _reached(self, s: _Sample, side: int, foot: _Foot) -> np.ndarray:
        """Changes [3,4] of hip, knee and ankle that hold a planted foot."""
        return self._reaching(s, side, *self._target(s, side, foot), self._lift + self._guard)

    def _reaching(self, s: _Sample, side: int, q, target, lift: float) -> np.ndarray:
        """Changes [3,4] of hip, knee and ankle that turn a foot by q and put its ankle at target [3] when the pelvis
        is `lift` metres higher."""
        reach = target - s.joints[LEGS[side][0]] - (0.0, lift, 0.0)
        return self._legs.reaching(s.world[0], s.local, side, _UNCHANGED, q, reach)

    def _wanted_lift(self, s: _Sample) -> float:
        """Height of the pelvis, metres, at which planted legs keep the bend of their knees, straight ones above all;
        none without a planted foot."""
        top, bottom, most = 0.0, 1e-9, np.inf
        limit = 0.12 * self._leg
        for side, foot in enumerate(self._feet):
            if foot.planted:
                reach = self._target(s, side, foot)[1] - s.joints[LEGS[side][0]]
                same, weight, far = leg_ik.height_kept(self._rest, LEGS[side], s.joints[None], reach[None])
                top += weight[0] * float(np.clip(same[0], -limit, limit))
                bottom += weight[0]
                most = min(most, far[0])
        return float(max(min(top / bottom, most), -limit))


def _limited(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rotations [...,4] on the way from before to after, as far as `MAX_ADDED` allows."""
    step = rot.multiply(rot.conjugate(before), after)
    angle = 2 * np.arctan2(np.linalg.norm(step[..., 1:], axis=-1), np.abs(step[..., 0]))
    most = 0.97 * MAX_ADDED
    return rot.slerp(before, after, np.minimum(1.0, most / np.maximum(angle, 1e-9)))
