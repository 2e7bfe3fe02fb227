"""The body's surface in texture space at one size: which texels show which surface points, and what
lies mirrored."""

from __future__ import annotations

import numpy as np

from dinar_live.export.fill import components
from dinar_live.export.texture_space import texels
from dinar_live.runtime.avatar import Rig

from .nearest import tree_of

MIRROR_NORMAL = 0.03  # metres that a unit of normal counts in the search for the mirrored surface point


class Atlas:
    """Maps of the covered texels of an atlas of `size` x `size`, the same for every shape of the body.

    covered bool[T,T]; flat i64[n] (their places in the raveled atlas); corners i64[n,3] vertices and
    barycentrics f32[n,3]; mirror i64[n] (the covered texel that shows the point mirrored at x = 0);
    skin bool[n] and skin_vertex bool[V] (not eyes, teeth and tongue); faces i32[F,3].
    """

    def __init__(self, rig: Rig, size: int):
        from scipy import sparse

        tx = texels(rig, size)
        self.size = size
        self.covered = tx.covered
        self.faces = rig.faces
        self.flat = np.flatnonzero(tx.covered.ravel())
        self.corners = rig.faces[tx.face[tx.covered]].astype(np.int64)
        self.barycentrics = tx.barycentrics[tx.covered]
        label = components(rig.faces, len(rig.model.vertices))
        self.skin_vertex = label == np.bincount(label).argmax()
        self.skin = self.skin_vertex[self.corners[:, 0]]
        self.uv = rig.uv
        self.uv_faces = rig.uv_faces
        V, F = len(rig.model.vertices), len(rig.faces)
        corner, face = rig.faces.ravel(), np.repeat(np.arange(F), 3)
        self._faces_of = sparse.csr_matrix((np.ones(3 * F), (corner, face)), (V, F))
        place = self.at(rig.model.vertices)
        normal = self.at(self.normals(rig.model.vertices)) * MIRROR_NORMAL
        turn = np.array([-1, 1, 1], np.float32)
        tree = tree_of(np.c_[place, normal])
        self.mirror = tree.query(np.c_[place * turn, normal * turn])[1]

    def __len__(self) -> int:
        return len(self.flat)

    def at(self, per_vertex: np.ndarray) -> np.ndarray:
        """Values of vertices [V,C] at the covered texels [n,C]."""
        return np.einsum("nk,nkc->nc", self.barycentrics.astype(per_vertex.dtype), per_vertex[self.corners])

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Area-weighted unit normals f32[V,3], outwards: texture_space.vertex_normals, faster."""
        a, b, c = (vertices[self.faces[:, k]].astype(np.float64) for k in range(3))
        normal = self._faces_of @ np.cross(b - a, c - a)
        return (normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)).astype(np.float32)

    def plane(self, values: np.ndarray) -> np.ndarray:
        """Values of the covered texels [n,C] as planes f32[C,T,T], 0 elsewhere."""
        out = np.zeros((values.shape[1], self.size * self.size), np.float32)
        out[:, self.flat] = values.T
        return out.reshape(-1, self.size, self.size)

    def texels_of(self, planes: np.ndarray) -> np.ndarray:
        """The covered texels [n,C] of planes [C,T,T]."""
        return planes.reshape(len(planes), -1)[:, self.flat].T

    def areas(self, vertices: np.ndarray) -> np.ndarray:
        """Surface area of each covered texel, f32[n], relative to their mean."""
        a, b, c = (vertices[self.corners[:, k]].astype(np.float64) for k in range(3))
        world = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        key = np.unique(self.corners, axis=0, return_inverse=True)[1].ravel()
        area = world / np.bincount(key)[key]
        return (area / area.mean()).astype(np.float32)
