"""Linear blend skinning of SMPL-X-like bodies, and projection of its vertices."""

import numpy as np

from . import _check, _cpu

NEAR = 0.01
"""Nearest distance to the camera that is drawn, metres."""


class BodyModel:
    """One body with its shape folded in, validated and laid out once; immutable, safe to share between
    threads.

    vertices f32[V,3], joints f32[J,3]: rest pose, metres. parents i32[J]: a parent comes before its children,
    -1 = root. skin_index u16[V,k], skin_weight f32[V,k]: joints and weights of each vertex; rows sum to 1,
    unused slots have weight 0. expression_vertex i32[n], expression_dirs f32[n,3,E]: metres per unit of
    expression, at the vertices that move at all. expression_joint_dirs f32[J,3,E]: the same for the rest
    joints. pose_dirs f32[9*(J-1),V,3] or None: metres per unit of (R - I), R row-major, of joints 1.. (SMPL-X
    "posedirs"). The arrays are kept, pose_dirs without a copy: do not change them afterwards.
    Raises TypeError or ValueError, naming the argument. Source: SMPL (Loper et al. 2015), SMPL-X (Pavlakos et
    al. 2019).
    """

    def __init__(
        self,
        vertices,
        joints,
        parents,
        skin_index,
        skin_weight,
        expression_vertex,
        expression_dirs,
        expression_joint_dirs,
        pose_dirs=None,
    ):
        f32, i32 = np.float32, np.int32
        V = len(_check.array("vertices", vertices, f32, (None, 3)))
        J = len(_check.array("joints", joints, f32, (None, 3)))
        if not V or not 0 < J <= 65535:
            raise ValueError(
                f"a body of {V} vertices and {J} joints; expected at least one of each and at most 65535 joints"
            )
        _check.array("parents", parents, i32, (J,))
        k = _check.array("skin_index", skin_index, np.uint16, (V, None)).shape[1]
        if not 1 <= k <= 255:
            raise ValueError(f"skin_index has {k} slots per vertex; expected 1 to 255")
        _check.array("skin_weight", skin_weight, f32, (V, k))
        n = len(_check.array("expression_vertex", expression_vertex, i32, (None,)))
        E = _check.array("expression_dirs", expression_dirs, f32, (n, 3, None)).shape[2]
        _check.array("expression_joint_dirs", expression_joint_dirs, f32, (J, 3, E))
        floats = {
            "vertices": vertices,
            "joints": joints,
            "skin_weight": skin_weight,
            "expression_dirs": expression_dirs,
            "expression_joint_dirs": expression_joint_dirs,
        }
        if pose_dirs is not None:
            floats["pose_dirs"] = _check.array("pose_dirs", pose_dirs, f32, (9 * (J - 1), V, 3))
        for name, value in floats.items():
            _check.finite(name, value)
        if ((parents >= np.arange(J)) | (parents < -1)).any():
            raise ValueError(
                "parents: each must be -1 or the index of an earlier joint; sort the joints from the root outwards"
            )
        if skin_index.max() >= J:
            raise ValueError(f"skin_index refers to joint {skin_index.max()}; the body has {J}")
        if (skin_weight < 0).any() or np.abs(skin_weight.sum(1, dtype=np.float64) - 1).max() > 1e-3:
            raise ValueError(
                "skin_weight: expected weights >= 0 that sum to 1 (within 1e-3) at each vertex; divide each row by its sum"
            )
        if n and (expression_vertex.min() < 0 or expression_vertex.max() >= V):
            raise ValueError(
                f"expression_vertex spans {expression_vertex.min()} to {expression_vertex.max()}; expected 0 to {V - 1}"
            )
        order = np.argsort(expression_vertex, kind="stable")
        ascending = np.ascontiguousarray(expression_vertex[order])
        if (np.diff(ascending) == 0).any():
            raise ValueError("expression_vertex names a vertex twice; expected each once")
        self.vertices = vertices
        self.joints = joints
        self.parents = parents
        self.skin_index = skin_index
        self.skin_weight = skin_weight
        self.expression_vertex = expression_vertex
        self.expression_dirs = expression_dirs
        self.expression_joint_dirs = expression_joint_dirs
        self.pose_dirs = pose_dirs
        self._native = _cpu.Body(
            vertices,
            joints,
            parents,
            skin_index,
            skin_weight,
            ascending,
            np.ascontiguousarray(expression_dirs[order]),
            expression_joint_dirs,
            pose_dirs,
        )

    @property
    def expression_count(self) -> int:
        return self.expression_joint_dirs.shape[2]


def lbs(
    model: BodyModel, body, transl, expression, *, out=None, joints_out=None, threads: int = 0
) -> np.ndarray:
    """Posed world vertices f32[V,3], metres.

    body f32[J,3]: axis-angle rotations relative to the parent, radians. transl f32[3]: metres, added to
    everything. expression f32[e], e <= E: coefficients; missing ones are zero. The rest joints follow the
    expression, as in SMPL-X. out f32[V,3], joints_out f32[J,3] (posed joints): written if given. threads: 0 =
    all cores; the result does not depend on it. Raises TypeError or ValueError for wrong types, shapes and
    NaN or Inf.
    """
    if not isinstance(model, BodyModel):
        raise TypeError(f"model is a {type(model).__name__}; expected a BodyModel")
    J, E = len(model.joints), model.expression_count
    _check.finite("body", _check.array("body", body, np.float32, (J, 3)))
    _check.finite("transl", _check.array("transl", transl, np.float32, (3,)))
    _check.finite("expression", _check.array("expression", expression, np.float32, (None,)))
    if len(expression) > E:
        raise ValueError(
            f"expression has {len(expression)} coefficients; this body has {E}; pass at most that many"
        )
    out = _check.output("out", out, np.float32, (len(model.vertices), 3))
    if joints_out is not None:
        _check.output("joints_out", joints_out, np.float32, (J, 3))
    model._native.lbs(body, transl, expression, out, joints_out, _check.threads(threads))
    return out


def project(vertices, matrix, *, out=None) -> tuple[np.ndarray, np.ndarray | None]:
    """Projective vertices f32[V,3] = (px*z, py*z, z), pixels and metres, and their bounds in the image.

    vertices f32[V,3]: world, metres. matrix f64[3,4] = K @ world_to_camera[:3] (OpenCV axes). out f32[V,3]:
    written if given. The bounds f64[4] are x0, y0, x1, y1 in pixels, or None if any vertex is nearer than
    NEAR (or there is none). Raises TypeError or ValueError for wrong types, shapes and NaN or Inf.
    """
    V = len(_check.array("vertices", vertices, np.float32, (None, 3)))
    _check.finite("matrix", _check.array("matrix", matrix, np.float64, (3, 4)))
    out = _check.output("out", out, np.float32, (V, 3))
    bounds = _cpu.project(vertices, matrix, NEAR, out)
    return out, None if bounds is None else np.array(bounds)
