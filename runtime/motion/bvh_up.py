"""Which way is up in a BVH file: from the rest pose and the clip together."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot

AXES = {"y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0), "-y": (0.0, -1.0, 0.0)}
_UPRIGHT = 0.8  # cosine: trunk and legs of a standing figure lie this near to the upward axis
_FLOOR = 0.3  # leg lengths
_BED = 1.2  # leg lengths: what a lying body may lie on
_TRAVEL = 1.0  # leg lengths: a lying body does not move so far, but for along its own length


def nearest_axis(direction) -> np.ndarray:
    """The coordinate axis [3], with its sign, that is nearest to a direction."""
    axis = np.zeros(3)
    i = int(np.argmax(np.abs(direction)))
    axis[i] = np.sign(direction[i])
    return axis


def axis_name(axis) -> str:
    i = int(np.argmax(np.abs(axis)))
    return ("-" if axis[i] < 0 else "") + "xyz"[i]


def judged(
    rest_up: np.ndarray, trunk: np.ndarray, legs: np.ndarray, joints: np.ndarray, leg: float
) -> tuple[np.ndarray, str]:
    """The upward axis [3] of a clip whose rest pose stands along `rest_up` [3], and a note ("" if both agree).

    trunk, legs: unit directions [N,3] up the trunk and from ankles to hips. joints: places [N,S,3], the pelvis
    first, then both ankles, in units of which the leg is `leg` long.
    A clip that stands along another axis than its rest pose may have been turned by its root, or its figure
    lies down. It stands if the feet are then on a floor at zero, if its root tells nothing or travels as no
    lying body does.
    """
    mean = trunk.mean(axis=0)
    axis = nearest_axis(mean)
    standing = np.mean((trunk @ axis > _UPRIGHT) & (legs @ axis > _UPRIGHT))
    if axis @ rest_up > 0.5 or mean @ axis < _UPRIGHT or standing < 0.6:
        return rest_up, ""
    feet = np.median((joints[:, 1:3] @ axis).min(axis=1)) / leg
    lowest = np.median((joints @ rest_up).min(axis=1)) / leg
    pelvis = joints[:, 0]
    across = pelvis - (pelvis @ axis)[:, None] * axis
    travel = np.linalg.norm(np.ptp(across, axis=0)) / leg
    untold = np.abs(np.ptp(pelvis, axis=0)).max() < 1e-3 * leg and np.abs(pelvis[0] @ axis) < 1e-3 * leg
    old, new = axis_name(rest_up), axis_name(axis)
    if axis @ rest_up < -0.5:  # head down; travel tells nothing here
        if abs(feet) < _FLOOR or untold:
            return axis, f"the clip stands along {new}, the rest pose along {old}: read with {new} up"
        return rest_up, f"the body is head down all the time; if it should stand: --up {new}"
    if abs(feet) < _FLOOR or travel > _TRAVEL or untold or not -_FLOOR < lowest < _BED:
        return (
            axis,
            f"the rest pose has {old} up, the clip stands along {new}: read with {new} up (else --up {old})",
        )
    return rest_up, f"the body lies along {new} all the time; if it should stand: --up {new}"


def turn_to_y(axis: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Rotation [4] that carries the upward axis to y and the axis nearest to `left` to x."""
    level = left - (left @ axis) * axis
    x = nearest_axis(level) if np.linalg.norm(level) > 1e-6 else np.roll(axis, 1)
    return rot.matrix_to_quaternion(np.stack([x, axis, np.cross(x, axis)]))
