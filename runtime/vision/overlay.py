"""Pictures of what was understood: the fitted body drawn over the photo."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live.kernels import rasterize
from dinar_live.runtime.core.skeleton import PARENTS

from .landmarks import Landmarks
from .solver.body import SolverBody
from .solver.camera import TO_CAMERA
from .solver.photo_fit import PhotoFit

SIDE = 1000  # pixels of the longer side
_OPACITY = 0.55
_BODY = np.array([250.0, 200.0, 120.0])
_BONE, _POINT, _EDGE = (255, 255, 255), (40, 220, 90), (230, 60, 60)


def overlay(rgb: np.ndarray, landmarks: Landmarks, fit: PhotoFit, body: SolverBody) -> np.ndarray:
    """The photo u8[H,W,3] with the shaded body, its bones, the points found (green) and the mask's edge (red):
    u8[h,w,3], at most SIDE pixels a side."""
    scale = min(1.0, SIDE / max(rgb.shape[:2]))
    h, w = (max(1, round(s * scale)) for s in rgb.shape[:2])
    picture = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    posed = fit.posed(body)
    grid = np.array([w / rgb.shape[1], h / rgb.shape[0]])
    shade, covered = _shaded(body.vertices(posed) * TO_CAMERA, body.body.faces, fit, grid, (h, w))
    picture[covered] = (1 - _OPACITY) * picture[covered] + _OPACITY * shade[covered]
    out = picture.clip(0, 255).astype(np.uint8)
    if landmarks.mask is not None:
        mask = (cv2.resize(landmarks.mask, (w, h), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
        edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, edges, -1, _EDGE, 1, cv2.LINE_AA)
    joints = np.round(fit.pinhole.pixels(posed.joints)[0] * grid).astype(int)
    for j in range(1, 22):
        cv2.line(out, _xy(joints[PARENTS[j]]), _xy(joints[j]), _BONE, 1, cv2.LINE_AA)
    for point in np.round(landmarks.points[landmarks.visibility > 0.5] * grid).astype(int):
        cv2.circle(out, _xy(point), 3, _POINT, -1, cv2.LINE_AA)
    return out


def _xy(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(point, -30000, 30000)
    return int(x), int(y)


def _shaded(
    x: np.ndarray, faces: np.ndarray, fit: PhotoFit, grid: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Colours f32[h,w,3] of the lit body and where it is, bool[h,w]. x: vertices on the camera's axes."""
    projective = np.empty_like(x)
    projective[:, 2] = x[:, 2]
    projective[:, :2] = grid * (fit.pinhole.focal * x[:, :2] + np.array(fit.pinhole.centre) * x[:, 2:])
    raster = rasterize(projective.astype(np.float32), faces, size, threads=1)
    corners = x[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = np.zeros_like(x)
    for k in range(3):
        np.add.at(smooth, faces[:, k], normal)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
    covered = raster.triangle_id >= 0
    seen = faces[raster.triangle_id[covered]]
    facing = np.einsum("pk,pk->p", raster.barycentrics[covered], -smooth[seen][..., 2])
    shade = np.zeros((*size, 3), np.float32)
    shade[covered] = _BODY * (0.35 + 0.65 * np.abs(facing))[:, None]
    return shade, covered
