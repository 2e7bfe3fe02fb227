"""Frames of a film of one person -> poses that are smooth in time, one shape, one focal length: `fit_film`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix

from .body import SolverBody
from .calibration import PointCalibration, calibration
from .minimise import Freedom, Guess, Minimiser
from .photo_fit import FitOptions, PhotoFit, Picture, fields, find_alone, open_solver_body, restatured
from .problem import Common, Own, Problem
from .silhouette import DistanceField, outline_of
from .so3 import log
from .threads import one_blas_thread

SHAPE_FRAMES = 8  # looked at first, each from several starts
CHAIN_STEPS = 8
ROUNDS = 4  # of all frames together: outlines and neighbours looked up again
STEPS = 3
LOST = 0.9  # radians between the pelvis of the frame before and what the 3D points say
STRAY = 0.6  # radians between a pelvis and what the frames beside it say: solved anew from there
PRIOR_SHARE = 8  # frames that weigh as much as one picture against the shape's prior: all are misled alike
Progress = Callable[[str], None]


def fit_film(
    pictures: Sequence[Picture],
    times: Sequence[float] | None,
    body: SolverBody | None = None,
    options: FitOptions | None = None,
    points: PointCalibration | None = None,
    report: Progress = lambda _: None,
) -> list[PhotoFit]:
    """Fit the body to frames of a film: a pose for each, one shape and one focal length for all.

    times: seconds, ascending, in the order of the pictures; None: nothing is known, so nothing is smooth. Masks give
    outlines. A picture's focal length is kept where all say one. report: told a line after each step. Raises InputError
    where there are fewer than 3 frames.
    """
    if len(pictures) < 3 or len(times if times is not None else pictures) != len(pictures):
        raise InputError(f"fit_film: got {len(pictures)} frames, expected at least 3, each with its time")
    body, points = body or open_solver_body(), points or calibration()
    options = options or FitOptions(kind="any")
    known = all(p.focal is not None for p in pictures)
    with one_blas_thread():
        few = np.unique(
            np.linspace(0, len(pictures) - 1, min(SHAPE_FRAMES, len(pictures))).round().astype(int)
        )
        freedom = Freedom(focal=not known, height=options.height)
        common = _first_shape([pictures[i] for i in few], body, options, points, freedom)
        problems, own = _chain(pictures, common, body, options, points)
        report("poses found frame by frame")
        freedom = replace(freedom, pictures=max(1, len(pictures) // PRIOR_SHARE))
        guess = Guess(tuple(own), common)
        masks = fields(pictures, options)
        cost = 0.0
        for n in range(ROUNDS):
            if times is not None:
                guess = _strays_fixed(guess, times)
            ready = _ready(problems, guess, masks, times)
            guess, cost = Minimiser(ready, freedom).run(guess, STEPS)
            scale = np.exp(guess.common.log_scale)
            height = body.height(guess.common.betas)[0]
            report(
                f"all frames together, round {n + 1} of {ROUNDS}: height {height:.2f} m, focal length x {scale:.2f}"
            )
    return [
        PhotoFit(
            o.local,
            o.transl,
            guess.common.betas,
            p.pinhole(guess.common),
            p.observation.size,
            cost / len(problems),
        )
        for o, p in zip(guess.own, problems, strict=True)
    ]


def between(a: Own, b: Own, share: float) -> Own:
    """The pose `share` of the way from a to b, each joint along the shortest turn."""
    turn = log(np.swapaxes(a.local, 1, 2) @ b.local)
    return Own(a.local @ axis_angle_to_matrix(share * turn), a.transl + share * (b.transl - a.transl))


def _neighbours_say(guess: Guess, times: Sequence[float], i: int) -> Own | None:
    """What the frames before and after say of frame i; None at the film's ends."""
    if not 0 < i < len(times) - 1:
        return None
    share = (times[i] - times[i - 1]) / max(times[i + 1] - times[i - 1], 1e-6)
    return between(guess.own[i - 1], guess.own[i + 1], float(share))


def _first_shape(
    pictures: list[Picture], body: SolverBody, options: FitOptions, points: PointCalibration, freedom: Freedom
) -> Common:
    found = [find_alone(p, body, options, points, Freedom(height=options.height)) for p in pictures]
    problems = [problem for problem, _ in found]
    guess = Guess(
        tuple(g.own[0] for _, g in found), Common(np.mean([g.common.betas for _, g in found], axis=0))
    )
    masks = fields(pictures, options)
    for _ in range(2):
        guess, _ = Minimiser(_ready(problems, guess, masks, None), freedom).run(guess, 8)
    return guess.common


def _chain(
    pictures: Sequence[Picture],
    common: Common,
    body: SolverBody,
    options: FitOptions,
    points: PointCalibration,
) -> tuple[list[Problem], list[Own]]:
    """Each frame's points alone, from where the frame before ended or, if that is lost, from a fresh start."""
    problems, own = [], []
    still = Freedom(shape=False)
    for picture in pictures:
        problem, fresh = find_alone(picture, body, options, points, still, common, CHAIN_STEPS)
        best = fresh.own[0]
        if own:
            apart = np.linalg.norm(log(own[-1].local[0].T @ best.local[0]))
            if apart < LOST:
                there = restatured(problem, Guess((own[-1],), common))
                a = Minimiser([there], still).run(Guess((own[-1],), common), CHAIN_STEPS)
                b = Minimiser([there], still).run(fresh, 1)
                best = (a if a[1] <= b[1] else b)[0].own[0]
        problems.append(problem)
        own.append(best)
    return problems, own


def _strays_fixed(guess: Guess, times: Sequence[float]) -> Guess:
    """Frames whose pelvis is turned away from both neighbours start again from what these say."""
    own = list(guess.own)
    for i in range(1, len(own) - 1):
        near = _neighbours_say(Guess(tuple(own), guess.common), times, i)
        if near is not None and np.linalg.norm(log(near.local[0].T @ own[i].local[0])) > STRAY:
            own[i] = near
    return Guess(tuple(own), guess.common)


def _ready(
    problems: list[Problem], guess: Guess, masks: list[DistanceField | None], times: Sequence[float] | None
) -> list[Problem]:
    """The problems with outlines and neighbours looked up at the guess."""
    ready = []
    for i, (problem, mask) in enumerate(zip(problems, masks, strict=True)):
        problem = restatured(problem, guess, i)
        if mask is not None:
            posed, pinhole = problem.posed(guess.own[i], guess.common), problem.pinhole(guess.common)
            outline = outline_of(problem.body, posed, pinhole, problem.observation.size, mask)
            problem = problem.with_outline(outline, problem.stature)
        near = None if times is None else _neighbours_say(guess, times, i)
        ready.append(replace(problem, near=near))
    return ready
