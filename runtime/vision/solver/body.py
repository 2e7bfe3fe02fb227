"""The body as the solver sees it: posed joints and points on the skin, with closed-form derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.avatar.body import Body
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.skeleton import PARENTS

from .so3 import cross

JOINTS = len(PARENTS)
BETAS = 10  # of the shape that is fitted; the rest stays zero


@dataclass(frozen=True, eq=False)
class Posed:
    """A posed skeleton. local, world f64[55,3,3]: rotations; joints f64[55,3] metres; joint_shape
    f64[55,3,B]: their derivatives by betas; rest f64[55,3]: joints of the T-pose; betas f64[B]."""

    local: np.ndarray
    world: np.ndarray
    joints: np.ndarray
    joint_shape: np.ndarray
    rest: np.ndarray
    betas: np.ndarray


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a posed body and how they move. x f64[n,3] metres. lever f64[n,K,3]: from the K free joints;
    when joint k turns by the small world rotation w, a point moves by w x lever. shape f64[n,3,B]: by
    betas."""

    x: np.ndarray
    lever: np.ndarray
    shape: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def ancestors() -> np.ndarray:
    """bool[55,55]: row j is true at the joints that move joint j (and at j)."""
    out = np.eye(JOINTS, dtype=bool)
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            out[j] |= out[parent]
    return out


def levels() -> list[tuple[np.ndarray, np.ndarray]]:
    """The joints below the root by their depth, each with its parents."""
    depth = np.zeros(JOINTS, int)
    for j in range(1, JOINTS):
        depth[j] = depth[PARENTS[j]] + 1
    groups = [np.flatnonzero(depth == d) for d in range(1, depth.max() + 1)]
    return [(group, np.array(PARENTS)[group]) for group in groups]


class SolverBody:
    """A `Body` (the open one, or SMPL-X) with its first `betas` shape directions. Immutable.

    SMPL-X's pose correctives are added where skin is asked for; their own derivatives, some millimetres, are left
    out.
    """

    def __init__(self, body: Body, betas: int = BETAS):
        if not 1 <= betas <= body.shape_dirs.shape[2]:
            raise InputError(f"betas: got {betas}, expected 1 to {body.shape_dirs.shape[2]} for this body")
        self.body = body
        self.betas = betas
        self.template = body.template.astype(np.float64)
        self.shape_dirs = body.shape_dirs[..., :betas].astype(np.float64)
        regressor = body.joint_regressor.astype(np.float64)
        self.joints = regressor @ self.template
        self.joint_shape = np.einsum("jv,vcb->jcb", regressor, self.shape_dirs, optimize=True)
        slots = max(1, int((body.weights > 1e-4).sum(1).max()))
        self.skin_index = np.argsort(-body.weights, axis=1, kind="stable")[:, :slots]
        weight = np.take_along_axis(body.weights, self.skin_index, 1).clip(0).astype(np.float64)
        self.skin_weight = weight / weight.sum(1, keepdims=True)
        self.ancestors = ancestors()
        self._moves = self.ancestors.astype(np.float64)
        self._levels = levels()
        self.hands_mean = np.concatenate([body.hands_mean_l, body.hands_mean_r]).reshape(30, 3).astype(float)
        # A person's height is linear in betas: from the sole to the crown, vertices of the mean body.
        self._crown = int(self.template[:, 1].argmax())
        self._sole = int(self.template[:, 1].argmin())

    def height(self, betas: np.ndarray) -> tuple[float, np.ndarray]:
        """The height of the T-pose in metres, without shoes and hair, and its derivative by betas."""
        slope = self.shape_dirs[self._crown, 1] - self.shape_dirs[self._sole, 1]
        mean = self.template[self._crown, 1] - self.template[self._sole, 1]
        return float(mean + slope @ betas), slope

    def pose(self, local: np.ndarray, transl: np.ndarray, betas: np.ndarray) -> Posed:
        """Pose the skeleton. local f64[55,3,3] rotations relative to the parent; transl f64[3]; betas
        f64[B]."""
        rest = self.joints + self.joint_shape @ betas
        world = np.empty((JOINTS, 3, 3))
        joints = np.empty((JOINTS, 3))
        joint_shape = np.empty((JOINTS, 3, self.betas))
        world[0] = local[0]
        joints[0] = rest[0] + transl
        joint_shape[0] = self.joint_shape[0]
        bones = rest.copy()
        bones[1:] -= rest[list(PARENTS[1:])]
        for j, parent in self._levels:
            turn = world[parent]
            world[j] = turn @ local[j]
            joints[j] = joints[parent] + (turn @ bones[j][..., None])[..., 0]
            joint_shape[j] = joint_shape[parent] + turn @ (self.joint_shape[j] - self.joint_shape[parent])
        return Posed(local, world, joints, joint_shape, rest, betas)

    def anchored(self, posed: Posed, base, frame, offset: np.ndarray, free: np.ndarray) -> Points:
        """Points that stand at joints `base` i[n], off by `offset` f64[n,3] in the frames of joints `frame`
        i[n]. free i[K]: joints that may turn."""
        off = (posed.world[frame] @ offset[..., None])[..., 0]
        x = posed.joints[base]
        moves = self._moves[:, free]
        lever = (x[:, None] - posed.joints[free]) * moves[base][..., None] + off[:, None] * moves[frame][
            ..., None
        ]
        return Points(x + off, lever, posed.joint_shape[base])

    def skinned(self, posed: Posed, vertices: np.ndarray, free: np.ndarray) -> Points:
        """Points of the skin: vertices i[n]."""
        index, weight = self.skin_index[vertices], self.skin_weight[vertices]
        rest = self.template[vertices] + self.shape_dirs[vertices] @ posed.betas
        rest = rest + self._correctives(posed.local, vertices)
        by_joint = (posed.world[index] @ (rest[:, None] - posed.rest[index])[..., None])[..., 0]
        by_joint += posed.joints[index]
        moves = self._moves[index][..., free] * weight[..., None]  # [n,k,K]
        lever = np.matmul(moves.transpose(0, 2, 1), by_joint)
        lever -= moves.sum(1)[..., None] * posed.joints[free]
        directions = self.shape_dirs[vertices][:, None] - self.joint_shape[index]
        shape = posed.world[index] @ directions + posed.joint_shape[index]
        return Points(
            np.einsum("nk,nka->na", weight, by_joint), lever, np.einsum("nk,nkab->nab", weight, shape)
        )

    def vertices(self, posed: Posed) -> np.ndarray:
        """The whole skin: f64[V,3], metres."""
        rest = self.template + self.shape_dirs @ posed.betas + self._correctives(posed.local, slice(None))
        shift = posed.joints - (posed.world @ posed.rest[..., None])[..., 0]
        matrix = np.concatenate([posed.world, shift[..., None]], axis=2).reshape(JOINTS, 12)
        weights = self.skin_weight
        blended = np.zeros((len(rest), 12))
        for slot in range(weights.shape[1]):
            blended += weights[:, slot, None] * matrix[self.skin_index[:, slot]]
        blended = blended.reshape(-1, 3, 4)
        return (blended[..., :3] @ rest[..., None])[..., 0] + blended[..., 3]

    def _correctives(self, local: np.ndarray, vertices) -> np.ndarray | float:
        if self.body.pose_dirs is None:
            return 0.0
        turned = (local[1:] - np.eye(3)).reshape(-1).astype(np.float32)
        return np.einsum("d,dvc->vc", turned, self.body.pose_dirs[:, vertices]).astype(np.float64)


def turned(points: Points, rows: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Derivatives by the free joints' own rotations, R <- R exp(d): f64[n,r,K,3] of rows f64[n,r,3] @ x.

    turns f64[K,3,3]: world rotations of the free joints. Row a, small world rotation w: a . (w x lever) =
    w . (lever x a), and w = turns @ d.
    """
    n, r = rows.shape[:2]
    moved = cross(points.lever[:, None], rows[:, :, None])  # [n,r,K,3]
    out = np.matmul(moved.transpose(2, 0, 1, 3).reshape(len(turns), n * r, 3), turns)
    return out.reshape(len(turns), n, r, 3).transpose(1, 2, 0, 3)
