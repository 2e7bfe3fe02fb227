"""Rotations as numpy arrays in float64: axis-angle [...,3], quaternions (w, x, y, z) [...,4], matrices
[...,3,3], Euler angles. Radians."""

from __future__ import annotations

import numpy as np

_AXES = {"x": 0, "y": 1, "z": 2}


def axis_angle_to_quaternion(axis_angle) -> np.ndarray:
    """Axis-angle [...,3] -> unit quaternion [...,4]."""
    v = np.asarray(axis_angle, np.float64)
    half = 0.5 * np.sqrt(np.einsum("...i,...i->...", v, v))
    q = np.empty((*v.shape[:-1], 4))
    q[..., 0] = np.cos(half)
    q[..., 1:] = v * (0.5 * np.sinc(half / np.pi))[..., None]  # sin(h)/h is 1 at 0
    return q


def quaternion_to_axis_angle(quaternion) -> np.ndarray:
    """Unit quaternion [...,4] -> axis-angle [...,3] with an angle of at most pi."""
    q = np.asarray(quaternion, np.float64)
    v = q[..., 1:]
    sine = np.sqrt(np.einsum("...i,...i->...", v, v))
    half = np.arctan2(sine, np.abs(q[..., 0]))
    small = sine < 1e-9
    scale = np.where(small, 2.0, 2.0 * half / np.where(small, 1.0, sine))
    return v * (np.where(q[..., 0] < 0, -scale, scale))[..., None]


def quaternion_to_matrix(quaternion) -> np.ndarray:
    """Unit quaternion [...,4] -> rotation matrix [...,3,3]."""
    q = np.asarray(quaternion, np.float64)
    w, x, y, z = (q[..., i] for i in range(4))
    m = np.empty((*q.shape[:-1], 3, 3))
    m[..., 0, 0] = 1 - 2 * (y * y + z * z)
    m[..., 0, 1] = 2 * (x * y - w * z)
    m[..., 0, 2] = 2 * (x * z + w * y)
    m[..., 1, 0] = 2 * (x * y + w * z)
    m[..., 1, 1] = 1 - 2 * (x * x + z * z)
    m[..., 1, 2] = 2 * (y * z - w * x)
    m[..., 2, 0] = 2 * (x * z - w * y)
    m[..., 2, 1] = 2 * (y * z + w * x)
    m[..., 2, 2] = 1 - 2 * (x * x + y * y)
    return m


def matrix_to_quaternion(matrix) -> np.ndarray:
    """Rotation matrix [...,3,3] -> unit quaternion [...,4] with w >= 0."""
    m = np.asarray(matrix, np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # four times the outer product q q^T: any row is the quaternion scaled, the one with the largest diagonal
    # is well conditioned
    k = np.empty((*m.shape[:-2], 4, 4))
    k[..., 0, 0] = 1 + xx + yy + zz
    k[..., 1, 1] = 1 + xx - yy - zz
    k[..., 2, 2] = 1 - xx + yy - zz
    k[..., 3, 3] = 1 - xx - yy + zz
    k[..., 0, 1] = k[..., 1, 0] = m[..., 2, 1] - m[..., 1, 2]
    k[..., 0, 2] = k[..., 2, 0] = m[..., 0, 2] - m[..., 2, 0]
    k[..., 0, 3] = k[..., 3, 0] = m[..., 1, 0] - m[..., 0, 1]
    k[..., 1, 2] = k[..., 2, 1] = m[..., 1, 0] + m[..., 0, 1]
    k[..., 1, 3] = k[..., 3, 1] = m[..., 0, 2] + m[..., 2, 0]
    k[..., 2, 3] = k[..., 3, 2] = m[..., 2, 1] + m[..., 1, 2]
    best = np.argmax(np.diagonal(k, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(k, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., :1] < 0, -q, q)


def axis_angle_to_matrix(axis_angle) -> np.ndarray:
    """Axis-angle [...,3] -> rotation matrix [...,3,3]."""
    return quaternion_to_matrix(axis_angle_to_quaternion(axis_angle))


def multiply(a, b) -> np.ndarray:
    """Quaternion product a b [...,4]: b acts first."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    aw, ax, ay, az = (a[..., i] for i in range(4))
    bw, bx, by, bz = (b[..., i] for i in range(4))
    out = np.empty((*np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), 4))
    out[..., 0] = aw * bw - ax * bx - ay * by - az * bz
    out[..., 1] = aw * bx + ax * bw + ay * bz - az * by
    out[..., 2] = aw * by - ax * bz + ay * bw + az * bx
    out[..., 3] = aw * bz + ax * by - ay * bx + az * bw
    return out


def conjugate(quaternion) -> np.ndarray:
    """The inverse of a unit quaternion [...,4]."""
    return np.asarray(quaternion, np.float64) * (1.0, -1.0, -1.0, -1.0)


def rotate(quaternion, vector) -> np.ndarray:
    """Vectors [...,3] turned by unit quaternions [...,4]."""
    q, v = np.asarray(quaternion, np.float64), np.asarray(vector, np.float64)
    w, x, y, z = (q[..., i] for i in range(4))
    a, b, c = (v[..., i] for i in range(3))
    # t = 2 u x v, and v + w t + u x t, written out: numpy's cross takes three times as long
    ta, tb, tc = 2.0 * (y * c - z * b), 2.0 * (z * a - x * c), 2.0 * (x * b - y * a)
    out = np.empty((*np.broadcast_shapes(q.shape[:-1], v.shape[:-1]), 3))
    out[..., 0] = a + w * ta + (y * tc - z * tb)
    out[..., 1] = b + w * tb + (z * ta - x * tc)
    out[..., 2] = c + w * tc + (x * tb - y * ta)
    return out


def euler_to_quaternion(angles, order: str) -> np.ndarray:
    """Angles [...,n] about the axes named in `order`, as BVH channels compose: "zyx" means Rz Ry Rx ->
    quaternion [...,4]."""
    angles = 0.5 * np.asarray(angles, np.float64)
    parts = [np.ones(angles.shape[:-1]), 0.0, 0.0, 0.0]  # of the product so far
    for i, axis in enumerate(order.lower()):
        cosine, sine = np.cos(angles[..., i]), np.sin(angles[..., i])
        k = _AXES[axis]
        along, one, other = 1 + k, 1 + (k + 1) % 3, 1 + (k + 2) % 3
        w, a, b, c = parts[0], parts[along], parts[one], parts[other]
        parts[0] = w * cosine - a * sine
        parts[along] = a * cosine + w * sine
        parts[one] = b * cosine + c * sine
        parts[other] = c * cosine - b * sine
    out = np.empty((*angles.shape[:-1], 4))
    for i, part in enumerate(parts):
        out[..., i] = part
    return out


def quaternion_to_euler_zxy(quaternion) -> np.ndarray:
    """Unit quaternion [...,4] -> angles [...,3] about z, x, y with `euler_to_quaternion(angles, "zxy")` the
    same rotation.

    At x = +-90 degrees only the sum of the other two is defined; y is 0 there.
    """
    m = quaternion_to_matrix(quaternion)  # Rz Rx Ry
    x = np.arcsin(np.clip(m[..., 2, 1], -1.0, 1.0))
    locked = np.hypot(m[..., 0, 1], m[..., 1, 1]) < 1e-7
    z = np.where(locked, np.arctan2(m[..., 1, 0], m[..., 0, 0]), np.arctan2(-m[..., 0, 1], m[..., 1, 1]))
    y = np.where(locked, 0.0, np.arctan2(-m[..., 2, 0], m[..., 2, 2]))
    return np.stack([z, x, y], axis=-1)


def slerp(a, b, t) -> np.ndarray:
    """From a to b [...,4] along the shorter arc; t [...] in 0..1, broadcast. Falls back to a normalised blend
    where the arc is tiny."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    t = np.asarray(t, np.float64)
    dot = np.einsum("...i,...i->...", a, b)
    sign = np.where(dot < 0, -1.0, 1.0)
    angle = np.arccos(np.clip(dot * sign, 0.0, 1.0))
    sine = np.sin(angle)
    near = sine < 1e-4  # the blend is off by less than 1e-9 rad here
    safe = np.where(near, 1.0, sine)
    wa = np.where(near, 1.0 - t, np.sin((1.0 - t) * angle) / safe)
    wb = np.where(near, t, np.sin(t * angle) / safe) * sign
    q = wa[..., None] * a + wb[..., None] * b
    return q / np.sqrt(np.einsum("...i,...i->...", q, q))[..., None]


def between(a, b) -> np.ndarray:
    """The smallest rotation that carries direction a to direction b ([...,3], any length > 0) -> quaternion
    [...,4].

    Opposite directions: half a turn about an axis at right angles to a.
    """
    a, b = unit(a), unit(b)
    a, b = np.broadcast_arrays(a, b)
    q = np.empty((*a.shape[:-1], 4))
    q[..., 0] = 1.0 + np.einsum("...i,...i->...", a, b)
    q[..., 1:] = np.cross(a, b)
    opposite = q[..., 0] < 1e-9
    if opposite.any():
        other = np.eye(3)[np.argmin(np.abs(a), axis=-1)]
        q[..., 1:] = np.where(opposite[..., None], np.cross(a, other), q[..., 1:])
        q[..., 0] = np.where(opposite, 0.0, q[..., 0])
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def unit(vector) -> np.ndarray:
    """Vectors [...,3] scaled to length 1; zero stays zero."""
    v = np.asarray(vector, np.float64)
    n = np.linalg.norm(v, axis=-1, keepdims=True)
    return v / np.where(n > 1e-12, n, 1.0)


def frame(first, second) -> np.ndarray:
    """Orthonormal right-handed frames [...,3,3] whose column 0 is `first` and whose column 1 is `second` made
    orthogonal to it."""
    x = unit(first)
    second = np.asarray(second, np.float64)
    y = unit(second - np.einsum("...i,...i->...", x, second)[..., None] * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def continuous(quaternions) -> np.ndarray:
    """Flip signs along axis 0 so that neighbours [N,...,4] lie on the same half of the sphere."""
    q = np.asarray(quaternions)
    if len(q) < 2:
        return q
    flips = np.einsum("n...i,n...i->n...", q[1:], q[:-1]) < 0
    sign = np.where(np.cumsum(flips, axis=0) % 2, -1.0, 1.0).astype(q.dtype)
    return np.concatenate([q[:1], q[1:] * sign[..., None]])
