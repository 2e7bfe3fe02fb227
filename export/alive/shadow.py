"""A soft contact shadow of a body on the ground."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live import kernels

CONTACT, CONTACT_HEIGHT, CONTACT_BLUR = 0.5, 0.10, 0.02  # darkness; metres; metres
AMBIENT, AMBIENT_HEIGHT, AMBIENT_BLUR = 0.28, 1.2, 0.11
SIDE = 480  # pixels of the longer side that shadows are drawn at


class GroundShadow:
    """Shadows for one camera. matrix f64[3,4] = K @ world_to_camera[:3] of pictures of `size` (height, width);
    the ground: points whose height along up f64[3] is `ground`."""

    def __init__(self, matrix: np.ndarray, size: tuple[int, int], up: np.ndarray, ground: float):
        self.size = size
        scale = min(1.0, SIDE / max(size))
        self._small = tuple(max(2, round(s * scale)) for s in size)
        factors = [self._small[1] / size[1], self._small[0] / size[0], 1.0]
        self._matrix = np.diag(factors) @ matrix
        self._up = up
        self._ground = ground

    def at(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """How much light is left f32[H,W] in [0,1] under posed vertices [V,3]."""
        height = vertices.astype(np.float64) @ self._up - self._ground
        flat = vertices - height[:, None] * self._up
        projective, _ = kernels.project(np.ascontiguousarray(flat, np.float32), self._matrix)
        z = float(np.median(projective[:, 2]))
        pixels = float(np.linalg.norm(self._matrix[0, :3])) / max(z, 1e-3)  # per metre
        light = np.ones(self._small, np.float32)
        layers = ((CONTACT, CONTACT_HEIGHT, CONTACT_BLUR), (AMBIENT, AMBIENT_HEIGHT, AMBIENT_BLUR))
        for dark, limit, blur in layers:
            near = faces[(height[faces] < limit).all(1)]
            if not len(near):
                continue
            raster = kernels.rasterize(projective, np.ascontiguousarray(near), self._small, cull=False)
            covered = (raster.triangle_id >= 0).astype(np.float32)
            light *= 1 - dark * cv2.GaussianBlur(covered, (0, 0), max(0.6, blur * pixels))
        return cv2.resize(light, self.size[::-1], interpolation=cv2.INTER_LINEAR)
