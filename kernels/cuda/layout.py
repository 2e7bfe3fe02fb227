"""How bodies, scenes and a frame's parameters lie in device memory: plain numpy, so that it is tested without
a GPU."""

from __future__ import annotations

import numpy as np

from dinar_live.kernels import _check
from dinar_live.kernels.gather import MAX_CHANNELS
from dinar_live.kernels.lbs import BodyModel

MAX_JOINTS = 128  # as in lbs.cu
GROUP = 32  # vertices whose pose directions lie together, as in lbs.cu
LANES = 8  # textures are padded to a multiple of these channels, as in gather.cu


def joint_levels(parents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints sorted by their depth in the tree i32[J], and where each depth begins i32[levels+1]."""
    depth = np.zeros(len(parents), np.int32)
    for j, p in enumerate(parents):
        depth[j] = 0 if p < 0 else depth[p] + 1
    order = np.argsort(depth, kind="stable").astype(np.int32)
    return order, np.searchsorted(depth[order], np.arange(depth.max() + 2)).astype(np.int32)


def body_arrays(model: BodyModel) -> dict[str, np.ndarray]:
    """The arrays of lbs.cu by the name of the kernel's argument; `pose_dirs` only where the body has them.
    Raises ValueError."""
    V, J, E = len(model.vertices), len(model.joints), model.expression_count
    if J > MAX_JOINTS:
        raise ValueError(f"the body has {J} joints; the CUDA kernels take up to {MAX_JOINTS}")
    order, level_start = joint_levels(model.parents)
    # slots in use first, in their order, as on the CPU
    used = np.argsort(model.skin_weight == 0, axis=1, kind="stable")
    row = np.full(V, -1, np.int32)
    ascending = np.argsort(model.expression_vertex, kind="stable")
    row[model.expression_vertex[ascending]] = np.arange(len(ascending))
    arrays = dict(
        rest=model.vertices,
        rest_joints=model.joints,
        parents=model.parents,
        order=order,
        level_start=level_start,
        skin_index=np.take_along_axis(model.skin_index, used, 1).T,
        skin_weight=np.take_along_axis(model.skin_weight, used, 1).T,
        expression_row=row,
        expression_dirs=model.expression_dirs[ascending].transpose(2, 1, 0),
        joint_dirs=model.expression_joint_dirs.reshape(3 * J, E).T,
    )
    if model.pose_dirs is not None and J > 1:
        groups = -(-V // GROUP)
        dirs = np.zeros((groups, 9 * (J - 1), 3 * GROUP), np.float32)
        for g in range(groups):  # group by group: no second copy of 60 MB
            part = model.pose_dirs[:, g * GROUP : (g + 1) * GROUP]
            dirs[g, :, : 3 * part.shape[1]] = part.reshape(9 * (J - 1), -1)
        arrays["pose_dirs"] = dirs
    return {name: np.ascontiguousarray(a) for name, a in arrays.items()}


def scene_arrays(vertices: int, faces, uv, uv_faces, texture, dtype) -> dict[str, np.ndarray]:
    """faces i32[F,3], corner_uv f32[F,8] (u, v of the corners, padding), uv_boxes f32[F,4] (least u, v, largest),
    texture [Ht,Wt,C padded to 8] of
    `dtype` (float16 or float32).

    Arguments as in kernels.gather_uv and kernels.rasterize; indices are checked here, once, because the
    kernels do not. Raises TypeError or ValueError.
    """
    F = len(_check.array("faces", faces, np.int32, (None, 3)))
    T = len(_check.array("uv", uv, np.float32, (None, 2)))
    _check.array("uv_faces", uv_faces, np.int32, (F, 3))
    _check.finite("uv", uv)
    for name, indices, limit in (("faces", faces, vertices), ("uv_faces", uv_faces, T)):
        if F and (indices.min() < 0 or indices.max() >= limit):
            raise ValueError(f"{name} spans {indices.min()} to {indices.max()}; expected 0 to {limit - 1}")
    corner_uv = np.zeros((F, 8), np.float32)
    corners = uv[uv_faces]
    corner_uv[:, :6] = corners.reshape(F, 6)
    return dict(
        faces=np.ascontiguousarray(faces),
        corner_uv=corner_uv,
        uv_boxes=np.ascontiguousarray(np.concatenate([corners.min(1), corners.max(1)], 1)),
        texture=texels("texture", texture, dtype),
    )


def texels(name: str, texture, dtype, least: int = 1) -> np.ndarray:
    """A texture f32[Ht,Wt,C] of at least `least` channels as [Ht,Wt,C padded to 8] of `dtype` (float16 or float32). Raises TypeError or
    ValueError, naming it."""
    Ht, Wt, C = _check.array(name, texture, np.float32, (None, None, None)).shape
    if np.dtype(dtype) not in (np.float16, np.float32):
        raise ValueError(f"dtype is {np.dtype(dtype)}; expected float16 or float32")
    if not (1 <= Ht <= 32768 and 1 <= Wt <= 32768 and least <= C <= MAX_CHANNELS):
        raise ValueError(
            f"{name} has shape {texture.shape}; expected sides of 1 to 32768 texels and {least} to {MAX_CHANNELS} channels"
        )
    _check.finite(name, texture)
    if np.dtype(dtype) == np.float16 and np.abs(texture).max(initial=0) > 65504:
        raise ValueError(f"{name} reaches {np.abs(texture).max():g}, beyond fp16; use float32")
    padded = np.zeros((Ht, Wt, max(1, -(-C // LANES)) * LANES), dtype)
    padded[..., :C] = texture
    return padded


def parameters_dtype(joints: int, expressions: int, views: int) -> np.dtype:
    """One frame's parameters as they lie in memory, every field on a multiple of 16 bytes: see
    FrameParameters."""
    fields = [
        ("matrices", np.float64, (views, 3, 4)),
        ("origins", np.int32, (views, 2)),
        ("smooth", np.int32, (views,)),
        ("transl", np.float32, (3,)),
        ("body", np.float32, (joints, 3)),
        ("expression", np.float32, (expressions,)),
    ]
    offsets, end = [], 0
    for _, scalar, shape in fields:
        offsets.append(end)
        end += -(-np.dtype((scalar, shape)).itemsize // 16) * 16
    return np.dtype(
        {
            "names": [f[0] for f in fields],
            "formats": [f[1:] for f in fields],
            "offsets": offsets,
            "itemsize": max(end, 16),
        }
    )
