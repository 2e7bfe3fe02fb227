"""BodyBounds: where in a frame a posed body can be, without skinning it.

A GPU must not read its vertices back, so the host needs a box that surely holds them. The body is cut into
small patches, each a ball that is rigidly attached to one joint k. A vertex v with weights w, rest joints J
and joint transforms T stays near its patch's centre c:

    |sum_j w_j T_j v - T_k c|  <=  |v - c| + sum_j w_j |T_j v - T_k v|

and T_j v - T_k v is a sum over the joints m between k and j of (R_m - I)(v - J_m), each of length 2
|sin(angle_m / 2)| |v - J_m|: exact chords, known from the pose. Expressions and pose correctives move v by at
most the sum of their lengths. So each patch has a radius base + chords @ (2 |sin(angle / 2)|) + shapes @
|expression|, and only the centres are skinned: some hundred points.
"""

from __future__ import annotations

import copy

import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose

PATCH = 0.09
"""Metres: patches are split until they are no larger (half of it: about what the ball adds to the box)."""
SLACK = 1e-4
"""Metres, for the rounding of float32 skinning."""


class BodyBounds:
    """Bounds of one rig's vertices. `place(pose)`, then `box(camera)` for each view. Built once per rig, in
    about a tenth of a second."""

    def __init__(self, rig: Rig):
        model = rig.model
        V, J = len(model.vertices), len(model.joints)
        rest, joints = model.vertices.astype(np.float64), model.joints.astype(np.float64)
        joint_of = model.skin_index[np.arange(V), model.skin_weight.argmax(1)].astype(np.int64)
        patch_of, centres, patch_joint = _patches(rest, joint_of, J)
        M = len(centres)
        distance = np.linalg.norm(rest[:, None] - joints, axis=2)  # [V,J]
        blend = _blend(model, joint_of)  # [V,J], how much of a rotation at m a vertex misses
        moves = _shape_moves(model)  # [V,E]
        slip = np.linalg.norm(model.expression_joint_dirs.astype(np.float64), axis=1)  # [J,E]
        chords, growth = (
            blend * distance,
            1 + 2 * blend.sum(1),
        )  # what displaces a vertex turns about its joints too
        if model.pose_dirs is not None:
            chords += growth[:, None] * _corrective_moves(model.pose_dirs)
        shapes = growth[:, None] * moves + 2 * blend @ slip
        self._base = np.zeros(M)
        self._chords = np.zeros((M, J))
        self._shapes = np.zeros((M, moves.shape[1]))
        np.maximum.at(self._base, patch_of, np.linalg.norm(rest - centres[patch_of], axis=1) + SLACK)
        np.maximum.at(self._chords, patch_of, chords)
        np.maximum.at(self._shapes, patch_of, shapes)
        self._centres = np.empty((M, 3), np.float32)
        self._radii = np.zeros(M)
        self._proxy = kernels.BodyModel(
            vertices=centres.astype(np.float32),
            joints=model.joints,
            parents=model.parents,
            skin_index=patch_joint[:, None].astype(np.uint16),
            skin_weight=np.ones((M, 1), np.float32),
            expression_vertex=np.zeros(0, np.int32),
            expression_dirs=np.zeros((0, 3, moves.shape[1]), np.float32),
            expression_joint_dirs=model.expression_joint_dirs,
        )

    def share(self) -> BodyBounds:
        """The same rig's bounds with a pose of their own."""
        other = copy.copy(self)
        other._centres = self._centres.copy()
        other._radii = self._radii.copy()
        return other

    def place(self, pose: Pose) -> None:
        """Move the patches to where `pose` puts them."""
        kernels.lbs(self._proxy, pose.body, pose.transl, pose.expression, out=self._centres, threads=1)
        angles = np.sqrt(np.einsum("jc,jc->j", pose.body, pose.body, dtype=np.float64))
        radii = np.dot(self._chords, 2 * np.abs(np.sin(angles / 2)), out=self._radii)
        radii += self._base
        count = len(pose.expression)
        if count:
            radii += self._shapes[:, :count] @ np.abs(pose.expression)

    def box(self, camera: Camera) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1 in pixels that hold every vertex's projection. Infinite if the body reaches the
        camera's near plane, None if all of it lies behind that."""
        w2c = camera.world_to_camera
        x, y, z = w2c[:3, :3].astype(np.float64) @ self._centres.T + w2c[:3, 3:]
        r = self._radii
        front = z - r
        if front.min() < kernels.NEAR:
            return None if (z + r).max() < kernels.NEAR else (-np.inf, -np.inf, np.inf, np.inf)
        # The lines through the eye that touch the ball, seen along the other axis: slopes (x z -+ r sqrt(x^2
        # + z^2 - r^2)) / (z^2 - r^2).
        z2, r2 = z * z, r * r
        below = z2 - r2
        half_x, half_y = r * np.sqrt(x * x + below), r * np.sqrt(y * y + below)
        xz, yz = x * z, y * z
        x = np.array([((xz - half_x) / below).min(), ((xz + half_x) / below).max()])
        y = np.array([((yz - half_y) / below).min(), ((yz + half_y) / below).max()])
        K = camera.K.astype(np.float64)
        (x0, x1), (y0, y1) = (np.sort(row[0] * x) + np.sort(row[1] * y) + row[2] for row in K[:2])
        return x0, y0, x1, y1


def _patches(
    rest: np.ndarray, joint_of: np.ndarray, joints: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patch of each vertex [V], centres [M,3], the joint of each patch [M]: each joint's vertices, halved
    across until they are small."""
    patch_of, centres, patch_joint = np.empty(len(rest), np.int64), [], []
    todo = [(joint, np.flatnonzero(joint_of == joint)) for joint in range(joints)]
    while todo:
        joint, members = todo.pop()
        if not len(members):
            continue
        low, high = rest[members].min(0), rest[members].max(0)
        axis = int((high - low).argmax())
        if (high - low)[axis] > PATCH:
            upper = rest[members, axis] > (low + high)[axis] / 2
            todo += [(joint, members[upper]), (joint, members[~upper])]
            continue
        patch_of[members] = len(centres)
        centres.append((low + high) / 2)
        patch_joint.append(joint)
    return patch_of, np.array(centres), np.array(patch_joint)


def _blend(model: kernels.BodyModel, joint_of: np.ndarray) -> np.ndarray:
    """[V,J]: the sum of the weights of those joints of a vertex that a rotation at joint m separates from its
    patch's joint."""
    V, J = len(model.vertices), len(model.joints)
    below = np.eye(J, dtype=bool)  # below[j, m]: m is j or an ancestor of it, so a rotation at m moves j
    for j, parent in enumerate(model.parents):
        if parent >= 0:
            below[j] |= below[parent]
    weights = np.zeros((V, J))
    np.add.at(weights, (np.arange(V)[:, None], model.skin_index), model.skin_weight)
    moved = weights @ below  # the weight that follows a rotation at m
    return np.where(below[joint_of], weights.sum(1, keepdims=True) - moved, moved)


def _shape_moves(model: kernels.BodyModel) -> np.ndarray:
    """[V,E]: how far a unit of each expression coefficient moves each vertex, metres."""
    moves = np.zeros((len(model.vertices), model.expression_count))
    moves[model.expression_vertex] = np.linalg.norm(model.expression_dirs.astype(np.float64), axis=1)
    return moves


def _corrective_moves(pose_dirs: np.ndarray) -> np.ndarray:
    """[V,J]: metres of pose correction per unit of 2 |sin(angle / 2)| at each joint; the Frobenius norm of R
    - I is sqrt(2) times that."""
    blocks = pose_dirs.reshape(-1, 9, *pose_dirs.shape[1:])
    moves = np.zeros((pose_dirs.shape[1], len(blocks) + 1))
    for joint, block in enumerate(blocks, 1):
        moves[:, joint] = np.sqrt(2 * np.einsum("fvc,fvc->v", block, block, dtype=np.float64))
    return moves
