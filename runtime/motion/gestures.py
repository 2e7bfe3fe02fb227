"""Arms and hands in terms that an animator thinks in, turned into SMPL-X joint rotations."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX

from . import reference_body as ref

_MIRROR = np.array((1.0, 1.0, -1.0, -1.0))  # of a quaternion, left to right
_FINGERS = ("index", "middle", "pinky", "ring")


def arm(
    flex=0.0, abduct=0.0, twist=0.0, elbow=0.0, pronate=0.0, wrist=0.0, deviate=0.0, shrug=0.0
) -> np.ndarray:
    """An arm pose [8] in degrees; all zero = hanging straight down, palm to the thigh.

    flex: forward. abduct: to the side. twist: of the upper arm, inwards. elbow: bend. pronate: palm back
        (down, with a bent elbow).
    wrist: bend towards the palm. deviate: towards the little finger. shrug: shoulder up.
    """
    return np.array((flex, abduct, twist, elbow, pronate, wrist, deviate, shrug), np.float64)


def _about(axis: int, degrees) -> np.ndarray:
    vector = np.zeros((*np.shape(degrees), 3))
    vector[..., axis] = np.radians(degrees)
    return rot.axis_angle_to_quaternion(vector)


def arm_rotations(side: str, pose) -> dict[int, np.ndarray]:
    """Local quaternions [N,4] of collar, shoulder, elbow and wrist for arm poses [N,8]."""
    flex, abduct, twist, elbow, pronate, wrist, deviate, shrug = np.moveaxis(
        np.asarray(pose, np.float64), -1, 0
    )
    upper = rot.multiply(_about(0, -flex), rot.multiply(_about(2, abduct - 90), _about(0, twist)))
    # the collar bone takes part once the arm is well off the side
    raised = np.degrees(np.arccos(np.clip(np.cos(np.radians(flex)) * np.cos(np.radians(abduct)), -1, 1)))
    lift = 0.2 * np.maximum(raised - 30, 0) ** 2 / (np.maximum(raised - 30, 0) + 20) + shrug
    collar = rot.multiply(_about(2, lift), _about(1, -0.08 * flex))
    local = {
        "collar": collar,
        "shoulder": rot.multiply(rot.conjugate(collar), upper),
        "elbow": rot.multiply(_about(1, -elbow), _about(0, 0.4 * pronate)),
        "wrist": rot.multiply(_about(0, 0.6 * pronate), rot.multiply(_about(2, -wrist), _about(1, deviate))),
    }
    return {JOINT_INDEX[f"{side}_{name}"]: q if side == "left" else q * _MIRROR for name, q in local.items()}


def _hand(
    curl: dict[str, float], spread: float = 0.0, thumb=(0.0, 0.0, 0.0), thumb_bend: float = 0.0
) -> np.ndarray:
    """A left hand [15,3], axis-angle. curl: finger -> degrees at its knuckle (the outer joints follow);
    spread: degrees between fingers."""
    pose = np.zeros((15, 3))
    for i, (finger, fan) in enumerate(zip(_FINGERS, (-1.2, 0.0, 1.9, 0.9), strict=True)):
        bend = curl[finger]
        pose[3 * i] = 0.0, np.radians(spread * fan), -np.radians(bend)
        pose[3 * i + 1, 2] = -np.radians(max(1.15 * bend, 0))
        pose[3 * i + 2, 2] = -np.radians(max(0.75 * bend, 0))
    pose[12] = np.radians(thumb)
    pose[13:, :] = np.radians(thumb_bend) * np.array((0.57, 0.82, 0.0))
    return pose


def _curls(index, middle, ring, pinky) -> dict[str, float]:
    return {"index": index, "middle": middle, "ring": ring, "pinky": pinky}


_THUMB_IN = (20.0, 30.0, -6.0)
HANDS = {
    "relaxed": ref.relaxed_hands()[:15],
    "open": _hand(_curls(-6, -6, -6, -6), spread=7, thumb=(-12, -22, 8)),
    "soft": _hand(_curls(10, 14, 18, 20), spread=3, thumb=(0, -6, 0)),
    "fist": _hand(_curls(78, 80, 80, 78), thumb=_THUMB_IN, thumb_bend=38),
    "point": _hand(_curls(0, 80, 80, 78), thumb=_THUMB_IN, thumb_bend=38),
    "two": _hand(_curls(-2, -2, 80, 78), spread=8, thumb=_THUMB_IN, thumb_bend=38),
    "three": _hand(_curls(-4, -4, -4, 74), spread=7, thumb=_THUMB_IN, thumb_bend=34),
}


def hand_rotations(side: str, pose) -> dict[int, np.ndarray]:
    """Local quaternions [N,4] of the 15 finger joints of a side for left-hand poses [N,15,3]."""
    q = rot.axis_angle_to_quaternion(pose)
    first = JOINT_INDEX[f"{side}_index1"]
    return {first + i: q[:, i] if side == "left" else q[:, i] * _MIRROR for i in range(15)}
