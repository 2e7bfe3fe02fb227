"""Smooth curves over time for authored motion."""

from __future__ import annotations

import numpy as np


def ease(u) -> np.ndarray:
    """0 to 1 with the least jerk (speed and acceleration are 0 at both ends); clamped outside 0..1."""
    u = np.clip(u, 0.0, 1.0)
    return u * u * u * (10 + u * (6 * u - 15))


def track(t, *keys) -> np.ndarray:
    """Values over times t [N] through keys (time, value), eased between neighbours, held before the first and
    after the last.

    Values are numbers or arrays of one shape; times ascend.
    """
    t = np.asarray(t, np.float64)
    value = np.asarray(keys[0][1], np.float64)
    out = np.broadcast_to(value, (*t.shape, *value.shape)).copy()
    for (t0, v0), (t1, v1) in zip(keys, keys[1:], strict=False):
        step = np.subtract(v1, v0)
        if np.any(step):
            weight = ease((t - t0) / (t1 - t0))
            out += weight.reshape(*t.shape, *(1,) * step.ndim) * step
    return out


def bump(t, start: float, peak: float, end: float) -> np.ndarray:
    """0, up to 1 at `peak` and back to 0 at `end`, over times t [N]."""
    return ease((t - start) / (peak - start)) * (1 - ease((t - peak) / (end - peak)))


def wave(t, duration: float, cycles: int, phase: float = 0.0) -> np.ndarray:
    """A sine with a whole number of cycles in `duration`, so that it loops; phase in cycles."""
    return np.sin(2 * np.pi * (cycles * np.asarray(t) / duration + phase))
