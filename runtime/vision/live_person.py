"""LivePerson: whoever is before a camera, picture by picture: measured once, then followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core import rotations as rot

from .follow import PersonFollower
from .landmarker import Landmarker
from .landmarks import Landmarks
from .solver.body import SolverBody
from .solver.expression import fit_expression
from .solver.live import LivePose, LiveSolver
from .solver.photo_fit import FitOptions, PhotoFit, fit_photos, open_solver_body
from .solver.photo_fit import Picture as SolverPicture
from .solver.score import cut_off

MEASURED_FRAMES, MEASURED_APART_S = 3, 0.15
FORGOTTEN_S = 0.5  # after so long without the person the solver starts anew
ANOTHER_S = 5.0  # and after so long it may be somebody else
FACE_STEP = 0.5  # of the way to the expression last seen, each picture


@dataclass(frozen=True, eq=False)
class Performed:
    """A pose of the person.

    body f32[55,3] axis-angle; pelvis f64[3], metres, x to the picture's right, y up, z to the camera, which is taken
    to look level; expression f32[E]; rest f64[55,3]: the person's joints at rest, metres; person: grows by one with
    each person measured; missing: parts of the body that the picture cuts off and that are guessed.
    """

    body: np.ndarray
    pelvis: np.ndarray
    expression: np.ndarray
    rest: np.ndarray
    person: int
    missing: tuple[str, ...]


class LivePerson:
    """Poses of the largest person. The first pictures of somebody give the shape, by which all further ones are
    read; then one hand or the face is looked at in each picture, in turns. doing: "looking", "measuring" or
    "following". Not for several threads at once."""

    def __init__(self, landmarker: Landmarker, body: SolverBody | None = None):
        self._solver_body = body or open_solver_body()
        self._follower = PersonFollower(landmarker, turns=True)
        self.expression_names = tuple(self._solver_body.body.expression_names or ())
        self.doing = "looking"
        self._seen_s = -np.inf
        self._person = 0
        self._forget()

    @property
    def losses(self) -> int:
        """How often the person was lost."""
        return self._follower.losses

    def _forget(self) -> None:
        self._solver: LiveSolver | None = None
        self._measured: list[Landmarks] = []
        self._measured_s = -np.inf
        self._expression = np.zeros(len(self.expression_names), np.float32)
        self._face = self._expression

    def cut(self) -> None:
        """The pictures do not go on from the last one: a film begins again."""
        self._follower.reset()
        if self._solver is not None:
            self._solver.reset()

    def see(self, rgb: np.ndarray, t: float) -> Performed | None:
        """The pose in the next picture u8[H,W,3]; None where nobody is, or who is there is still measured. t:
        seconds, ascending."""
        landmarks = self._follower.see(rgb)
        if landmarks is None:
            self.doing = "looking"
            return None
        away, self._seen_s = t - self._seen_s, t
        if away > ANOTHER_S:
            self._forget()
        elif away > FORGOTTEN_S and self._solver is not None:
            self._solver.reset()
        if self._solver is None and not self._measure(landmarks, t):
            self.doing = "measuring"
            return None
        assert self._solver is not None
        self.doing = "following"
        solved = self._solver.update(landmarks)
        return Performed(
            solved.pose.body,
            self._rest[0] + solved.pose.transl,
            self._express(landmarks, solved),
            self._rest,
            self._person,
            tuple(cut_off(landmarks)),
        )

    def _measure(self, landmarks: Landmarks, t: float) -> bool:
        """Whether the shape is known now."""
        if t - self._measured_s < MEASURED_APART_S:
            return False
        self._measured.append(landmarks)
        self._measured_s = t
        if len(self._measured) < MEASURED_FRAMES:
            return False
        options = FitOptions(kind="any", outline=False)
        body = self._solver_body
        self._betas = fit_photos([SolverPicture(p) for p in self._measured], body, options)[0].betas
        self._rest = body.pose(np.broadcast_to(np.eye(3), (55, 3, 3)), np.zeros(3), self._betas).rest
        self._solver = LiveSolver(body, betas=self._betas)
        self._measured = []
        self._person += 1
        return True

    def _express(self, landmarks: Landmarks, solved: LivePose) -> np.ndarray:
        """f32[E]: towards what the face showed when it was last looked at."""
        if landmarks.face is not None and self.expression_names:
            self._face = expression_of(landmarks, solved, self._betas, self._solver_body)
        self._expression = self._expression + np.float32(FACE_STEP) * (self._face - self._expression)
        return self._expression


def expression_of(landmarks: Landmarks, solved: LivePose, betas: np.ndarray, body: SolverBody) -> np.ndarray:
    """The expression f32[E] of a face on a body that is solved already."""
    local = rot.axis_angle_to_matrix(solved.pose.body.astype(np.float64))
    transl = solved.pose.transl.astype(np.float64)
    fit = PhotoFit(local, transl, betas, solved.pinhole, landmarks.size, 0.0)
    return fit_expression(landmarks, fit, body)
