"""One frame of a capture as fitting needs it, and skinning as the affine map that it is for every vertex."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dinar_live.export.capture import Capture
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.core.skeleton import PARENTS


@dataclass(frozen=True, eq=False)
class Frame:
    """pose; matrix f64[3,4] = K @ world_to_camera[:3]; picture u8[H,W,4], premultiplied."""

    pose: Pose
    matrix: np.ndarray
    picture: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        height, width = self.picture.shape[:2]
        return height, width


def read_frames(capture: Capture, indices: Iterable[int]) -> list[Frame]:
    """These frames of a capture, in memory."""
    return [Frame(capture.pose(i), capture.camera(i).matrix, capture.premultiplied(i)) for i in indices]


def with_offsets(rig: Rig, offset: np.ndarray) -> Rig:
    """`rig` with offset [V,3] (metres, rest pose) added to its vertices; joints and weights stay."""
    arrays = rig.arrays()
    arrays["vertices"] = (arrays["vertices"] + offset).astype(np.float32)
    return Rig.from_arrays(arrays, rig.expression_names)


def skinning(rig: Rig, pose: Pose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear blend skinning as an affine map of each rest vertex: posed = linear @ rest + shift.

    Returns linear f64[V,3,3], shift f64[V,3] and rest f64[V,3] with the expression. The offset of a vertex is
    added to its rest place.
    """
    m, e = rig.model, len(pose.expression)
    coefficients = pose.expression.astype(np.float64)
    rest = m.vertices.astype(np.float64)
    rest[m.expression_vertex] += m.expression_dirs[..., :e] @ coefficients
    joints = m.joints + m.expression_joint_dirs[..., :e] @ coefficients
    local = axis_angle_to_matrix(pose.body.astype(np.float64))
    if m.pose_dirs is not None:
        rest += np.tensordot((local[1:] - np.eye(3)).ravel(), m.pose_dirs, 1)
    world, place = np.empty((55, 3, 3)), np.empty((55, 3))
    for j, p in enumerate(PARENTS):
        world[j] = local[j] if p < 0 else world[p] @ local[j]
        place[j] = joints[j] if p < 0 else place[p] + world[p] @ (joints[j] - joints[p])
    relative = np.concatenate([world, (place - np.einsum("jab,jb->ja", world, joints))[..., None]], 2)
    blended = np.einsum("vk,vkab->vab", m.skin_weight.astype(np.float64), relative[m.skin_index.astype(int)])
    return blended[..., :3], blended[..., 3] + pose.transl, rest


def pixels_per_metre(matrix: np.ndarray, xy: np.ndarray, z: np.ndarray) -> np.ndarray:
    """How world points at pixels xy [n,2] and depth z [n] move in the picture: f64[n,2,3]."""
    return (matrix[None, :2, :3] - xy[..., None] * matrix[None, 2:, :3]) / z[:, None, None]
