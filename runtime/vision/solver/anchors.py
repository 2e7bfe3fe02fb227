"""Where the networks' points lie on a body with the joints of SMPL-X: 33 of the body, 21 of each hand, 51 of the
face."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.avatar.body import Body
from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.formats.npz import Npz

from ..landmarks import POINT_NAMES

ASSETS = pathlib.Path(__file__).parents[2] / "assets"
MAX_BYTES = 64 << 20

# Joint that a body point stands at, and joint in whose frame its offset is fixed: shoulders in the collar's frame,
# so that turning the arm about itself moves nothing.
_OF_THE_BODY = {
    "shoulder": ("shoulder", "collar"),
    "elbow": ("elbow", "shoulder"),
    "wrist": ("wrist", "elbow"),
    "pinky": ("pinky1", "wrist"),
    "index": ("index1", "wrist"),
    "thumb": ("thumb2", "wrist"),
    "hip": ("hip", "pelvis"),
    "knee": ("knee", "hip"),
    "ankle": ("ankle", "knee"),
    "heel": ("ankle", "ankle"),
    "foot_index": ("ankle", "ankle"),
}
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")

# The 51 inner points of the iBUG scheme among the 468 of MediaPipe's face mesh: brows, nose, eyes, mouth.
FACE_POINTS = np.array(
    [71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144]
    + [362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317]
    + [14, 87]
)  # fmt: skip


def _joints(name: str) -> tuple[int, int]:
    side, _, part = name.partition("_")
    if part not in _OF_THE_BODY:
        return JOINT_INDEX["head"], JOINT_INDEX["head"]
    base, frame = _OF_THE_BODY[part]
    name_of = lambda joint: joint if joint == "pelvis" else f"{side}_{joint}"  # noqa: E731
    return JOINT_INDEX[name_of(base)], JOINT_INDEX[name_of(frame)]


def _mirrored(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(part, part) for part in name.split("_"))


BASE = np.array([_joints(name)[0] for name in POINT_NAMES])
FRAME = np.array([_joints(name)[1] for name in POINT_NAMES])
MIRROR = np.array([POINT_NAMES.index(_mirrored(name)) for name in POINT_NAMES])


@dataclass(frozen=True, eq=False)
class HandAnchors:
    """The 21 points of a hand. joints i[16]: the wrist and the fingers' joints, which points `at` i[16] show;
    tips i[5]: vertices, which points `tips_at` i[5] show. fingers i[15]: the joints that may turn."""

    joints: np.ndarray
    at: np.ndarray
    tips: np.ndarray
    tips_at: np.ndarray
    fingers: np.ndarray


def hand_anchors(body: Body, side: str) -> HandAnchors:
    """Of the "left" or "right" hand. A fingertip is the vertex farthest along the finger's last bone."""
    joints, at, tips, tips_at = [JOINT_INDEX[f"{side}_wrist"]], [0], [], []
    regressor = body.joint_regressor.astype(np.float64)
    owner = body.weights.argmax(1)
    for n, finger in enumerate(_FINGERS):
        chain = [JOINT_INDEX[f"{side}_{finger}{k}"] for k in (1, 2, 3)]
        joints += chain
        at += [1 + 4 * n + k for k in range(3)]
        bone = (regressor[chain[2]] - regressor[chain[1]]) @ body.template
        skin = np.flatnonzero(owner == chain[2])
        tips.append(int(skin[(body.template[skin] @ bone).argmax()]))
        tips_at.append(4 + 4 * n)
    fingers = np.array(sorted(joints[1:]))
    return HandAnchors(np.array(joints), np.array(at), np.array(tips), np.array(tips_at), fingers)


@dataclass(frozen=True, eq=False)
class FaceAnchors:
    """The 51 points on the open body's face: corners i[51,3] of triangles, weights f64[51,3]."""

    corners: np.ndarray
    weights: np.ndarray


def face_anchors(body: Body) -> FaceAnchors | None:
    """None for another body than the open one, whose file alone says where they are."""
    if body.kind != "open":
        return None
    with Npz(ASSETS / "open_body.npz", MAX_BYTES) as z:
        faces, weights = z.read("landmark_faces")[17:], z.read("landmark_bary")[17:]
    return FaceAnchors(body.faces[faces].astype(np.int64), weights.astype(np.float64))
