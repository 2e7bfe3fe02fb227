"""Colour matching of the inpainted texture to the sampled one in closed form (Eq. 7), where no tuning learns
it."""

from __future__ import annotations

import numpy as np

ALPHA_RANGE = (0.5, 2.0)
MIN_TEXELS = 64


def match_colours(
    decoded: np.ndarray, known: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """alpha, beta f32[3,1,1] of T_rgb alpha + beta (Eq. 7) that bring `decoded` closest to `known` where
    weight is high (least squares).

    decoded, known f[3,T,T]; weight f[T,T] >= 0. alpha is kept within 0.5..2; with fewer than 64 texels, or a
    flat channel, it stays 1. The paper learns them through the renderer (`tune(finetune_back=True)`).
    """
    w = weight.astype(np.float64)
    alpha, beta = np.ones((3, 1, 1), np.float32), np.zeros((3, 1, 1), np.float32)
    if (w > 0).sum() < MIN_TEXELS:
        return alpha, beta
    w = w / w.sum()
    for c in range(3):
        d, k = decoded[c].astype(np.float64), known[c].astype(np.float64)
        mean_d, mean_k = (w * d).sum(), (w * k).sum()
        variance = (w * (d - mean_d) ** 2).sum()
        if variance > 1e-6:
            alpha[c] = np.clip((w * (d - mean_d) * (k - mean_k)).sum() / variance, *ALPHA_RANGE)
        beta[c] = mean_k - float(alpha[c, 0, 0]) * mean_d
    return alpha, beta
