"""Per-vertex offsets of the rest pose that bring the body's mesh to hair and clothes: from silhouettes, then
from colours.

Every frame sees the body's contour from one side, and its mask says how far outside (or inside) of it the
person ends; every pixel with a texture says which way the surface lies beside its place. Both are linear
equations for the offsets (contours.py, shading.py). A smooth offset field that satisfies all of them in the
least-squares sense is solved for, and they are looked up again on the moved mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dinar_live.export.fill import components
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.skeleton import JOINT_INDEX

from .colours import mean_texture
from .contours import Edges, Equations, contour_equations
from .frames import Frame, with_offsets
from .poses import SILHOUETTE_BLUR, Poses
from .shading import shading_equations

SMOOTHNESS = (
    30.0,
    10.0,
    3.0,
    1.0,
    0.5,
    0.5,
)  # of the rounds with silhouettes: first the large shapes, then the details
BLUR = (3.0, 2.0, 2.0, 1.2, 1.2, 0.8, 0.8)  # pixels, of the rounds with colours too
FINEST = 1.5  # smoothness of those
STAY = 2e-3  # pull towards the body, against drift along the surface
STAY_HANDS = 0.3  # the same on the hands, whose outline is their own
STAY_FACE = 1.0  # and on what expressions move: eyes and mouth must stay on their lids and teeth
FACE = 0.002  # metres that an expression moves a vertex of the face
STAY_INSIDE = 1e3  # eyes, teeth and tongue
HUBER_METRES = 0.01  # larger residuals count less: hair that moves, outlines that do not belong together
HUBER_COLOUR = 0.05
COLOUR_WEIGHT = 0.04  # metres that one unit of colour is worth, so that both kinds of equations can be added
PIXELS = 4000  # of a frame, looked at in a round
TEXTURE = 512  # texels a side
SOLVER_STEPS = 400
HAND_JOINTS = [
    j
    for name, j in JOINT_INDEX.items()
    if any(part in name for part in ("wrist", "index", "middle", "pinky", "ring", "thumb"))
]


def laplacian(faces: np.ndarray, vertices: int):
    """Uniform graph Laplacian, scipy sparse [V,V]: a vertex minus the mean of its neighbours."""
    from scipy import sparse

    i = np.concatenate([faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()])
    j = np.concatenate([faces[:, [1, 2, 0]].ravel(), faces[:, [0, 1, 2]].ravel()])
    adjacency = sparse.csr_matrix((np.ones(len(i)), (i, j)), (vertices, vertices))
    adjacency.data[:] = 1
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    return sparse.identity(vertices) - sparse.diags(1 / degree) @ adjacency


class Solver:
    """Least squares of equations and smoothness for one mesh."""

    def __init__(self, rig: Rig):
        from scipy import sparse

        V = len(rig.model.vertices)
        label = components(rig.faces, V)
        self.skin = label == np.bincount(label).argmax()
        strongest = rig.model.skin_index[np.arange(V), rig.model.skin_weight.argmax(1)]
        stay = np.where(np.isin(strongest, HAND_JOINTS), STAY_HANDS, STAY)
        m = rig.model
        moved = m.expression_vertex[np.linalg.norm(m.expression_dirs, axis=1).max(1, initial=0) > FACE]
        stay[moved] = np.maximum(stay[moved], STAY_FACE)
        stay = np.where(self.skin, stay, STAY_INSIDE)
        L = laplacian(rig.faces, V)
        self._smooth = sparse.kron(L.T @ L, sparse.identity(3), "csr")
        self.stay = sparse.diags(np.repeat(stay, 3))
        self._V = V

    def matrix(self, parts: Sequence[Equations]):
        """The equations as a sparse matrix [n,3V] and targets [n]."""
        from scipy import sparse

        vertex, row, target = (np.concatenate(a) for a in zip(*parts, strict=True))
        n, k = vertex.shape
        columns = 3 * vertex[:, :, None] + np.arange(3)
        return sparse.csr_matrix(
            (row.ravel(), columns.ravel(), np.arange(0, 3 * k * n + 1, 3 * k)), (n, 3 * self._V)
        ), target

    def solve(self, systems, smoothness: float, offset: np.ndarray, robust: bool = True) -> np.ndarray:
        """Offsets f64[V,3] for systems [(matrix, target, weight, huber), ...], from a first guess; reweighted
        twice if robust."""
        from scipy import sparse
        from scipy.sparse.linalg import cg

        for _ in range(2 if robust else 1):
            A, b = smoothness * self._smooth + self.stay, np.zeros(3 * self._V)
            for matrix, target, weight, huber in systems:
                residual = np.abs(matrix @ offset.ravel() - target)
                w = weight * (huber / np.maximum(residual, huber) if robust else np.ones(len(target)))
                A, b = A + matrix.T @ sparse.diags(w) @ matrix, b + matrix.T @ (w * target)
            solution, _ = cg(
                A.tocsr(),
                b,
                x0=offset.ravel(),
                rtol=1e-5,
                maxiter=SOLVER_STEPS,
                M=sparse.diags(1 / A.diagonal()),
            )
            offset = solution.reshape(-1, 3)
        return offset


def fit_offsets(
    rig: Rig,
    frames: Sequence[Frame],
    *,
    colours: bool = True,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
    poses: Poses | None = None,
):
    """Offsets f32[V,3] in metres, rest pose. Eyes, teeth and tongue keep their place. colours: refine by the
    pictures' colours too.

    report: told a line after each round. poses: of these frames, if they are to be refined after each round but the
    first; their `frames` are the refined ones afterwards. Raises InputError where no outline can be used.
    """
    solver, rng = Solver(rig), np.random.default_rng(seed)
    edges = Edges(rig.faces[solver.skin[rig.faces].all(1)])
    offset = np.zeros((len(rig.model.vertices), 3))
    rounds = [(s, None) for s in SMOOTHNESS] + [(FINEST, blur) for blur in BLUR if colours]
    for number, (smoothness, blur) in enumerate(rounds):
        matrix, target = solver.matrix([contour_equations(rig, f, offset, edges) for f in frames])
        if not len(target):
            raise InputError(
                "capture: no silhouette meets the body's outline; do pictures, cameras and poses belong together?"
            )
        systems = [(matrix, target, 1.0, HUBER_METRES)]
        if blur is not None:
            moved = with_offsets(rig, offset)
            texture, _ = mean_texture(moved, frames, TEXTURE)
            parts = [shading_equations(moved, f, offset, texture, blur, PIXELS, rng) for f in frames]
            systems.append((*solver.matrix(parts), COLOUR_WEIGHT**2, HUBER_COLOUR))
        offset = solver.solve(systems, smoothness, offset, robust=number > 0)
        residual = 1e3 * np.median(np.abs(matrix @ offset.ravel() - target))
        if poses is not None and number > 0:
            moved = with_offsets(rig, offset)
            texture = mean_texture(moved, frames, TEXTURE)[0] if blur is not None else None
            poses.refine(moved, edges, texture, blur or SILHOUETTE_BLUR, rng)
            frames = poses.frames
        largest = 1e3 * np.linalg.norm(offset, axis=1).max()
        kind = "outlines" if blur is None else "colours"
        report(
            f"mesh, round {number + 1} of {len(rounds)} ({kind}): outline off by {residual:.1f} mm (median), moved up to {largest:.0f} mm"
        )
    return offset.astype(np.float32)
