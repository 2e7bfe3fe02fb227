"""Smoothing and prediction of poses: causal, for live sources, and over whole clips. Rotations are
quaternions throughout."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError

from .motion import Motion

MAX_PREDICTION = 0.1  # seconds; further ahead a straight line overshoots every turn
# After so long without a pose, seconds, filters begin anew: what was before says nothing.
_STALE = 0.25


class Filter(Protocol):
    """What changes the poses of a live source one by one."""

    def reset(self) -> None:
        """Forget everything: another body follows."""
        ...

    def step(self, t: float, body, pelvis) -> tuple[np.ndarray, np.ndarray]:
        """The pose at t seconds, body [55,3] axis-angle and pelvis [3] metres, as it shall be. Times ascend."""
        ...


class OneEuro:
    """One-Euro filter (Casiez, Roussel, Vogel, CHI 2012) on every joint's rotation and on the pelvis path.

    A low-pass whose cut-off rises with speed: still poses do not tremble, fast ones do not lag. min_cutoff:
    Hz at rest, lower is smoother. beta, beta_path: Hz per rad/s and per m/s. speed_cutoff: Hz, of the speed
    itself. Raises MotionError.
    """

    def __init__(
        self, min_cutoff: float = 1.5, beta: float = 2.0, beta_path: float = 10.0, speed_cutoff: float = 1.5
    ):
        for name, value in (("min_cutoff", min_cutoff), ("speed_cutoff", speed_cutoff)):
            if not 0.01 <= value <= 1000:
                raise MotionError(f"{name}: got {value:g} Hz, expected 0.01 to 1000")
        for name, value in (("beta", beta), ("beta_path", beta_path)):
            if not 0 <= value <= 1000:
                raise MotionError(f"{name}: got {value:g}, expected 0 to 1000")
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.beta_path = beta_path
        self.speed_cutoff = speed_cutoff
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next pose passes as it is."""
        self._t: float | None = None

    def step(self, t: float, body, pelvis) -> tuple[np.ndarray, np.ndarray]:
        """The pose at t seconds, body [55,3] axis-angle and pelvis [3] metres, smoothed: f64 of the same
        shapes. Times ascend."""
        q, path = self.step_quaternions(t, rot.axis_angle_to_quaternion(body), np.asarray(pelvis, np.float64))
        return rot.quaternion_to_axis_angle(q), path

    def step_quaternions(self, t: float, q: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `step`, with rotations as quaternions [J,4]."""
        dt = np.inf if self._t is None else t - self._t
        if not 0 < dt < _STALE:  # the first pose, a gap, or a clock that was set back
            self._speed = np.zeros(len(q))
            self._path_speed = 0.0
            self._q = q
            self._raw = q
            self._path = path
            self._raw_path = path
        else:
            a = _blend(self.speed_cutoff, dt)
            turn = rot.quaternion_to_axis_angle(rot.multiply(rot.conjugate(self._raw), q))
            self._speed = self._speed + a * (np.sqrt(np.einsum("ji,ji->j", turn, turn)) / dt - self._speed)
            self._path_speed += a * (float(np.linalg.norm(path - self._raw_path)) / dt - self._path_speed)
            self._raw = q
            self._raw_path = path
            self._q = rot.slerp(self._q, q, _blend(self.min_cutoff + self.beta * self._speed, dt))
            self._path = self._path + _blend(self.min_cutoff + self.beta_path * self._path_speed, dt) * (
                path - self._path
            )
        self._t = t
        return self._q, self._path


def _blend(cutoff, dt: float):
    """Share of the new value in a first-order low-pass: cutoff in Hz, dt in seconds."""
    return 1.0 / (1.0 + 1.0 / (2 * np.pi * cutoff * dt))


def smooth(motion: Motion, min_cutoff: float = 1.5, beta: float = 2.0, beta_path: float = 10.0) -> Motion:
    """A clip through One-Euro forwards and backwards, so that nothing comes late. Raises MotionError.

    Of the two passes the mean is taken; each begins at its own end, so the ends of the clip stay where they
    are.
    """
    n = motion.frames
    q, pelvis = motion.quaternions.astype(np.float64), motion.pelvis.astype(np.float64)
    passes = []
    for order in (range(n), range(n - 1, -1, -1)):
        euro = OneEuro(min_cutoff, beta, beta_path)
        turned, path = np.empty_like(q), np.empty_like(pelvis)
        for k, i in enumerate(order):
            turned[i], path[i] = euro.step_quaternions(k / motion.fps, q[i], pelvis[i])
        passes.append((turned, path))
    (a, p), (b, r) = passes
    return replace(
        motion,
        body=rot.quaternion_to_axis_angle(rot.slerp(a, b, 0.5)),
        pelvis=0.5 * (p + r),
        notes=(*motion.notes, f"smoothed: One-Euro, {min_cutoff:g} Hz at rest"),
    )


class Predictor:
    """Poses a little ahead of their time, by carrying on the speed of the last ones; hides part of a source's
    latency.

    ahead: seconds, at most MAX_PREDICTION. speed_cutoff: Hz, of the low-pass on speeds, without which noise
    would be enlarged. Raises MotionError.
    """

    def __init__(self, ahead: float, speed_cutoff: float = 6.0):
        if not 0 <= ahead <= MAX_PREDICTION:
            raise MotionError(
                f"prediction: got {1000 * ahead:g} ms, expected 0 to {1000 * MAX_PREDICTION:g} ms"
            )
        if not 0.01 <= speed_cutoff <= 1000:
            raise MotionError(f"speed_cutoff: got {speed_cutoff:g} Hz, expected 0.01 to 1000")
        self.ahead = ahead
        self.speed_cutoff = speed_cutoff
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next pose passes as it is."""
        self._t: float | None = None

    def step(self, t: float, body, pelvis) -> tuple[np.ndarray, np.ndarray]:
        """The pose expected at t + ahead, from the one at t seconds: body [55,3] axis-angle, pelvis [3]
        metres; f64. Times ascend."""
        q, path = rot.axis_angle_to_quaternion(body), np.asarray(pelvis, np.float64)
        dt = np.inf if self._t is None else t - self._t
        if not 0 < dt < _STALE:
            self._turning = np.zeros((len(q), 3))
            self._moving = np.zeros(3)
        else:
            a = _blend(self.speed_cutoff, dt)
            self._turning = self._turning + a * (
                rot.quaternion_to_axis_angle(rot.multiply(rot.conjugate(self._q), q)) / dt - self._turning
            )
            self._moving = self._moving + a * ((path - self._path) / dt - self._moving)
        self._t = t
        self._q = q
        self._path = path
        ahead = rot.multiply(q, rot.axis_angle_to_quaternion(self._turning * self.ahead))
        return rot.quaternion_to_axis_angle(ahead), path + self._moving * self.ahead
