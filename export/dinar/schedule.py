"""The noise schedule of the diffusion model, and the timesteps that DDIM visits."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...runtime.errors import InputError

TIMESTEPS = 1000
BETA_FIRST, BETA_LAST = 0.0003, 0.02


def schedule_buffers() -> dict[str, np.ndarray]:
    """The 13 buffers f32[1000] that a checkpoint holds, from beta linear in its square root; computed in float64."""
    betas = np.linspace(BETA_FIRST**0.5, BETA_LAST**0.5, TIMESTEPS) ** 2
    kept = np.cumprod(1 - betas)
    before = np.append(1.0, kept[:-1])
    variance = betas * (1 - before) / (1 - kept)
    out = {
        "betas": betas, "alphas_cumprod": kept, "alphas_cumprod_prev": before, "sqrt_alphas_cumprod": np.sqrt(kept),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - kept), "log_one_minus_alphas_cumprod": np.log(1 - kept),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / kept),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / kept - 1), "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(before) / (1 - kept),
        "posterior_mean_coef2": (1 - before) * np.sqrt(1 - betas) / (1 - kept),
        "logvar": np.zeros(TIMESTEPS),
    }
    return {name: value.astype(np.float32) for name, value in out.items()}


@dataclass(frozen=True, eq=False)
class Steps:
    """What DDIM needs per step, in the order of visit (most noise first): t i64[n]; f64[n]: alpha (of t), alpha_prev, sigma."""

    t: np.ndarray
    alpha: np.ndarray
    alpha_prev: np.ndarray
    sigma: np.ndarray

    def __len__(self) -> int:
        return len(self.t)


def ddim_timesteps(steps: int) -> np.ndarray:
    """Ascending timesteps i64[n]: every (1000 // steps)-th from 1 on, at most 999.

    n = steps where steps divides 1000 (999 for 1000); else the whole stride rounds n up: 300 gives 333. Raises InputError outside 1..1000.
    """
    if not (isinstance(steps, (int, np.integer)) and 1 <= steps <= TIMESTEPS):
        raise InputError(f"steps: got {steps!r}, expected a whole number in 1..{TIMESTEPS}")
    t = np.arange(0, TIMESTEPS, TIMESTEPS // int(steps), dtype=np.int64) + 1
    return t[t < TIMESTEPS]


def ddim_steps(steps: int = 200, eta: float = 1.0) -> Steps:
    """DDIM's coefficients for `steps` timesteps; eta 0 = deterministic, 1 = as noisy as DDPM (published). Raises InputError."""
    if not (np.isfinite(eta) and 0 <= eta <= 1):
        raise InputError(f"eta: got {eta!r}, expected 0..1")
    t = ddim_timesteps(steps)
    kept = schedule_buffers()["alphas_cumprod"].astype(np.float64)      # the checkpoint's precision
    alpha, alpha_prev = kept[t], np.append(kept[0], kept[t[:-1]])
    sigma = eta * np.sqrt((1 - alpha_prev) / (1 - alpha)) * np.sqrt(1 - alpha / alpha_prev)
    return Steps(t[::-1].copy(), alpha[::-1].copy(), alpha_prev[::-1].copy(), sigma[::-1].copy())
