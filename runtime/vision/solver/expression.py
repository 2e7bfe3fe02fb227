"""The face's expression from its points, in the open body's names (Apple's ARKit).

Last, when pose and shape are known: the 51 points are linear in the expression, so one bounded, damped least-squares
problem gives it. A face that differs from the mean one looks a little like an expression; the damping and a threshold
keep that out.
"""

from __future__ import annotations

import numpy as np

from ..landmarks import Landmarks
from .anchors import FACE_POINTS, face_anchors
from .body import SolverBody
from .calibration import PointCalibration, calibration
from .face import HEAD, face_points
from .observation import FACE_SCORE
from .photo_fit import PhotoFit

NAMES = (
    "jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthPucker",
    "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "browDownLeft",
    "browDownRight",
)  # fmt: skip
POINT_SIGMA = 0.0012  # metres: how far a point may be off on a face of this shape
PRIOR_SIGMA = 0.5
STRENGTH = 4.0  # identity, which no expression explains, weighs so many sigmas
LEAST = 0.12  # what is weaker is taken for the person's own face
SWEEPS = 60
LEAST_PIXELS = 25  # from the brows to the lower lip; a smaller face shows no expression


def fit_expression(
    landmarks: Landmarks, fit: PhotoFit, body: SolverBody, points: PointCalibration | None = None
) -> np.ndarray:
    """Coefficients f32[E] of the body's expression space, zeros where no face is seen well enough or the body's
    expressions have no names."""
    names = body.body.expression_names
    out = np.zeros(body.body.expression_dirs.shape[2], np.float32)
    face, anchors = landmarks.face, face_anchors(body.body)
    if face is None or face.score <= FACE_SCORE or anchors is None or not names:
        return out
    if np.ptp(face.xyz[FACE_POINTS, 1]) < LEAST_PIXELS:
        return out
    at = [names.index(n) for n in NAMES]
    posed = fit.posed(body)
    turn, head = posed.world[HEAD], posed.joints[HEAD]
    dirs = body.body.expression_dirs[anchors.corners][..., at].astype(np.float64)
    dirs = np.einsum("nk,nkae->nae", anchors.weights, dirs)
    x = face_points(body, posed, anchors, (points or calibration()).face_offset, np.zeros(0, int)).x
    pixels, rows = fit.pinhole.pixels(x)
    per_metre = fit.pinhole.focal / max(-float(head[2]), 0.1)
    seen = face.xyz[FACE_POINTS, :2].astype(np.float64)
    A = np.einsum("nij,jk,nke->nie", rows, turn, dirs) / per_metre
    b = (seen - pixels) / per_metre
    # What the head's place, turn and size may still be off by explains nothing of the expression.
    A, b = _without_similarity(A, b, pixels)
    weights = _bounded(
        A.reshape(-1, len(at)) / (POINT_SIGMA * STRENGTH), b.reshape(-1) / (POINT_SIGMA * STRENGTH)
    )
    out[at] = np.where(weights >= LEAST, weights, 0)
    return out


def _without_similarity(A: np.ndarray, b: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n,2,E] and right side [n,2] without what a shift, a turn and two scales of the picture explain."""
    n = len(pixels)
    p = (pixels - pixels.mean(0)) / max(np.ptp(pixels), 1e-6)
    basis = np.zeros((n, 2, 6))
    basis[:, 0, 0] = basis[:, 1, 1] = 1
    basis[:, 0, 2:4] = p
    basis[:, 1, 4:6] = p
    q, _ = np.linalg.qr(basis.reshape(2 * n, 6))
    flat = A.reshape(2 * n, -1)
    residual = b.reshape(2 * n)
    return (flat - q @ (q.T @ flat)).reshape(A.shape), (residual - q @ (q.T @ residual)).reshape(b.shape)


def _bounded(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """min |A w - b|^2 + |w / PRIOR_SIGMA|^2 with 0 <= w <= 1, by coordinate descent."""
    H = A.T @ A + np.eye(A.shape[1]) / PRIOR_SIGMA**2
    g = A.T @ b
    w = np.zeros(len(g))
    for _ in range(SWEEPS):
        for k in range(len(w)):
            w[k] = np.clip(w[k] + (g[k] - H[k] @ w) / H[k, k], 0, 1)
    return w
