"""Front or back: a network that sees one frame mixes them up where hair hides the face, and with them left and right.
A person who turns round does so steadily, which tells the two readings of a frame apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dinar_live.runtime.vision.body_network import BodySeen
from dinar_live.runtime.vision.solver.anchors import MIRROR

from .survey import Look

FLIPPED = 0.25  # radians of unsteadiness that a frame read the other way costs
MOST = 1.2  # radians of unsteadiness that one step can cost: some frames are simply wrong
DEPTH = np.array([1.0, 1.0, -1.0])


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Angles in (-pi, pi]."""
    return np.pi - np.mod(np.pi - angle, 2 * np.pi)


def turning_rate(yaw: np.ndarray, time: np.ndarray) -> float:
    """How fast the person turns, radians per second: the median, which single frames do not move."""
    steps = wrapped(np.diff(yaw))
    moving = np.abs(steps) < MOST
    return float(np.median(steps[moving] / np.diff(time)[moving])) if moving.any() else 0.0


def mixed_up(yaw: np.ndarray, time: np.ndarray) -> np.ndarray:
    """bool[n]: the frames that are to be read the other way round, with yaw pi - yaw. yaw f64[n] radians, 0 towards the
    camera; time f64[n] seconds.

    Of all ways to read the film the steadiest one (Viterbi's algorithm): each step costs what it differs from the usual
    rate, each frame that is read against the network a little.
    """
    n = len(yaw)
    if n < 3:
        return np.zeros(n, bool)
    readings = np.stack([yaw, np.pi - yaw], 1)
    rate = turning_rate(yaw, time)
    cost = np.array([0.0, FLIPPED])
    back = np.zeros((n, 2), int)
    for i in range(1, n):
        turn = wrapped(readings[i][None, :] - readings[i - 1][:, None])
        step = cost[:, None] + np.minimum(np.abs(turn - rate * (time[i] - time[i - 1])), MOST)
        back[i] = step.argmin(0)
        cost = step.min(0) + [0.0, FLIPPED]
    out = np.zeros(n, bool)
    at = int(cost.argmin())
    for i in range(n - 1, -1, -1):
        out[i] = at == 1
        at = back[i, at]
    return out


def turned_over(seen: BodySeen) -> BodySeen:
    """The same points read the other way round: left for right, near for far."""
    points = seen.points.copy()
    points[: len(MIRROR)] = points[MIRROR]
    return replace(seen, points=points, visibility=seen.visibility[MIRROR], world=seen.world[MIRROR] * DEPTH)


def steadied(looks: Sequence[Look]) -> list[Look]:
    """The looks with the mixed up ones read the other way round."""
    wrong = mixed_up(np.array([k.yaw for k in looks]), np.array([k.time for k in looks]))
    return [
        replace(k, seen=turned_over(k.seen), yaw=float(wrapped(np.array(np.pi - k.yaw)))) if flip else k
        for k, flip in zip(looks, wrong, strict=True)
    ]
