"""Levenberg-Marquardt over pictures of one person: each has unknowns of its own, all share the shape and the focal
length's scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .columns import Columns, Equations
from .priors import add_focal_prior, add_shape_prior
from .problem import Common, Own, Problem

DAMPING = 1e-2
EASIER, HARDER = 4.0, 6.0
LEAST_DAMPING, MOST_DAMPING = 1e-5, 1e4
ENOUGH = 1e-4  # a step that lowers the cost by less than this share is the last
FOCAL_SIGMA = 0.3


@dataclass(frozen=True)
class Freedom:
    """shape, focal: whether they may change. height: of the person, metres, if known. pictures: how often the
    shape's prior counts (`add_shape_prior`). focal_sigma: of the logarithm of the focal length."""

    shape: bool = True
    focal: bool = False
    height: float | None = None
    pictures: int = 1
    focal_sigma: float = FOCAL_SIGMA


@dataclass(frozen=True, eq=False)
class Guess:
    """Where the solver stands: what each picture has to itself, and what they share."""

    own: tuple[Own, ...]
    common: Common


@dataclass(frozen=True, eq=False)
class _Linear:
    cost: float
    blocks: list[tuple[np.ndarray, np.ndarray]]  # normal equations of each picture
    shared: tuple[np.ndarray, np.ndarray]  # of the priors of what is shared


class Minimiser:
    """The problems of several pictures of one person, minimised together."""

    def __init__(self, problems: Sequence[Problem], freedom: Freedom):
        self.problems = list(problems)
        self.freedom = freedom
        betas = self.problems[0].columns.betas
        self._columns = Columns(np.zeros(0, int), betas)
        shared = np.zeros(betas + 1, bool)
        shared[:betas] = freedom.shape
        shared[betas] = freedom.focal
        self._free = shared

    def run(self, guess: Guess, iterations: int) -> tuple[Guess, float]:
        """Up to so many steps from `guess`; the better guess and its cost."""
        now = self._linear(guess)
        damping = DAMPING
        for _ in range(iterations):
            new = self._stepped(guess, self._solve(now, damping))
            there = self._linear(new)
            if not there.cost < now.cost:  # also where it is no number
                damping *= HARDER
                if damping > MOST_DAMPING:
                    break
                continue
            gain = (now.cost - there.cost) / now.cost
            guess, now = new, there
            damping = max(damping / EASIER, LEAST_DAMPING)
            if gain < ENOUGH:
                break
        return guess, now.cost

    def _linear(self, guess: Guess) -> _Linear:
        cost, blocks = 0.0, []
        for problem, own in zip(self.problems, guess.own, strict=True):
            equations = problem.equations(own, guess.common)
            cost += equations.cost
            blocks.append(equations.normal())
        shared = Equations(self._columns.size)
        free = self.freedom
        add_shape_prior(
            shared, self._columns, self.problems[0].body, guess.common.betas, free.height, free.pictures
        )
        add_focal_prior(shared, self._columns, guess.common.log_scale, free.focal_sigma)
        normal, gradient = shared.normal()
        return _Linear(cost + shared.cost, blocks, (normal[3:, 3:], gradient[3:]))

    def _solve(self, linear: _Linear, damping: float) -> tuple[list[np.ndarray], np.ndarray]:
        """The step of each picture's own unknowns, and of the shared ones: Schur's complement of the arrow."""
        free = self._free
        S, s = (a.copy() for a in linear.shared)
        parts = []
        for problem, (A, g) in zip(self.problems, linear.blocks, strict=True):
            n = problem.columns.own
            own = A[:n, :n] + damping * np.diag(np.diag(A)[:n]) + 1e-9 * np.eye(n)
            corner = A[:n, n:][:, free]
            solved = np.linalg.solve(own, np.concatenate([corner, g[:n, None]], axis=1))
            parts.append(solved)
            S += A[n:, n:]
            s += g[n:]
        S, s = S[np.ix_(free, free)], s[free]
        S += damping * np.diag(np.diag(S))
        for problem, (A, _), solved in zip(self.problems, linear.blocks, parts, strict=True):
            n = problem.columns.own
            corner = A[:n, n:][:, free]
            S -= corner.T @ solved[:, :-1]
            s -= corner.T @ solved[:, -1]
        shared = np.zeros(len(free))
        if free.any():
            shared[free] = -np.linalg.solve(S, s)
        return [-solved[:, -1] - solved[:, :-1] @ shared[free] for solved in parts], shared

    def _stepped(self, guess: Guess, change: tuple[list[np.ndarray], np.ndarray]) -> Guess:
        own = tuple(p.step(o, d) for p, o, d in zip(self.problems, guess.own, change[0], strict=True))
        common = Common(guess.common.betas + change[1][:-1], guess.common.log_scale + float(change[1][-1]))
        return Guess(own, common)
