"""The unknowns of one picture in one row: rotations of the free joints, translation, betas, focal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Columns:
    """free i[K]: joints that may turn, ascending; betas: how many. A row holds 3K rotations (R <- R exp(d)), 3 of
    the translation in metres, then what pictures of one person share: the betas and the focal length's
    logarithm."""

    free: np.ndarray
    betas: int

    @property
    def own(self) -> int:
        """How many unknowns the picture has to itself."""
        return 3 * len(self.free) + 3

    @property
    def size(self) -> int:
        return self.own + self.betas + 1

    @property
    def transl(self) -> slice:
        return slice(self.own - 3, self.own)

    @property
    def shape(self) -> slice:
        return slice(self.own, self.own + self.betas)

    def place(self, joint: int) -> int | None:
        """The first column of a joint, None where it may not turn."""
        at = int(np.searchsorted(self.free, joint))
        return 3 * at if at < len(self.free) and self.free[at] == joint else None


class Equations:
    """Collects weighted residuals and makes the normal equations of them.

    A group of residuals e (already divided by its sigma) costs c^2 log(1 + |e|^2 / c^2), Cauchy's loss: quadratic
    near 0, and an outlier hardly pulls. Without c: |e|^2.
    """

    def __init__(self, size: int):
        self.size = size
        self.cost = 0.0
        self._residuals: list[np.ndarray] = []
        self._jacobians: list[np.ndarray] = []

    def add(self, residuals: np.ndarray, jacobian: np.ndarray, sigma, cauchy: float | None = None) -> None:
        """residuals f64[n] or f64[n,d] in groups of d; jacobian [..., size]; sigma broadcasts to residuals."""
        weight = 1.0 / np.broadcast_to(sigma, residuals.shape)
        scaled = residuals * weight
        squares = scaled**2 if scaled.ndim == 1 else (scaled**2).sum(1)
        if cauchy is None:
            self.cost += float(squares.sum())
        else:
            self.cost += float(cauchy**2 * np.log1p(squares / cauchy**2).sum())
            root = 1 / np.sqrt(1 + squares / cauchy**2)
            root = root if scaled.ndim == 1 else root[:, None]
            weight = weight * root
            scaled = scaled * root
        self._residuals.append(scaled.reshape(-1))
        self._jacobians.append((jacobian * weight[..., None]).reshape(-1, self.size))

    def normal(self) -> tuple[np.ndarray, np.ndarray]:
        """J^T J [size,size] and J^T r [size]: half of the cost's gradient."""
        jacobian = np.concatenate(self._jacobians)
        return jacobian.T @ jacobian, jacobian.T @ np.concatenate(self._residuals)
