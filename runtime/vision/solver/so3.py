"""Small rotations: what the solver's derivatives need beside runtime/core/rotations.py. float64."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core.rotations import matrix_to_quaternion, quaternion_to_axis_angle


def log(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices [...,3,3] -> axis-angle [...,3], of an angle of at most pi."""
    return quaternion_to_axis_angle(matrix_to_quaternion(rotations))


def skew(v: np.ndarray) -> np.ndarray:
    """Vectors [...,3] -> matrices [...,3,3] with skew(a) @ b = a x b."""
    out = np.zeros((*v.shape, 3))
    out[..., 0, 1] = -v[..., 2]
    out[..., 0, 2] = v[..., 1]
    out[..., 1, 0] = v[..., 2]
    out[..., 1, 2] = -v[..., 0]
    out[..., 2, 0] = -v[..., 1]
    out[..., 2, 1] = v[..., 0]
    return out


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a x b over the last axis, broadcast. numpy's own takes several times as long for small arrays."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def right_jacobian_inverse(axis_angle: np.ndarray) -> np.ndarray:
    """d log(R exp(d)) / d d at d = 0, for R = exp(axis_angle): [...,3] -> [...,3,3]. Defined below 2 pi."""
    angle = np.linalg.norm(axis_angle, axis=-1)
    small = angle < 1e-3
    t = np.where(small, 1.0, angle)
    factor = np.where(small, 1 / 12 + angle**2 / 720, 1 / t**2 - 1 / (2 * t * np.tan(t / 2)))
    k = skew(axis_angle)
    return np.eye(3) + k / 2 + factor[..., None, None] * (k @ k)
