"""A person followed from picture to picture: a few steps of the solver each, from where the last picture ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import ThreadpoolController

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose

from ..landmarks import Landmarks
from .anchors import hand_anchors
from .body import SolverBody
from .calibration import PointCalibration, calibration
from .camera import Pinhole
from .columns import Columns
from .minimise import Freedom, Guess, Minimiser
from .observation import Observation
from .photo_fit import FEET, WORLD_WEIGHT, open_solver_body
from .priors import PosePrior
from .problem import Common, Own, Problem, Weights
from .so3 import log
from .start import starting_point

FIRST_STEPS = 25
STEPS = 3
LOST = 0.9  # radians that the pelvis may be off the 3D points' frame before the solver starts anew


@dataclass(frozen=True, eq=False)
class LivePose:
    """pose: of the body, transl in metres before the camera, y up, z towards it. error: median distance of the
    points that are seen from where the body has them, share of the stature. fresh: whether the solver started
    anew."""

    pose: Pose
    pinhole: Pinhole
    error: float
    fresh: bool


class LiveSolver:
    """Poses of one person, picture by picture. Not for several threads at once.

    betas: the person's shape, f64[b], from `fit_photos`; the mean person without. focal: pixels, by default
    USUAL_FOCAL of the longer side. steps: of the solver per picture.
    """

    def __init__(
        self, body: SolverBody | None = None, *, betas=(), focal: float | None = None, steps: int = STEPS,
        points: PointCalibration | None = None,
    ):  # fmt: skip
        self.body = body or open_solver_body()
        betas = np.asarray(betas, np.float64)
        if betas.ndim != 1 or len(betas) > self.body.betas:
            raise InputError(
                f"betas: got shape {list(betas.shape)}, expected at most {self.body.betas} values"
            )
        self._common = Common(np.pad(betas, (0, self.body.betas - len(betas))))
        self._focal = focal
        self._steps = steps
        self._points = points or calibration()
        self._prior = PosePrior.of("any", self.body)
        self._hands = {side: hand_anchors(self.body.body, side) for side in ("left", "right")}
        self._trunk = [j for j in range(22) if j not in FEET]
        self._own: Own | None = None
        self._blas = ThreadpoolController()  # looked up once: it takes a millisecond

    def reset(self) -> None:
        """Forget the person: the next picture starts anew."""
        self._own = None

    def update(self, landmarks: Landmarks) -> LivePose:
        """The pose in the next picture. Hands that the landmarks do not hold keep their fingers as they were."""
        observation = Observation.of(landmarks, self._points, self._focal)
        with self._blas.limit(limits=1, user_api="blas"):
            start = starting_point(observation, self.body, self._prior)
            fresh = self._own is None or _apart(self._own.local[0], start.local[0]) > LOST
            own = start if self._own is None or fresh else self._own
            problem = self._problem(observation, own, fresh)
            steps = FIRST_STEPS if fresh else self._steps
            guess = Minimiser([problem], Freedom(shape=False)).run(Guess((own,), self._common), steps)[0]
        self._own = guess.own[0]
        error = problem.point_error(self._own, self._common)
        pose = Pose(log(self._own.local), self._own.transl)
        return LivePose(pose, problem.pinhole(self._common), error, fresh)

    def _problem(self, observation: Observation, own: Own, fresh: bool) -> Problem:
        hands = {side: self._hands[side] for side in observation.hands}
        free = sorted(self._trunk + [int(j) for hand in hands.values() for j in hand.fingers])
        problem = Problem(
            self.body, Columns(np.array(free), self.body.betas), self._points, self._prior, observation, 1.0,
            Weights(world=WORLD_WEIGHT), hands, last=None if fresh else own.local,
        )  # fmt: skip
        depth = -float(own.transl[2] + self.body.joints[0, 2])
        return replace(problem, stature=problem.pinhole(self._common).stature(depth))


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """The angle between two rotations, radians."""
    return float(np.linalg.norm(log(a.T @ b)))
