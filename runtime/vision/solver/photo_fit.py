"""Photos of one person -> poses, one shape, cameras: `fit_photos`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dinar_live.runtime.avatar.body import Body
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose

from ..landmarks import Landmarks
from .anchors import face_anchors, hand_anchors
from .body import Posed, SolverBody
from .calibration import PointCalibration, calibration
from .camera import Pinhole
from .columns import Columns
from .hypotheses import readings
from .minimise import Freedom, Guess, Minimiser
from .observation import Observation
from .priors import KINDS, PosePrior
from .problem import Common, Problem, Weights
from .silhouette import DistanceField, outline_of
from .so3 import log
from .start import starting_point
from .threads import one_blas_thread

POINT_STEPS = 30
OUTLINE_ROUNDS = 3
OUTLINE_STEPS = 8
HEIGHTS = (0.5, 2.5)  # metres
FEET = (10, 11)  # joints of the toes: no point shows how they bend
WORLD_WEIGHT = 0.3  # of the 3D points for photos: the points in the picture and the mask know more


@dataclass(frozen=True)
class FitOptions:
    """kind: "photo" (a person who stands for a photo) or "any" pose. height: of the person in metres, if known.
    outline: whether the mask's edge is used. hands, face: whether their points are."""

    kind: str = "photo"
    height: float | None = None
    outline: bool = True
    hands: bool = True
    face: bool = True

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"kind: got {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.height is not None and not HEIGHTS[0] <= self.height <= HEIGHTS[1]:
            raise InputError(
                f"height: got {self.height:g} m, expected {HEIGHTS[0]} to {HEIGHTS[1]} metres (not centimetres)"
            )


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to be fitted. landmarks: with a mask where outlines are to be used; focal: pixels, None where
    unknown."""

    landmarks: Landmarks
    focal: float | None = None


@dataclass(frozen=True, eq=False)
class PhotoFit:
    """The body that fits a picture. local f64[55,3,3] rotations, transl f64[3], betas f64[B], pinhole,
    size (height, width); expression f32[E]; cost: what the solver could not explain."""

    local: np.ndarray
    transl: np.ndarray
    betas: np.ndarray
    pinhole: Pinhole
    size: tuple[int, int]
    cost: float
    expression: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def pose(self) -> Pose:
        return Pose(log(self.local), self.transl, self.expression)

    @property
    def camera(self) -> Camera:
        return self.pinhole.camera()

    def posed(self, body: SolverBody) -> Posed:
        return body.pose(self.local, self.transl, self.betas)


@functools.lru_cache(maxsize=2)
def open_solver_body() -> SolverBody:
    """The open body, made once."""
    return SolverBody(Body.open())


def fit_photos(
    pictures: Sequence[Picture],
    body: SolverBody | None = None,
    options: FitOptions | None = None,
    points: PointCalibration | None = None,
) -> list[PhotoFit]:
    """Fit the body to pictures of one person: a pose for each, one shape for all.

    First each picture's points alone, then all together with their outlines, which are looked up again after
    each round. Raises InputError where there is no picture.
    """
    if not pictures:
        raise InputError("fit_photos: got no picture, expected at least one")
    body, options, points = body or open_solver_body(), options or FitOptions(), points or calibration()
    with one_blas_thread():
        freedom = Freedom(height=options.height)
        alone = [find_alone(p, body, options, points, freedom) for p in pictures]
        problems = [problem for problem, _ in alone]
        betas = np.mean([guess.common.betas for _, guess in alone], axis=0)
        guess = Guess(tuple(guess.own[0] for _, guess in alone), Common(betas))
        guess, cost = _together(problems, guess, freedom, fields(pictures, options))
        cost /= len(problems)
    return [
        PhotoFit(own.local, own.transl, guess.common.betas, p.pinhole(guess.common), p.observation.size, cost)
        for own, p in zip(guess.own, problems, strict=True)
    ]


def find_alone(
    picture: Picture,
    body: SolverBody,
    options: FitOptions,
    points: PointCalibration,
    freedom: Freedom,
    common: Common | None = None,
    steps: int = POINT_STEPS,
) -> tuple[Problem, Guess]:
    """A picture's own points, read in the way that fits best. common: what is known of shape and focal length."""
    tried = []
    for landmarks in readings(picture.landmarks):
        problem = _problem(replace(picture, landmarks=landmarks), body, options, points)
        start = starting_point(problem.observation, body, problem.prior)
        guess = Guess((start,), common or Common(np.zeros(body.betas)))
        guess, cost = Minimiser([restatured(problem, guess)], freedom).run(guess, steps)
        tried.append((cost, problem, guess))
    _, problem, guess = min(tried, key=lambda t: t[0])
    return problem, guess


def _problem(picture: Picture, body: SolverBody, options: FitOptions, points: PointCalibration) -> Problem:
    observation = Observation.of(picture.landmarks, points, picture.focal)
    hands = {s: hand_anchors(body.body, s) for s in observation.hands} if options.hands else {}
    free = [j for j in range(22) if j not in FEET] + [j for h in hands.values() for j in h.fingers]
    return Problem(
        body,
        Columns(np.array(sorted(free)), body.betas),
        points,
        PosePrior.of(options.kind, body),
        observation,
        1.0,
        Weights(world=WORLD_WEIGHT),
        hands,
        face_anchors(body.body) if options.face else None,
    )


def fields(pictures: Sequence[Picture], options: FitOptions) -> list[DistanceField | None]:
    """The distance field of each picture's mask, where outlines are used."""
    return [
        None if p.landmarks.mask is None or not options.outline else DistanceField.of(p.landmarks.mask)
        for p in pictures
    ]


def restatured(problem: Problem, guess: Guess, index: int = 0) -> Problem:
    """The problem with the unit of its sigmas taken from where the person now stands."""
    depth = -float(problem.posed(guess.own[index], guess.common).joints[0, 2])
    stature = problem.pinhole(guess.common).stature(depth)
    return problem.with_outline(problem.outline, stature)


def _together(
    problems: list[Problem], guess: Guess, freedom: Freedom, fields: list[DistanceField | None]
) -> tuple[Guess, float]:
    """All pictures with one shape; where there are masks, in rounds with the outlines found anew."""
    rounds = OUTLINE_ROUNDS if any(fields) else 1
    cost = 0.0
    for _ in range(rounds):
        ready = []
        for i, (problem, field_) in enumerate(zip(problems, fields, strict=True)):
            problem = restatured(problem, guess, i)
            if field_ is not None:
                posed, pinhole = problem.posed(guess.own[i], guess.common), problem.pinhole(guess.common)
                outline = outline_of(problem.body, posed, pinhole, problem.observation.size, field_)
                problem = problem.with_outline(outline, problem.stature)
            ready.append(problem)
        steps = OUTLINE_STEPS if any(fields) or len(problems) > 1 else 1
        guess, cost = Minimiser(ready, freedom).run(guess, steps)
    return guess, cost
