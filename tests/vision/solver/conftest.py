"""A person whose pose is known, as the networks would see them if they made no errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.vision.landmarks import Crop, FaceLandmarks, HandLandmarks, Landmarks
from dinar_live.runtime.vision.solver.anchors import BASE, FACE_POINTS, FRAME, face_anchors, hand_anchors
from dinar_live.runtime.vision.solver.body import Posed, SolverBody
from dinar_live.runtime.vision.solver.calibration import calibration
from dinar_live.runtime.vision.solver.camera import TO_CAMERA, Pinhole
from dinar_live.runtime.vision.solver.face import face_points
from dinar_live.runtime.vision.solver.observation import Observation
from dinar_live.runtime.vision.solver.photo_fit import open_solver_body
from dinar_live.runtime.vision.solver.silhouette import silhouette

SIZE = (640, 480)
NONE = np.zeros(0, int)


@dataclass
class Actor:
    """A person with known parameters in front of a known camera."""

    local: np.ndarray
    transl: np.ndarray
    betas: np.ndarray
    pinhole: Pinhole

    def posed(self, body: SolverBody) -> Posed:
        return body.pose(self.local, self.transl, self.betas)

    def landmarks(self, body: SolverBody, *, hands=False, face=False, mask=False) -> Landmarks:
        """What a network without errors would see."""
        points, posed = calibration(), self.posed(body)
        xy = self.pinhole.pixels(body.anchored(posed, BASE, FRAME, points.offset, NONE).x)[0]
        world = body.anchored(posed, BASE, FRAME, points.world_offset, NONE).x * TO_CAMERA
        still = Landmarks(SIZE, xy, np.ones(33), np.zeros((33, 3)), 1.0, Crop(1, 1, 1))
        turn = _turn_of(still, self.pinhole)  # the solver turns what it is given by this
        extra = {}
        if hands:
            for side in ("left", "right"):
                extra[f"{side}_hand"] = HandLandmarks(self._hand(body, posed, side), np.zeros((21, 3)), 1.0)
        if face:
            anchors = face_anchors(body.body)
            x = face_points(body, posed, anchors, points.face_offset, NONE).x
            mesh = np.zeros((468, 3))
            mesh[FACE_POINTS, :2] = self.pinhole.pixels(x)[0]
            extra["face"] = FaceLandmarks(mesh, 1.0)
        if mask:
            extra["mask"] = silhouette(body, posed, self.pinhole, SIZE, max(SIZE))[0].astype(np.float32)
        world = (world - world.mean(0)) @ turn
        return Landmarks(SIZE, xy, np.ones(33), world, 1.0, Crop(1, 1, 1), **extra)

    def _hand(self, body: SolverBody, posed: Posed, side: str) -> np.ndarray:
        anchors = hand_anchors(body.body, side)
        xy = np.zeros((21, 2))
        xy[anchors.at] = self.pinhole.pixels(posed.joints[anchors.joints])[0]
        xy[anchors.tips_at] = self.pinhole.pixels(body.skinned(posed, anchors.tips, NONE).x)[0]
        return xy


def _turn_of(landmarks: Landmarks, pinhole: Pinhole) -> np.ndarray:
    """The rotation with which `Observation` turns the network's axes to the camera's, f64[3,3]."""
    eye = np.zeros((33, 3), np.float32)
    eye[:3] = np.eye(3)
    asked = Landmarks(
        landmarks.size, landmarks.points, landmarks.visibility, eye, landmarks.score, landmarks.crop
    )
    return (Observation.of(asked, calibration(), pinhole.focal).world[:3] * TO_CAMERA).T


@pytest.fixture(scope="session")
def body() -> SolverBody:
    return open_solver_body()


@pytest.fixture
def actor(body) -> Actor:
    """Stands a little turned, arms away from the body, one knee bent; 3.2 m from the camera."""
    angles = np.zeros((55, 3))
    angles[25:] = body.hands_mean
    angles[0] = 0.05, 0.35, -0.03
    angles[J["left_shoulder"]] = 0.1, -0.2, -0.8
    angles[J["right_shoulder"]] = 0.0, 0.3, 0.95
    angles[J["left_elbow"]] = 0, -0.5, 0
    angles[J["right_elbow"]] = 0, 0.3, 0
    angles[J["left_hip"]] = -0.15, 0.05, 0.1
    angles[J["left_knee"]] = 0.3, 0, 0
    angles[J["head"]] = 0.1, -0.2, 0.05
    betas = np.zeros(body.betas)
    betas[:4] = 0.4, -0.5, 0.6, 0.3
    return Actor(
        axis_angle_to_matrix(angles),
        np.array([0.1, 0.3, -3.2]) - body.joints[0],
        betas,
        Pinhole(1.2 * max(SIZE), (SIZE[1] / 2, SIZE[0] / 2)),
    )
