"""Ray-casting view of rasterization in float64: no snapping, no clipping, every pixel against every
triangle."""

from typing import NamedTuple

import numpy as np


class Result(NamedTuple):
    """triangle_id i64[H,W], barycentrics f64[H,W,3], depth f64[H,W], and uncertain bool[H,W]: pixels that lie
    within `margin` of a visible outline or where two surfaces are nearly equally near, so that a rasterizer
    with a sub-pixel grid may differ."""

    triangle_id: np.ndarray
    barycentrics: np.ndarray
    depth: np.ndarray
    uncertain: np.ndarray


def rasterize(
    projective, faces, size, *, origin=(0, 0), cull=True, near=0.01, margin=1 / 128, depth_margin=1e-4
) -> Result:
    """Arguments as in dinar_live.kernels.rasterize; margin in pixels, depth_margin relative."""
    H, W = size
    x, y = np.meshgrid(np.arange(W) + origin[0] + 0.5, np.arange(H) + origin[1] + 0.5)
    best = np.full((H, W), np.inf)
    rival = np.full((H, W), np.inf)  # the next nearest fragment, and fragments whose coverage is in doubt
    ids = np.full((H, W), -1)
    bary = np.zeros((H, W, 3))
    for f, face in enumerate(np.asarray(faces)):
        v = np.asarray(projective, np.float64)[face]
        # b_i z_i of the point on the pixel's ray: the solution of sum_i b_i v_i = t (x, y, 1), by Cramer's
        # rule
        lines = np.cross(v[[1, 2, 0]], v[[2, 0, 1]])  # of the edge opposite to each vertex: a x + b y + c
        volume = v[0] @ lines[0]
        if (
            volume == 0 or (volume > 0 and cull) or v[:, 2].max() < near
        ):  # y down: a front face has a negative volume
            continue
        e = np.sign(volume) * (
            lines[:, 0, None, None] * x + lines[:, 1, None, None] * y + lines[:, 2, None, None]
        )
        total = e.sum(0)
        reach = margin * np.hypot(lines[:, 0], lines[:, 1])[:, None, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.abs(volume) / total
            b = e / total
        front = (total > 0) & (z >= near * (1 - depth_margin))
        inside = front & (e >= 0).all(0) & (z >= near)
        doubtful = (front & (e >= -reach).all(0)) & ~(
            inside & (e >= reach).all(0) & (z >= near * (1 + depth_margin))
        )
        nearer = inside & (z < best)
        rival = np.where(
            nearer, np.minimum(rival, best), np.where(inside | doubtful, np.minimum(rival, z), rival)
        )
        rival = np.where(doubtful, np.minimum(rival, z), rival)
        best = np.where(nearer, z, best)
        ids[nearer] = f
        bary[nearer] = np.moveaxis(b, 0, -1)[nearer]
    uncertain = np.isfinite(rival) & ~(rival > best * (1 + depth_margin))
    return Result(ids, bary, np.where(ids < 0, 0, best), uncertain)
