"""Fields of offsets on the body's mesh: smooth ones from scattered targets, from planes of the atlas,
and skirts' weights."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live.export.fill import extend
from dinar_live.export.fit.offsets import FACE, HAND_JOINTS, laplacian
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J

from .atlas import Atlas

SMOOTHNESS = 0.5
STAY, STAY_HANDS, STAY_INSIDE = (
    1e-4,
    5.0,
    1e3,
)  # pull towards the body: everywhere, on hands and face, on eyes and teeth
LEGS = [J[f"{s}_{n}"] for s in ("left", "right") for n in ("hip", "knee", "ankle", "foot")]


class Field:
    """The mesh's stiffness and what keeps its place: hands, face, eyes and teeth. joint i64[V]: the
    strongest of a vertex."""

    def __init__(self, rig: Rig, atlas: Atlas):
        V, m = len(rig.model.vertices), rig.model
        self.atlas = atlas
        self.laplacian = laplacian(rig.faces, V).tocsr()
        self.stiff = (self.laplacian.T @ self.laplacian).tocsc()
        self.joint = m.skin_index[np.arange(V), m.skin_weight.argmax(1)].astype(int)
        stay = np.where(np.isin(self.joint, HAND_JOINTS), STAY_HANDS, STAY)
        moved = m.expression_vertex[np.linalg.norm(m.expression_dirs, axis=1).max(1, initial=0) > FACE]
        stay[moved] = np.maximum(stay[moved], STAY_HANDS)
        stay[~atlas.skin_vertex] = STAY_INSIDE
        self.stay = stay

    def smoothed(self, target: np.ndarray, weight: np.ndarray, smoothness: float = SMOOTHNESS) -> np.ndarray:
        """The smooth field f64[V,3] nearest to targets f64[V,3] of weights f64[V]; hands and face
        stay."""
        from scipy import sparse
        from scipy.sparse.linalg import splu

        matrix = self.stiff * smoothness + sparse.diags(weight + 0.3 * self.stay)
        return splu(matrix.tocsc()).solve(weight[:, None] * target)

    def at_vertices(self, planes: np.ndarray) -> np.ndarray:
        """Values f64[V,C] of planes f32[C,T,T] at the vertices: the mean over their places in the
        atlas."""
        a, size = self.atlas, planes.shape[1]
        image = extend(np.ascontiguousarray(planes.transpose(1, 2, 0)), a.covered).astype(np.float32)
        place = np.clip(a.uv * (size - 1), 0, size - 1).astype(np.float32)
        columns = [cv2.remap(image[..., c], place[:, None, 0], place[:, None, 1], cv2.INTER_LINEAR)[:, 0]
                   for c in range(image.shape[2])]  # fmt: skip
        read = np.stack(columns, 1)
        V = len(self.stay)
        count = np.maximum(np.bincount(a.faces.ravel(), minlength=V), 1)
        value = [
            np.bincount(a.faces.ravel(), read[a.uv_faces.ravel(), c], V) / count for c in range(read.shape[1])
        ]
        return np.stack(value, 1)


def hanging_weights(joints: np.ndarray, points: np.ndarray, torso: np.ndarray) -> np.ndarray:
    """Skin weights f64[n,55] of cloth that hangs over both legs, at points f64[n,3] of the T-pose.

    The torso's weights f64[n,55] above the hips; below, shared by both legs and the pelvis. joints
    f[55,3].
    """

    def smooth(t):
        t = np.clip(t, 0, 1)
        return t * t * (3 - 2 * t)

    hip, knee = joints[J["left_hip"]], joints[J["left_knee"]]
    torso = torso.copy()
    torso[:, LEGS] = 0
    torso[:, J["pelvis"]] += 0.05
    torso /= torso.sum(1, keepdims=True)
    legs = 0.9 * smooth((hip[1] + 0.02 - points[:, 1]) / 0.25)
    left = smooth(0.5 + 0.5 * points[:, 0] / (1.2 * hip[0]))
    below = 0.75 * smooth((knee[1] + 0.12 - points[:, 1]) / 0.3)
    w = (1 - legs)[:, None] * torso
    for side, share in (("left", left), ("right", 1 - left)):
        w[:, J[f"{side}_hip"]] += legs * share * (1 - below)
        w[:, J[f"{side}_knee"]] += legs * share * below
    return w


def with_hanging_weights(rig: Rig, offset: np.ndarray, draped: np.ndarray) -> Rig:
    """`rig` whose vertices follow both legs as far as draped f[V] in [0,1] says, so that a skirt does
    not split.

    offset f[V,3]: where the cloth is; the rig's vertices stay.
    """
    arrays = rig.arrays()
    V = len(arrays["vertices"])
    dense = np.zeros((V, 55))
    rows = np.repeat(np.arange(V), arrays["skin_index"].shape[1])
    np.add.at(dense, (rows, arrays["skin_index"].ravel().astype(int)), arrays["skin_weight"].ravel())
    on = np.flatnonzero(draped > 0.01)
    if not len(on):
        return rig
    hang = hanging_weights(
        arrays["joints"].astype(float), (arrays["vertices"] + offset)[on].astype(float), dense[on]
    )
    dense[on] += draped[on, None] * (hang - dense[on])
    slots = max(arrays["skin_index"].shape[1], 8)
    index = np.argsort(-dense, axis=1, kind="stable")[:, :slots]
    weight = np.take_along_axis(dense, index, 1)
    arrays["skin_index"] = np.ascontiguousarray(index, np.uint16)
    arrays["skin_weight"] = np.ascontiguousarray(weight / weight.sum(1, keepdims=True), np.float32)
    return Rig.from_arrays(arrays, rig.expression_names)
