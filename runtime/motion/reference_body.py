"""Numbers of the bodies that clips are made for: rest joints and relaxed hands of the open body, sizes of the
SMPL family."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core.skeleton import JOINT_INDEX

# The open body (CC0) in its T-pose, metres. The sides mirror each other.
_MIDDLE = {
    "pelvis": (0.0000, -0.3500, 0.0003),
    "spine1": (0.0000, -0.2782, 0.0146),
    "spine2": (0.0000, -0.1959, 0.0116),
    "spine3": (0.0000, -0.0657, 0.0004),
    "neck": (0.0000, 0.1217, 0.0381),
    "head": (0.0000, 0.2220, 0.0728),
    "jaw": (0.0000, 0.2306, 0.0876),
}
_LEFT = {
    "hip": (0.1137, -0.4460, 0.0301),
    "knee": (0.1212, -0.8434, 0.0618),
    "ankle": (0.1357, -1.2772, 0.0309),
    "foot": (0.1377, -1.3272, 0.1777),
    "collar": (0.0233, 0.0464, 0.0532),
    "shoulder": (0.1765, 0.0618, 0.0489),
    "elbow": (0.4422, 0.0621, 0.0489),
    "wrist": (0.6816, 0.0620, 0.0491),
    "eye": (0.0300, 0.2638, 0.1529),
    "index1": (0.7908, 0.0574, 0.0764),
    "index2": (0.8179, 0.0574, 0.0799),
    "index3": (0.8420, 0.0574, 0.0830),
    "middle1": (0.7899, 0.0619, 0.0491),
    "middle2": (0.8252, 0.0619, 0.0451),
    "middle3": (0.8540, 0.0619, 0.0418),
    "pinky1": (0.7738, 0.0574, 0.0092),
    "pinky2": (0.7944, 0.0574, -0.0000),
    "pinky3": (0.8093, 0.0574, -0.0067),
    "ring1": (0.7838, 0.0623, 0.0286),
    "ring2": (0.8138, 0.0623, 0.0198),
    "ring3": (0.8389, 0.0623, 0.0124),
    "thumb1": (0.7214, 0.0577, 0.0746),
    "thumb2": (0.7335, 0.0361, 0.0952),
    "thumb3": (0.7602, 0.0173, 0.1152),
}
# Relaxed left hand: axis-angle of index, middle, pinky, ring and thumb 1-3, in the order of the joints.
_RELAXED_LEFT = (
    (0.0336, -0.0207, -0.2611),
    (0.0271, 0.0427, -0.2108),
    (0.0157, -0.0033, -0.1219),
    (-0.0355, 0.0263, -0.3158),
    (-0.0125, -0.0571, -0.1111),
    (-0.0134, 0.0328, -0.1193),
    (-0.1512, 0.0201, -0.3392),
    (-0.0657, -0.0460, -0.1473),
    (0.0057, 0.0247, 0.0127),
    (-0.0792, 0.0318, -0.2713),
    (-0.0382, -0.0682, -0.1310),
    (-0.0285, 0.0645, -0.0978),
    (0.0000, 0.0000, 0.0000),
    (0.0000, 0.0000, 0.0000),
    (0.0000, 0.0000, 0.0000),
)
_MIRROR_POINT = np.array((-1.0, 1.0, 1.0))
_MIRROR_ROTATION = np.array((1.0, -1.0, -1.0))

# y of the open body's soles in its T-pose, metres
SOLE = -1.3548
# Pelvis joint and leg length (metres) of the mean bodies, for files whose body model is not at hand.
# The pelvis only moves a clip as a whole; the leg length scales its travel.
SMPLX_PELVIS, SMPLX_LEG = (0.0031, -0.3514, 0.0120), 0.783
SMPL_PELVIS, SMPL_LEG = (-0.0022, -0.2408, 0.0286), 0.783


def rest_joints() -> np.ndarray:
    """f64[55,3] rest joints of the open body, metres, y up, facing +z."""
    joints = np.empty((55, 3))
    for name, point in _MIDDLE.items():
        joints[JOINT_INDEX[name]] = point
    for name, point in _LEFT.items():
        joints[JOINT_INDEX[f"left_{name}"]] = point
        joints[JOINT_INDEX[f"right_{name}"]] = _MIRROR_POINT * point
    return joints


def relaxed_hands() -> np.ndarray:
    """f64[30,3] axis-angle of the open body's relaxed hands: left, then right (joints 25 to 54)."""
    left = np.array(_RELAXED_LEFT)
    return np.concatenate([left, left * _MIRROR_ROTATION])
