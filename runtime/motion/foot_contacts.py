"""When heels and balls of the feet rest on the ground: contacts found by height and speed, with hysteresis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX

from . import kinematics

HEEL, BALL = 0, 1
# On the open body, in leg lengths: the foot joint over the sole, and the heel behind the ankle.
BALL_HEIGHT, HEEL_BACK = 0.033, -0.051
# A mark is low while it is so little above the lowest sole of the last and next half second, in leg lengths:
# to take hold, and to keep hold. The lowest sole near by, not the floor of the clip: captures drift.
LOW_ON, LOW_OFF = 0.06, 0.09
NEAR = 0.5  # seconds
# Slow, in leg lengths per second: to take hold, and to keep hold.
SLOW_ON, SLOW_OFF = 0.15, 0.20
_SHORTEST = 0.06  # seconds
# A hole in a contact no longer than this, seconds, over which the mark comes no further than this, in leg lengths
_GAP, _STEP = 0.12, 0.025
# A foot that is slow but has come so far, in leg lengths, is shuffling: the contact ends and another begins.
_FARTHEST = 0.09


@dataclass(frozen=True)
class Contact:
    """One mark at rest: side 0 = left, 1 = right; mark HEEL or BALL; frames first .. stop - 1."""

    side: int
    mark: int
    first: int
    stop: int


def foot_marks(joints, world, rest, sole: float | None = None) -> np.ndarray:
    """Places [N,2,2,3] of the marks of both feet over a clip: left, right; the middle of the heel on the sole,
    and the foot joint (in the ball: what a foot rolls about). Both go with the ankle: a foot is one rigid piece.

    joints: positions [N,>=12,3], world: quaternions [N,>=12,4], rest: [55,3] joints; metres. sole: y of the soles
    at rest, by default a fixed part of the leg below the foot joints.
    """
    rest = np.asarray(rest, np.float64)
    leg = kinematics.leg_length(rest)
    out = np.empty((len(world), 2, 2, 3))
    for side, name in enumerate(("left", "right")):
        ankle, foot = JOINT_INDEX[f"{name}_ankle"], JOINT_INDEX[f"{name}_foot"]
        floor = rest[foot, 1] - BALL_HEIGHT * leg if sole is None else sole
        heel = (0.0, floor - rest[ankle, 1], HEEL_BACK * leg)
        out[:, side, HEEL] = joints[:, ankle] + rot.rotate(world[:, ankle], heel)
        out[:, side, BALL] = joints[:, foot]
    return out


def contact_flags(marks, fps: float, leg: float) -> np.ndarray:
    """Which marks rest: bool [N,2,2].

    marks: [N,2,2,3] metres, of `foot_marks`. leg: thigh + shank, metres. A mark takes hold where it is low and
    slow and lets go where it is neither any more (Schmitt trigger on both). Scale-free: what is compared is
    measured in leg lengths. The speed is that of the step from frame to frame, so that at low frame rates the
    frame before the foot has landed does not count.
    """
    n = len(marks)
    out = np.zeros((n, 2, 2), bool)
    if n < 2:
        return out
    height = marks[..., 1] / leg - (0.0, BALL_HEIGHT)
    height = height - lowest_near(height.min(axis=(1, 2)), round(NEAR * fps))[:, None, None]
    height = np.maximum(height[:-1], height[1:])
    speed = step_speeds(marks, fps) / leg
    on = (height < LOW_ON) & (speed < SLOW_ON)
    keep = (height < LOW_OFF) & (speed < SLOW_OFF)
    for side in (0, 1):
        for mark in (HEEL, BALL):
            for first, stop in runs(keep[:, side, mark]):
                if on[first:stop, side, mark].any():
                    out[first : stop + 1, side, mark] = True
            _close(out[:, side, mark], marks[:, side, mark], round(_GAP * fps), _STEP * leg)
    return out


def _close(flags: np.ndarray, path: np.ndarray, gap: int, nearest: float) -> None:
    """Fills holes of at most `gap` frames in flags [N], over which the path [N,3] has come no further than
    `nearest`: a twitch of the capture."""
    spans = runs(flags)
    for (_, stop), (first, _) in zip(spans, spans[1:], strict=False):
        if first - stop <= gap and np.linalg.norm(path[first] - path[stop - 1]) < nearest:
            flags[stop:first] = True


def contacts(marks, fps: float, leg: float) -> list[Contact]:
    """The contacts of a clip in the order of feet, marks and time; arguments of `contact_flags`. One that
    travels further than a foot at rest would is cut in pieces."""
    flags = contact_flags(marks, fps, leg)
    shortest = max(2, round(_SHORTEST * fps))
    out = []
    for side in (0, 1):
        for mark in (HEEL, BALL):
            for first, stop in runs(flags[:, side, mark]):
                path = marks[first:stop, side, mark]
                for a, b in _pieces(path, _FARTHEST * leg):
                    if b - a >= shortest:
                        out.append(Contact(side, mark, first + a, first + b))
    return out


def step_speeds(marks, fps: float) -> np.ndarray:
    """Speed [N-1,2,2] of marks [N,2,2,3] from each frame to the next, m/s; over at least 15 ms, because a
    capture trembles."""
    n = len(marks)
    more = int(0.0075 * fps)  # frames on both sides
    at = np.arange(n - 1)
    a, b = np.maximum(at - more, 0), np.minimum(at + 1 + more, n - 1)
    return np.linalg.norm(marks[b] - marks[a], axis=-1) * (fps / (b - a))[:, None, None]


def runs(flags) -> np.ndarray:
    """First frame and the one after the last [R,2] of each run of true in flags [N]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags).astype(np.int8), [0]])))
    return edges.reshape(-1, 2)


def lowest_near(values: np.ndarray, reach: int) -> np.ndarray:
    """Lowest of the values [N,...] within `reach` frames before and after each."""
    out = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    width = 1
    while width < 2 * reach + 1:  # windows of double length, the last of what is missing
        step = min(width, 2 * reach + 1 - width)
        out = np.minimum(out[:-step], out[step:])
        width += step
    return out


def _pieces(path: np.ndarray, farthest: float) -> list[tuple[int, int]]:
    """Parts (first, stop) of a path [n,3], each as far across as `farthest` at most; equal in length."""
    count = 1
    while True:
        edges = np.linspace(0, len(path), count + 1).round().astype(int)
        parts = [(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False) if b > a]
        if count >= len(path) or all(extent(path[a:b]) <= farthest for a, b in parts):
            break
        count += 1
    return parts if count == 1 else [(a + 1, b - 1) for a, b in parts if b - a > 2]


def extent(path: np.ndarray) -> float:
    """How far a path [n,3] goes: the diagonal of the box around it, which no two of its points exceed."""
    return float(np.linalg.norm(np.ptp(path, axis=0))) if len(path) else 0.0
