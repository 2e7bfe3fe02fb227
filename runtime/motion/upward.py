"""Which axis of a file's world points up, and the turn to ours."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot

# World rotation that brings each "up" to +y, as axis-angle.
TO_Y_UP = {"y": (0, 0, 0), "z": (-np.pi / 2, 0, 0), "-y": (np.pi, 0, 0)}
_STANDS = 0.8  # mean direction of the spine along an axis from which a body stands along it
_UNCLEAR = 0.6
# Heights of a pelvis, metres: of somebody who lies on the floor, and of somebody who stands or sits.
_LIES = (-0.2, 0.45)
_IS_UP = (0.4, 1.6)


def to_y_up(root, pelvis, up: str) -> tuple[np.ndarray, np.ndarray]:
    """Root rotations [N,3] and pelvis path [N,3] of a world whose upward axis is `up` ("y", "z" or "-y"), in
    ours."""
    turn = rot.axis_angle_to_quaternion(TO_Y_UP[up])
    return rot.quaternion_to_axis_angle(rot.multiply(turn, rot.axis_angle_to_quaternion(root))), rot.rotate(
        turn, pelvis
    )


def upward_seen(root) -> dict[str, float]:
    """How far, -1 to 1, the spine points along each possible upward axis on average over root rotations
    [N,3]."""
    spine = rot.rotate(rot.axis_angle_to_quaternion(root), (0.0, 1.0, 0.0)).mean(axis=0)
    return {"y": spine[1], "z": spine[2], "-y": -spine[1]}


def judged(root, pelvis, known: str | None) -> tuple[str, str]:
    """The upward axis of root rotations [N,3] and a pelvis path [N,3] in the file's metres, and a note, or "".

    known: what the file's keys promise. The spine is the better witness: a body that stands along another
    axis all the time is believed, unless its pelvis lies on the floor of the promised world.
    """
    seen = upward_seen(root)
    best = max(seen, key=lambda k: seen[k])
    if known is None:
        unclear = (
            f"the upward axis is not clear, taken as {best}; --up says another if the body lies or hangs"
        )
        return best, unclear if seen[best] < _UNCLEAR else ""
    if best == known or seen[best] <= _STANDS:
        return known, ""
    if _lying(pelvis, known, best):
        return known, (
            f"the body lies along {best} on the floor of a {known}-up world, as in files of this kind; "
            f"--up={best} if it should stand"
        )
    return best, (
        f"files of this kind are {known}-up, but the body stands along {best}: taken as {best}-up; "
        f"--up={known} reads it the other way"
    )


def _lying(pelvis, known: str, best: str) -> bool:
    """Whether the path keeps to the floor of the promised world, and shows no standing height in the other."""

    def height(up: str) -> np.ndarray:
        return pelvis[:, 2] if up == "z" else pelvis[:, 1] * (-1 if up == "-y" else 1)

    low, high = np.percentile(height(known), (5, 95))
    standing = _IS_UP[0] <= float(np.median(height(best))) <= _IS_UP[1]
    return _LIES[0] <= low and high <= _LIES[1] and not standing
