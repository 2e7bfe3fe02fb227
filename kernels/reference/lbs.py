"""Linear blend skinning and projection in float64."""

import numpy as np


def rotation_matrices(axis_angle):
    """[n,3] radians -> [n,3,3], as the exponential of the cross-product matrix: quaternion form, no division
    by the angle."""
    a = np.asarray(axis_angle, np.float64)
    half = np.linalg.norm(a, axis=-1) / 2
    w = np.cos(half)
    x, y, z = (a * np.sinc(half / np.pi)[:, None] / 2).T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def lbs(model, body, transl, expression):
    """Posed vertices [V,3] and joints [J,3]; arguments as in dinar_live.kernels.lbs."""
    e = len(expression)
    c = np.asarray(expression, np.float64)
    rest = np.array(model.vertices, np.float64)
    rest[model.expression_vertex] += model.expression_dirs[..., :e].astype(np.float64) @ c
    joints = model.joints + model.expression_joint_dirs[..., :e].astype(np.float64) @ c
    R = rotation_matrices(body)
    if model.pose_dirs is not None:
        rest += np.tensordot((R[1:] - np.eye(3)).ravel(), model.pose_dirs.astype(np.float64), 1)
    world = np.zeros((len(joints), 4, 4))
    for j, p in enumerate(model.parents):
        local = np.eye(4)
        local[:3, :3] = R[j]
        local[:3, 3] = joints[j] - (joints[p] if p >= 0 else 0)
        world[j] = local if p < 0 else world[p] @ local
    weights = np.zeros((len(rest), len(joints)))
    np.add.at(weights, (np.arange(len(rest))[:, None], model.skin_index.astype(int)), model.skin_weight)
    relative = world.copy()
    relative[:, :3, 3] -= np.einsum("jab,jb->ja", world[:, :3, :3], joints)
    blended = np.tensordot(weights, relative, 1)
    posed = np.einsum("vab,vb->va", blended[:, :3, :3], rest) + blended[:, :3, 3]
    return posed + np.asarray(transl, np.float64), world[:, :3, 3] + np.asarray(transl, np.float64)


def project(vertices, matrix, near):
    """Projective vertices [V,3] and their bounds [4] or None; arguments as in dinar_live.kernels.project."""
    p = np.c_[np.asarray(vertices, np.float64), np.ones(len(vertices))] @ np.asarray(matrix, np.float64).T
    if not len(p) or p[:, 2].min() < near:
        return p, None
    pixels = p[:, :2] / p[:, 2:]
    return p, np.r_[pixels.min(0), pixels.max(0)]
