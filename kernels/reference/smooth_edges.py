"""Edges from samples, in float64, on top of the reference of rasterize."""

import numpy as np

from .gather import gather_uv
from .rasterize import rasterize


def apart(a: int, b: int, boxes, gap: float) -> bool:
    """Whether two faces (-1: nothing) show different surfaces."""
    if a == b:
        return False
    if a < 0 or b < 0:
        return True
    p, q = boxes[a], boxes[b]
    return bool(max((p[:2] - q[2:]).max(), (q[:2] - p[2:]).max()) > gap)


def smooth_edges(projective, surface, triangle_id, colour, mask, *, origin=(0, 0), samples=2, straight=False):
    """(colour f64[3,H,W], mask f64[H,W], edges bool[H,W], uncertain bool[H,W]); arguments as in
    dinar_live.kernels.smooth_edges. uncertain: pixels of which a rasterizer with a sub-pixel grid may see
    something else."""
    H, W = triangle_id.shape
    s, boxes, gap = samples, surface.uv_boxes, float(np.float32(surface.gap))
    edges = np.zeros((H, W), bool)
    for y in range(H):
        for x in range(W):
            for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= ny < H and 0 <= nx < W:
                    edges[y, x] |= apart(triangle_id[y, x], triangle_id[ny, nx], boxes, gap)
    fine = rasterize(
        np.asarray(projective, np.float64) * [s, s, 1],
        surface.faces,
        (H * s, W * s),
        origin=(origin[0] * s, origin[1] * s),
    )
    texture = surface.colour[..., :3]
    sampled = gather_uv(fine.triangle_id, fine.barycentrics, surface.uv, surface.uv_faces, texture)
    colour, mask = np.array(colour, np.float64), np.array(mask, np.float64)
    uncertain = np.zeros((H, W), bool)
    for y, x in np.argwhere(edges):
        block = np.s_[y * s : (y + 1) * s, x * s : (x + 1) * s]
        ids = fine.triangle_id[block].ravel()
        uncertain[y, x] = fine.uncertain[block].any()
        left = [k for k in range(s * s) if ids[k] >= 0]
        covered, total = len(left), np.zeros(3)
        while left:
            members = [k for k in left if not apart(ids[left[0]], ids[k], boxes, gap)]
            left = [k for k in left if k not in members]
            dy, dx = divmod(members[len(members) // 2], s)
            total += sampled[:3, y * s + dy, x * s + dx] * len(members) / s**2
        mask[y, x] = covered / s**2
        colour[:, y, x] = total / (mask[y, x] if straight and covered else 1)
    return colour, mask, edges, uncertain
