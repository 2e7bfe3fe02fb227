"""Poses for a teacher to be rendered in: natural ones from motions and captures, bent, mixed, and random ones
within joint limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dinar_live.export.capture import SPLITS, Capture
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES
from dinar_live.runtime.motion import Motion

BLOCK = 1.0  # seconds: a motion is cut into blocks, and every fifth is for validation alone
EVERY = 5
KINDS = {"natural": 0.3, "bent": 0.3, "mixed": 0.25, "random": 0.15}  # share of each kind of pose
BEND = 0.12  # radians, standard deviation per axis of what is added to a natural pose
HAND_NOISE = 0.1  # radians

# How far a joint turns about its x, y and z axis in radians, lower and upper, of the left side; the right
# side is its mirror image.
# Modest, clothed, everyday ranges: what lies beyond comes only from motions that do it.
_SPINE = ((-0.15, 0.4), (-0.3, 0.3), (-0.2, 0.2))
LIMITS = {
    "left_hip": ((-1.5, 0.4), (-0.4, 0.4), (-0.2, 0.6)),
    "left_knee": ((0.0, 2.0), (-0.05, 0.05), (-0.05, 0.05)),
    "left_ankle": ((-0.4, 0.5), (-0.2, 0.2), (-0.15, 0.15)),
    "left_foot": ((-0.3, 0.2), (0.0, 0.0), (0.0, 0.0)),
    "spine1": _SPINE,
    "spine2": _SPINE,
    "spine3": _SPINE,
    "neck": ((-0.3, 0.4), (-0.5, 0.5), (-0.25, 0.25)),
    "head": ((-0.3, 0.3), (-0.4, 0.4), (-0.2, 0.2)),
    "left_collar": ((-0.1, 0.1), (-0.2, 0.1), (-0.1, 0.3)),
    "left_shoulder": ((-0.7, 0.7), (-1.2, 0.4), (-1.3, 1.1)),
    "left_elbow": ((-0.6, 0.6), (-2.1, 0.0), (-0.1, 0.1)),
    "left_wrist": ((-0.4, 0.4), (-0.3, 0.3), (-0.7, 0.7)),
    "jaw": ((0.0, 0.3), (-0.05, 0.05), (0.0, 0.0)),
    "left_eye": ((-0.2, 0.2), (-0.35, 0.35), (0.0, 0.0)),
}
UPPER = [
    JOINT_INDEX[n] for n in JOINT_NAMES if JOINT_INDEX[n] >= 12 or n.startswith("spine")
]  # what a mixed pose takes from another one
HANDS = slice(25, 55)


def joint_limits() -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper angle f32[55,3] of every joint about its axes, radians; 0 where nothing is varied
    (root, fingers)."""
    low, high = np.zeros((55, 3), np.float32), np.zeros((55, 3), np.float32)
    for name, limits in LIMITS.items():
        a, b = np.array(limits, np.float32).T
        low[JOINT_INDEX[name]], high[JOINT_INDEX[name]] = a, b
        if name.startswith("left_"):  # mirrored at x = 0: rotations about y and z change sides
            right = JOINT_INDEX[name.replace("left_", "right_")]
            low[right], high[right] = (a[0], -b[1], -b[2]), (b[0], -a[1], -a[2])
    return low, high


class Source(Protocol):
    """Natural poses to choose from."""

    def pose(self, rng: np.random.Generator, validation: bool) -> Pose:
        """A random one; those for validation are never among those for training."""
        ...


class MotionSource:
    """Poses of a motion, fitted to the avatar's body. Every fifth second is kept for validation; a motion
    under five seconds is cut into five parts."""

    def __init__(self, motion: Motion, rig: Rig):
        self._motion = motion.for_avatar(rig.joints, rig.expression_names, root="fixed")
        self._blocks = max(EVERY, int(motion.duration // BLOCK))

    def pose(self, rng: np.random.Generator, validation: bool) -> Pose:
        blocks = np.arange(self._blocks)
        blocks = blocks[(blocks % EVERY == EVERY - 1) == validation]
        # a margin of a tenth on both sides, so that no pose of one split stands beside one of the other
        x = (rng.choice(blocks) + rng.uniform(0.1, 0.9)) / self._blocks
        return self._motion.pose_at(x * self._motion.duration, loop=False)


class CaptureSource:
    """Poses of a capture's frames, training and validation apart."""

    def __init__(self, capture: Capture):
        self._capture = capture
        self._frames = {
            v: np.flatnonzero(capture.split == SPLITS["validation" if v else "training"])
            for v in (False, True)
        }
        for validation in (False, True):
            if not len(self._frames[validation]):
                capture.frames("validation" if validation else "training")  # raises, saying what is missing

    def pose(self, rng: np.random.Generator, validation: bool) -> Pose:
        return self._capture.pose(int(rng.choice(self._frames[validation])))


@dataclass(frozen=True)
class PoseSampler:
    """Draws poses for one avatar. sources: at least one; each is chosen as often as the others."""

    rig: Rig
    sources: Sequence[Source]

    def draw(self, rng: np.random.Generator, validation: bool = False) -> Pose:
        """One pose: natural; natural and bent; upper body of another one, and bent; or random within the
        joint limits."""
        kind = rng.choice(list(KINDS), p=list(KINDS.values()))
        base = self._natural(rng, validation)
        if kind == "natural":
            return base
        body = base.body.copy()
        if kind == "mixed":
            body[UPPER] = self._natural(rng, validation).body[UPPER]
        low, high = joint_limits()
        if kind == "random":
            body = self._random(rng, body, low, high)
        else:
            varied = high > low
            # what a motion does beyond the limits is kept
            bent = np.clip(
                body + rng.normal(0, BEND, body.shape), np.minimum(low, body), np.maximum(high, body)
            )
            body = np.where(varied, bent, body)
        body[HANDS] = self._hands(rng, body[HANDS])
        return Pose(body, base.transl, self._expression(rng, base.expression))

    def _natural(self, rng: np.random.Generator, validation: bool) -> Pose:
        return self.sources[int(rng.integers(len(self.sources)))].pose(rng, validation)

    def _random(
        self, rng: np.random.Generator, body: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """Between standing at ease and uniform within the limits, upright, arms more often down than up."""
        out = body.copy()
        ease = np.zeros((55, 3))
        ease[JOINT_INDEX["left_shoulder"], 2], ease[JOINT_INDEX["right_shoulder"], 2] = -0.9, 0.9
        amount = rng.beta(2, 2, (55, 1))
        varied = high > low
        out[varied] = ((1 - amount) * ease + amount * rng.uniform(low, high))[varied]
        out[0] = 0
        return out

    def _hands(self, rng: np.random.Generator, hands: np.ndarray) -> np.ndarray:
        """The pose's own hands, or between flat and closing further than relaxed, with some noise."""
        if rng.random() < 0.5:
            means = np.concatenate([self.rig.hands_mean_l, self.rig.hands_mean_r]).reshape(30, 3)
            hands = means * np.repeat(rng.uniform(0, 1.8, (2, 1)), 15, 0)
        return hands + rng.normal(0, HAND_NOISE, (30, 3))

    def _expression(self, rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
        """The pose's own expression and up to three coefficients more: shares of named shapes, or standard
        deviations of unnamed ones."""
        n = self.rig.expressions
        out = np.zeros(n, np.float32)
        out[: len(base)] = base
        for k in rng.choice(n, min(n, rng.integers(4)), replace=False):
            out[k] += rng.uniform(0, 0.7) if self.rig.expression_names else rng.normal(0, 0.8)
        return out
