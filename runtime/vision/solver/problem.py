"""One picture's least-squares problem: its terms added up, at a guess of pose, place, shape and focal length."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from dinar_live.runtime.core.rotations import axis_angle_to_matrix

from .anchors import BASE, FRAME, FaceAnchors, HandAnchors
from .body import Posed, SolverBody, turned
from .calibration import PointCalibration
from .camera import Pinhole
from .columns import Columns, Equations
from .face import face_points
from .observation import Observation
from .priors import PosePrior, add_follow_prior, add_place_prior, add_pose_prior
from .silhouette import Outline, add_outline

CAUCHY = 3.0
LEAST_SIGMA = 0.003  # of the stature: no point is better than this
HAND_SIGMA = 0.005
FACE_SIGMA = 0.008
LARGEST_TURN = 0.7  # radians of one joint in one step
SCALE = (0.6, 1.6)  # what the network's metres may be off by


@dataclass(frozen=True, eq=False)
class Own:
    """What a picture has to itself. local f64[55,3,3]; transl f64[3] metres."""

    local: np.ndarray
    transl: np.ndarray


@dataclass(frozen=True, eq=False)
class Common:
    """What pictures of one person share. betas f64[B]; log_scale: their focal lengths are the assumed ones times
    exp(log_scale)."""

    betas: np.ndarray
    log_scale: float = 0.0


@dataclass(frozen=True)
class Weights:
    """world: of the network's 3D points against those in the picture; flat: how much less their x and y count
    than z, as the picture itself knows these better. follow: radians that a joint may turn from the frame before. near_turn
    (radians), near_place (metres): how far a frame of a film may be from what its neighbours say."""

    world: float = 1.0
    flat: float = 2.0
    follow: float = 0.35
    near_turn: float = 0.05
    near_place: float = 0.008


@dataclass(frozen=True, eq=False)
class Problem:
    """A picture and all that is assumed. stature: pixels of a person of 1.7 m there, the unit of the sigmas. last:
    f64[55,3,3] of the frame before; near: what the frames before and after say."""

    body: SolverBody
    columns: Columns
    calibration: PointCalibration
    prior: PosePrior
    observation: Observation
    stature: float
    weights: Weights = Weights()
    hands: dict[str, HandAnchors] = field(default_factory=dict)
    face: FaceAnchors | None = None
    outline: Outline | None = None
    last: np.ndarray | None = None
    near: Own | None = None

    def pinhole(self, common: Common) -> Pinhole:
        return Pinhole(self.observation.focal * float(np.exp(common.log_scale)), self.observation.centre)

    def posed(self, own: Own, common: Common) -> Posed:
        return self.body.pose(own.local, own.transl, common.betas)

    def equations(self, own: Own, common: Common) -> Equations:
        """All terms but the priors of what is shared."""
        equations = Equations(self.columns.size)
        posed, pinhole = self.posed(own, common), self.pinhole(common)
        self._add_points(equations, posed, pinhole)
        self._add_world(equations, posed)
        for side, anchors in self.hands.items():
            self._add_hand(equations, posed, pinhole, (anchors, self.observation.hands[side]))
        if self.observation.face is not None:
            self._add_face(equations, posed, pinhole, self.observation.face)
        if self.outline is not None:
            add_outline(equations, self.columns, self.body, posed, pinhole, self.outline, self.stature)
        add_pose_prior(equations, self.columns, own.local, self.prior)
        if self.last is not None:
            add_follow_prior(equations, self.columns, own.local, self.last, self.weights.follow)
        if self.near is not None:
            add_follow_prior(equations, self.columns, own.local, self.near.local, self.weights.near_turn)
            add_place_prior(equations, self.columns, own.transl, self.near.transl, self.weights.near_place)
        return equations

    def step(self, own: Own, change: np.ndarray) -> Own:
        """own moved by the unknowns' change f64[columns.own]; no joint turns by more than LARGEST_TURN."""
        turns = change[:-3].reshape(-1, 3)
        angle = np.linalg.norm(turns, axis=1, keepdims=True)
        turns = turns * np.minimum(1, LARGEST_TURN / np.maximum(angle, 1e-12))
        local = own.local.copy()
        free = self.columns.free
        local[free] = local[free] @ axis_angle_to_matrix(turns)
        return Own(local, own.transl + change[-3:])

    def point_error(self, own: Own, common: Common) -> float:
        """Median distance of the points that are seen from the body's, as a share of the stature."""
        free = np.zeros(0, int)
        points = self.body.anchored(self.posed(own, common), BASE, FRAME, self.calibration.offset, free)
        pixels = self.pinhole(common).pixels(points.x)[0]
        distance = np.linalg.norm(pixels - self.observation.points, axis=1) / self.stature
        seen = self.observation.trust > 0.5
        return float(np.median(distance[seen] if seen.any() else distance))

    def with_outline(self, outline: Outline | None, stature: float) -> Problem:
        return replace(self, outline=outline, stature=stature)

    def _add_points(self, equations: Equations, posed: Posed, pinhole: Pinhole) -> None:
        points = self.body.anchored(posed, BASE, FRAME, self.calibration.offset, self.columns.free)
        pixels, jacobian = pinhole.project(points, posed, self.columns)
        sigma = np.maximum(self.calibration.sigma, LEAST_SIGMA) / np.sqrt(self.observation.trust)
        residuals = pixels - self.observation.points
        equations.add(residuals, jacobian, self.stature * sigma[:, None], CAUCHY)

    def _add_world(self, equations: Equations, posed: Posed) -> None:
        """The 3D points, about their mean and up to a scale, which is solved for in closed form."""
        columns = self.columns
        points = self.body.anchored(posed, BASE, FRAME, self.calibration.world_offset, columns.free)
        trust = self.observation.trust
        share = trust / trust.sum()
        jacobian = np.zeros((len(points), 3, columns.size))
        rows = np.broadcast_to(np.eye(3), (len(points), 3, 3))
        local = turned(points, rows, posed.world[columns.free])
        jacobian[..., : columns.own - 3] = local.reshape(len(points), 3, -1)
        jacobian[..., columns.shape] = points.shape
        jacobian -= np.tensordot(share, jacobian, 1)
        x = points.x - share @ points.x
        y = self.observation.world - share @ self.observation.world
        weighted = share[:, None] * y / max(float((share[:, None] * y * y).sum()), 1e-9)
        scale = float((weighted * x).sum())
        if SCALE[0] < scale < SCALE[1]:
            jacobian -= y[..., None] * np.tensordot(weighted, jacobian, 2)
        sigma = self.calibration.world_sigma / self.weights.world / np.sqrt(trust)[:, None]
        sigma = sigma * (self.weights.flat, self.weights.flat, 1.0)
        equations.add(x - np.clip(scale, *SCALE) * y, jacobian, sigma, CAUCHY)

    def _add_hand(
        self, equations: Equations, posed: Posed, pinhole: Pinhole, seen: tuple[HandAnchors, np.ndarray]
    ) -> None:
        anchors, xy = seen
        free = self.columns.free
        still = np.zeros((len(anchors.joints), 3))
        joints = self.body.anchored(posed, anchors.joints, anchors.joints, still, free)
        tips = self.body.skinned(posed, anchors.tips, free)
        for points, at in ((joints, anchors.at), (tips, anchors.tips_at)):
            pixels, jacobian = pinhole.project(points, posed, self.columns)
            equations.add(pixels - xy[at], jacobian, HAND_SIGMA * self.stature, CAUCHY)

    def _add_face(self, equations: Equations, posed: Posed, pinhole: Pinhole, xy: np.ndarray) -> None:
        if self.face is None:
            return
        points = face_points(self.body, posed, self.face, self.calibration.face_offset, self.columns.free)
        pixels, jacobian = pinhole.project(points, posed, self.columns)
        equations.add(pixels - xy, jacobian, FACE_SIGMA * self.stature, CAUCHY)
