"""The timesteps that DDIM visits, and its coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.export.networks.schedule import STEPS as TIMESTEPS
from dinar_live.export.networks.schedule import noise_schedule
from dinar_live.runtime.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Steps:
    """What DDIM needs per step, in the order of visit (most noise first): t i64[n]; f64[n]: alpha (of t),
    alpha_prev, sigma."""

    t: np.ndarray
    alpha: np.ndarray
    alpha_prev: np.ndarray
    sigma: np.ndarray

    def __len__(self) -> int:
        return len(self.t)


def ddim_timesteps(steps: int) -> np.ndarray:
    """Ascending timesteps i64[n]: every (1000 // steps)-th from 1 on, at most 999.

    n = steps where steps divides 1000 (999 for 1000); else the whole stride rounds n up: 300 gives 333.
    Raises InputError outside 1..1000.
    """
    if not (isinstance(steps, (int, np.integer)) and 1 <= steps <= TIMESTEPS):
        raise InputError(f"steps: got {steps!r}, expected a whole number in 1..{TIMESTEPS}")
    t = np.arange(0, TIMESTEPS, TIMESTEPS // int(steps), dtype=np.int64) + 1
    return t[t < TIMESTEPS]


def ddim_steps(steps: int = 200, eta: float = 1.0) -> Steps:
    """DDIM's coefficients for `steps` timesteps; eta 0 = deterministic, 1 = as noisy as DDPM (published).
    Raises InputError."""
    if not (np.isfinite(eta) and 0 <= eta <= 1):
        raise InputError(f"eta: got {eta!r}, expected 0..1")
    t = ddim_timesteps(steps)
    kept = (
        noise_schedule()["alphas_cumprod"].astype(np.float32).astype(np.float64)
    )  # the precision of the checkpoint's buffers
    alpha, alpha_prev = kept[t], np.append(kept[0], kept[t[:-1]])
    sigma = eta * np.sqrt((1 - alpha_prev) / (1 - alpha)) * np.sqrt(1 - alpha / alpha_prev)
    return Steps(t[::-1].copy(), alpha[::-1].copy(), alpha_prev[::-1].copy(), sigma[::-1].copy())
