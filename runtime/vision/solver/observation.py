"""What is known of one picture, made ready for the solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.rotations import axis_angle_to_matrix, between, quaternion_to_matrix

from ..landmarks import POINT_NAMES, Landmarks
from .anchors import FACE_POINTS
from .calibration import PointCalibration
from .camera import TO_CAMERA

USUAL_FOCAL = 1.2  # of the longer side: a phone's main camera; used where nothing says otherwise
HAND_SCORE = 0.5
FACE_SCORE = 0.5
TRUNK = [POINT_NAMES.index(f"{side}_{part}") for part in ("shoulder", "hip") for side in ("left", "right")]


@dataclass(frozen=True, eq=False)
class Observation:
    """size (height, width); focal, centre (x, y): of the assumed camera, pixels; points f64[33,2] pixels; trust
    f64[33] in (0, 1]; world f64[33,3] metres on the world's axes (y up, z towards the camera), any origin; hands:
    f64[21,2] pixels by side; face f64[51,2] pixels or None."""

    size: tuple[int, int]
    focal: float
    centre: tuple[float, float]
    points: np.ndarray
    trust: np.ndarray
    world: np.ndarray
    hands: dict[str, np.ndarray]
    face: np.ndarray | None

    @classmethod
    def of(
        cls, landmarks: Landmarks, calibration: PointCalibration, focal: float | None = None
    ) -> Observation:
        """focal in pixels; by default USUAL_FOCAL of the longer side."""
        height, width = landmarks.size
        focal = focal or USUAL_FOCAL * max(height, width)
        centre = (width / 2, height / 2)
        points = landmarks.points.astype(np.float64)
        # The network sees a crop and takes it for the middle of a picture: turn its world into the true line of
        # sight.
        middle = points[TRUNK].mean(0) - centre
        sight = quaternion_to_matrix(between(np.array([0, 0, 1.0]), np.array([*middle, focal])))
        turn = sight @ axis_angle_to_matrix(calibration.tilt)
        face = landmarks.face
        return cls(
            landmarks.size,
            focal,
            centre,
            points,
            np.clip((landmarks.visibility.astype(np.float64) - 0.2) / 0.6, 0.02, 1.0),
            (landmarks.world.astype(np.float64) @ turn.T) * TO_CAMERA,
            {s: h.xy.astype(np.float64) for s, h in landmarks.hands.items() if h.score > HAND_SCORE},
            face.xyz[FACE_POINTS, :2].astype(np.float64)
            if face is not None and face.score > FACE_SCORE
            else None,
        )
