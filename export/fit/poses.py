"""Poses of a capture that were estimated, not known: refined frame by frame while the mesh is found.

A pose that is off by 4 degrees costs an avatar more than all else. Outline and colours say how the surface of a frame
lies beside the picture; here the same equations (contours.py, shading.py) are read as equations for the frame's own
pose and translation, with priors to the estimate and to what the frames before and after say (Gauss-Newton; the shape
is held).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dinar_live.export.capture import Capture
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.core.skeleton import JOINT_INDEX, PARENTS
from dinar_live.runtime.vision.solver.so3 import log
from dinar_live.runtime.vision.solver.threads import one_blas_thread

from .contours import Edges, Equations, contour_equations
from .frames import Frame, skinning
from .shading import shading_equations

FREE = np.array([j for j in range(22) if j not in (JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"])])
CONTOUR_SIGMA, CONTOUR_REACH, CONTOUR_WEIGHT = 0.006, 0.01, 0.25  # metres, Cauchy's, neighbours agree
COLOUR_SIGMA, COLOUR_REACH, COLOUR_WEIGHT = 0.06, 0.06, 0.1
PIXELS = 700  # of a frame whose colours are looked at
STEPS = 2  # of Gauss-Newton at each call
DAMPING = 1e-3
LARGEST_TURN, LARGEST_MOVE = 0.15, 0.03  # radians, metres, in one step
SILHOUETTE_BLUR = 2.0  # pixels, where the mesh is still being found by outlines
USUAL_GAP = 0.15  # seconds between two frames that NEAR_TURN and NEAR_PLACE are meant for


@dataclass(frozen=True)
class Trust:
    """Standard deviations: of the estimate (turn in degrees, place in metres) and of a frame from the middle of its
    neighbours (near_turn, near_place)."""

    turn: float = 4.0
    place: float = 0.03
    near_turn: float = 1.5
    near_place: float = 0.005


class Poses:
    """The poses of some frames, being refined. frames: as they are now."""

    def __init__(self, frames: Sequence[Frame], times: np.ndarray | None = None, trust: Trust | None = None):
        self.frames = list(frames)
        self.times = times
        self.trust = trust or Trust()
        self.local = axis_angle_to_matrix(np.stack([f.pose.body for f in frames]).astype(np.float64))
        self.transl = np.stack([f.pose.transl for f in frames]).astype(np.float64)
        self._first = self.local.copy()
        self._first_transl = self.transl.copy()

    def refine(
        self, rig: Rig, edges: Edges, texture: np.ndarray | None, blur: float, rng: np.random.Generator,
        steps: int = STEPS,
    ) -> None:  # fmt: skip
        """`steps` of Gauss-Newton on every frame. rig: with its offsets; texture f32[T,T,3], None: outlines only;
        blur: pixels, see `shading_equations`."""
        with one_blas_thread():
            for _ in range(steps):
                for i in range(len(self.frames)):
                    self._step(i, rig, edges, texture, blur, rng)

    def _step(self, i: int, rig: Rig, edges: Edges, texture, blur: float, rng: np.random.Generator) -> None:
        frame = self.frames[i]
        linear = skinning(rig, frame.pose)[0]
        still = np.zeros((len(rig.model.vertices), 3))
        systems = [
            (contour_equations(rig, frame, still, edges), CONTOUR_SIGMA, CONTOUR_REACH, CONTOUR_WEIGHT)
        ]
        if texture is not None:
            colours = shading_equations(rig, frame, still, texture, blur, PIXELS, rng)
            systems.append((colours, COLOUR_SIGMA, COLOUR_REACH, COLOUR_WEIGHT))
        n = 3 * len(FREE)
        A, b = np.zeros((n + 3, n + 3)), np.zeros(n + 3)
        for equations, sigma, reach, weight in systems:
            if not len(equations.target):
                continue
            rows = pose_rows(rig, self.local[i], self.transl[i], frame.pose.expression, equations, linear)
            w = weight / sigma**2 / (1 + (equations.target / reach) ** 2)
            A += rows.T @ (w[:, None] * rows)
            b += rows.T @ (w * equations.target)
        t = self.trust
        self._pull(A, b, i, self._first[i], self._first_transl[i], np.radians(t.turn) / np.sqrt(3), t.place)
        near = self._middle(i)
        if near is not None:
            local, transl, wider = near
            self._pull(
                A, b, i, local, transl, wider * np.radians(t.near_turn) / np.sqrt(3), wider * t.near_place
            )
        self._move(i, np.linalg.solve(A + DAMPING * np.diag(np.diag(A)), b))

    def _pull(
        self, A: np.ndarray, b: np.ndarray, i: int, local: np.ndarray, transl: np.ndarray, turn: float, place: float
    ) -> None:  # fmt: skip
        n = 3 * len(FREE)
        off = log(np.swapaxes(local[FREE], 1, 2) @ self.local[i][FREE]).ravel()
        diagonal = np.arange(n + 3)
        A[diagonal[:n], diagonal[:n]] += 1 / turn**2
        b[:n] -= off / turn**2
        A[diagonal[n:], diagonal[n:]] += 1 / place**2
        b[n:] -= (self.transl[i] - transl) / place**2

    def _middle(self, i: int) -> tuple[np.ndarray, np.ndarray, float] | None:
        """What the frames before and after say of frame i, and how much less to trust it for their distance in time;
        None at the ends, or where no times are known."""
        if self.times is None or not 0 < i < len(self.frames) - 1:
            return None
        local, transl = self.between(float(self.times[i]), skip=i)
        gap = (self.times[i + 1] - self.times[i - 1]) / 2
        return local, transl, float(np.clip((gap / USUAL_GAP) ** 2, 1.0, 4.0))

    def between(self, time: float, skip: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Pose and translation at a time, from the frames before and after (without frame `skip`)."""
        assert self.times is not None
        keep = np.delete(np.arange(len(self.frames)), [] if skip is None else [skip])
        at = int(np.clip(np.searchsorted(self.times[keep], time), 1, len(keep) - 1))
        a, b = keep[at - 1], keep[at]
        share = float(np.clip((time - self.times[a]) / max(self.times[b] - self.times[a], 1e-6), 0, 1))
        turn = log(np.swapaxes(self.local[a], 1, 2) @ self.local[b])
        local = self.local[a] @ axis_angle_to_matrix(share * turn)
        return local, self.transl[a] + share * (self.transl[b] - self.transl[a])

    def put(self, local: np.ndarray, transl: np.ndarray) -> None:
        """Take these poses f64[N,55,3,3] and translations f64[N,3], of a run that was kept."""
        self.local = local.copy()
        self.transl = transl.copy()
        for i in range(len(self.frames)):
            self._renew(i)

    def _move(self, i: int, change: np.ndarray) -> None:
        turns = change[:-3].reshape(-1, 3)
        angle = np.linalg.norm(turns, axis=1, keepdims=True)
        turns = turns * np.minimum(1, LARGEST_TURN / np.maximum(angle, 1e-9))
        self.local[i][FREE] = self.local[i][FREE] @ axis_angle_to_matrix(turns)
        self.transl[i] += np.clip(change[-3:], -LARGEST_MOVE, LARGEST_MOVE)
        self._renew(i)

    def _renew(self, i: int) -> None:
        old = self.frames[i]
        pose = Pose(
            log(self.local[i]).astype(np.float32), self.transl[i].astype(np.float32), old.pose.expression
        )
        self.frames[i] = replace(old, pose=pose)

    @property
    def axis_angles(self) -> np.ndarray:
        """f32[N,55,3]."""
        return log(self.local).astype(np.float32)


def with_poses(capture: Capture, indices: np.ndarray, poses: Poses) -> Capture:
    """The capture with `poses` for the frames `indices`; the others get what lies between these in time, where times
    are known."""
    out, transl = capture.poses.copy(), capture.transl.copy()
    out[indices], transl[indices] = poses.axis_angles, poses.transl
    if capture.time is not None and poses.times is not None:
        for i in np.setdiff1d(np.arange(len(capture)), indices):
            local, transl[i] = poses.between(float(capture.time[i]))
            out[i] = log(local)
    return replace(capture, poses=out, transl=transl)


def pose_rows(
    rig: Rig, local: np.ndarray, transl: np.ndarray, expression: np.ndarray, equations: Equations, linear: np.ndarray
) -> np.ndarray:  # fmt: skip
    """The equations' derivatives by the frame's own unknowns: f64[n, 3K+3], K joints of FREE (R <- R exp(d)), then
    the translation. local f64[55,3,3]; linear f64[V,3,3]: of `skinning`, which brings their rows to the world."""
    m, e = rig.model, len(expression)
    coefficients = expression.astype(np.float64)
    joints = m.joints + m.expression_joint_dirs[..., :e] @ coefficients
    world, place = np.empty((55, 3, 3)), np.empty((55, 3))
    for j, p in enumerate(PARENTS):
        world[j] = local[j] if p < 0 else world[p] @ local[j]
        place[j] = joints[j] if p < 0 else place[p] + world[p] @ (joints[j] - joints[p])
    place += transl
    used, back = np.unique(equations.vertex, return_inverse=True)
    back = back.reshape(equations.vertex.shape)
    along = np.einsum("nkc,nkcd->nkd", equations.row, np.linalg.inv(linear[used])[back])
    rest = m.vertices.astype(np.float64)
    rest[m.expression_vertex] += m.expression_dirs[..., :e] @ coefficients
    index, weight = m.skin_index[used].astype(int), m.skin_weight[used].astype(np.float64)
    by_joint = np.einsum("ukab,ukb->uka", world[index], rest[used][:, None] - joints[index]) + place[index]
    moves = weight[..., None] * _MOVED_BY[index][..., FREE]
    lever = np.einsum("ukj,uka->uja", moves, by_joint) - moves.sum(1)[..., None] * place[FREE]
    n = 3 * len(FREE)
    out = np.zeros((len(equations.target), n + 3))
    for k in range(equations.vertex.shape[1]):
        turn = np.cross(lever[back[:, k]], along[:, k][:, None])
        out[:, :n] += np.einsum("njb,jbc->njc", turn, world[FREE]).reshape(len(out), n)
        out[:, n:] += along[:, k]
    return out


def _moved_by() -> np.ndarray:
    """bool[55,55]: row j is true at the joints that move joint j."""
    out = np.eye(len(PARENTS), dtype=bool)
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            out[j] |= out[parent]
    return out


_MOVED_BY = _moved_by()
