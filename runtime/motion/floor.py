"""Keep feet on the floor: a vertical correction of the pelvis, frame by frame, for captures whose floor
drifts or tilts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dinar_live.runtime.core.errors import MotionError

from . import kinematics
from . import reference_body as ref
from .motion import Motion

# Residuals up to this, in leg lengths (1.3 cm), are left alone: they are the give of shoes and flesh, and
# removing them makes a body bob.
_TOLERANCE, _LIMIT = 0.015, 0.020
_SLOW, _FAST = 0.30, 0.04  # seconds, sigma of the two smoothing windows
_GRAVITY = 9.81
# A body flies while it falls freely (its acceleration is near -g, which no carried body's is for long) and no
# sole rests: while walking, the lowest point of the soles moves at less than 0.2 m/s, in the jumps of the
# test clips at 0.5 to 3 m/s.
_FALLING, _RESTING = -0.45, 0.35
_JOIN = 0.05  # seconds: carried for less than this between two flights is noise
_GROW = 0.05  # seconds


def snap_to_floor(motion: Motion, *, rig_joints=None, sole: float | None = None) -> Motion:
    """The clip with its lowest foot on y = 0 of the body that it was made for, except while the body flies.

    rig_joints: [55,3] rest joints, metres, of the avatar whose feet count, by default the open body's; sole:
    y of its soles at rest. While a foot carries the body, the lowest point of the soles ends within 2 cm of
    the floor. Between take-off and landing (free fall of the body) the correction runs on evenly. For flat
    ground only: stairs, chairs, cartwheels and lying bodies come out wrong. Raises MotionError.
    """
    rest = ref.rest_joints() if rig_joints is None else np.asarray(rig_joints, np.float64)
    if rest.shape != (55, 3) or not np.isfinite(rest).all():
        raise MotionError(f"rig_joints: got shape {list(rest.shape)}, expected [55, 3] finite numbers")
    leg = kinematics.leg_length(rest)
    scale = leg / motion.leg_length
    n = motion.frames
    path = motion.pelvis.astype(np.float64) * scale
    height, speed = np.empty(n), np.empty(n)
    for i in range(0, n, 4096):
        part = slice(max(i - 1, 0), i + 4097)  # one more on each side, for speeds
        world = kinematics.global_rotations(motion.quaternions[part, :12], kinematics.PARENTS[:12])
        points = kinematics.foot_points(world, rest, path[part], sole)
        own = slice(i - part.start, i - part.start + 4096)
        height[i : i + 4096], speed[i : i + 4096] = (v[own] for v in _lowest(points, motion.fps))
    carried = ~_flying(path[:, 1], speed, motion.fps)
    lift = _lift(height, carried, motion.fps, leg)
    pelvis = motion.pelvis.astype(np.float64)
    pelvis[:, 1] += lift / scale
    note = f"floor snap: moved by {100 * (lift.min()):+.1f} to {100 * lift.max():+.1f} cm"
    if not carried.all():
        note += f", in the air in {100 * (1 - carried.mean()):.0f} % of the frames"
    return replace(motion, pelvis=pelvis, notes=(*motion.notes, note))


def _lowest(points: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Height [N] and speed [N] of the lowest of the sole points [N,16,3]; metres, m/s."""
    lowest = points[..., 1].argmin(axis=1)[:, None]
    velocity = np.gradient(points, axis=0) * fps if len(points) > 1 else np.zeros_like(points)
    speed = np.linalg.norm(np.take_along_axis(velocity, lowest[..., None], axis=1)[:, 0], axis=-1)
    return np.take_along_axis(points[..., 1], lowest, axis=1)[:, 0], speed


def _flying(y: np.ndarray, speed: np.ndarray, fps: float) -> np.ndarray:
    """Frames [N] in which the body falls freely, from heights y [N] of the pelvis and speeds [N] of the
    lowest sole point."""
    if len(y) < 8:
        return np.zeros(len(y), bool)
    acceleration = np.gradient(np.gradient(_smoothed(y, 0.03 * fps))) * fps * fps / _GRAVITY
    out = _closed(acceleration < _FALLING, _JOIN * fps)
    for start, stop in _runs(out):  # as a whole: at the top of a jump the soles rest for a moment too
        if not (np.median(speed[start:stop]) > _RESTING):
            out[start:stop] = False
            continue
        # the smoothing of the acceleration has shortened the flight: it goes on as long as the soles move,
        # but not far
        reach, moving = round(_GROW * fps), speed > _RESTING
        while start > 0 and reach and moving[start - 1]:
            start, reach = start - 1, reach - 1
        reach = round(_GROW * fps)
        while stop < len(out) and reach and moving[stop]:
            stop, reach = stop + 1, reach - 1
        out[start:stop] = True
    return out


def _runs(flags: np.ndarray) -> np.ndarray:
    """First frame and the one after the last [R,2] of each run of true in flags [N]."""
    return np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))).reshape(-1, 2)


def _closed(flags: np.ndarray, gap: float) -> np.ndarray:
    """Flags [N] with holes of at most `gap` frames filled."""
    out, runs = flags.copy(), _runs(flags)
    for (_, stop), (start, _) in zip(runs, runs[1:], strict=False):
        if start - stop <= gap:
            out[stop:start] = True
    return out


def _lift(height: np.ndarray, carried: np.ndarray, fps: float, leg: float) -> np.ndarray:
    """Correction [N], metres: smooth, and within the tolerance wherever the body is carried; it never pushes
    a sole below the floor."""
    n = len(height)
    at = np.arange(n)
    if not carried.any():
        return np.full(n, -height.min())
    wanted = np.interp(at, at[carried], -height[carried])
    slow = _smoothed(wanted, _SLOW * fps)
    tolerance, limit = _TOLERANCE * leg, _LIMIT * leg
    bounded = np.maximum(np.clip(slow, wanted - tolerance, wanted + tolerance), -height - tolerance)
    soft = _smoothed(bounded, _FAST * fps)
    # that has rounded the corners of the bounds off; where the path moves fast it may be too much
    return np.maximum(np.clip(soft, wanted - limit, wanted + limit), -height - limit)


def _smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing [N]; sigma in frames. The ends are carried on as they are."""
    reach = int(np.ceil(3 * sigma))
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
