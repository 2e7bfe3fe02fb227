"""Noise schedule of the diffusion (DINAR section 3.3; latent diffusion's "linear" one, which is linear in
sqrt(beta))."""

from __future__ import annotations

import numpy as np

STEPS = 1000
BETA_START, BETA_END = 0.0003, 0.02


def noise_schedule() -> dict[str, np.ndarray]:
    """The 13 published buffers by name, float64 [1000] (a checkpoint stores them as float32);
    `alphas_cumprod` is alpha-bar."""
    betas = np.linspace(BETA_START**0.5, BETA_END**0.5, STEPS) ** 2
    alphas = 1 - betas
    total = np.cumprod(alphas)
    before = np.append(1.0, total[:-1])
    posterior = betas * (1 - before) / (1 - total)
    return {
        "betas": betas,
        "alphas_cumprod": total,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(total),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - total),
        "log_one_minus_alphas_cumprod": np.log(1 - total),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / total),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / total - 1),
        "posterior_variance": posterior,
        "posterior_log_variance_clipped": np.log(np.maximum(posterior, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(before) / (1 - total),
        "posterior_mean_coef2": (1 - before) * np.sqrt(alphas) / (1 - total),
        "logvar": np.zeros(STEPS),
    }
