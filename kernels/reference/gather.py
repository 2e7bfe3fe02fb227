"""Texture sampling in float64."""

import numpy as np


def gather_uv(triangle_id, barycentrics, uv, uv_faces, texture):
    """Features [C+3,H,W]; arguments as in dinar_live.kernels.gather_uv."""
    Ht, Wt, C = texture.shape
    covered = triangle_id >= 0
    features = np.zeros((C + 3, *triangle_id.shape))
    features[C : C + 2] = -10
    features[C + 2] = covered
    corners = np.asarray(uv, np.float64)[np.asarray(uv_faces)[triangle_id[covered]]]
    u, v = np.einsum("nk,nkc->cn", barycentrics[covered].astype(np.float64), corners)
    features[C][covered], features[C + 1][covered] = 2 * u - 1, 2 * v - 1
    padded = np.zeros((Ht + 2, Wt + 2, C))
    padded[1:-1, 1:-1] = texture
    x, y = (
        np.clip(u * (Wt - 1) + 1, 0, Wt + 1),
        np.clip(v * (Ht - 1) + 1, 0, Ht + 1),
    )  # the border of zeros is reached and not passed
    i, j = np.minimum(np.floor(x), Wt).astype(int), np.minimum(np.floor(y), Ht).astype(int)
    s, t = (x - i)[:, None], (y - j)[:, None]
    features[:C, covered] = (
        (1 - t) * ((1 - s) * padded[j, i] + s * padded[j, i + 1])
        + t * ((1 - s) * padded[j + 1, i] + s * padded[j + 1, i + 1])
    ).T
    return features
