"""The solver's camera: it stands at the origin, the world has y up and z towards it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.camera import Camera

from .body import Points, Posed, turned
from .columns import Columns

TO_CAMERA = np.array([1.0, -1.0, -1.0])
"""World to camera: a half turn about x, so multiply."""
NEAREST = 0.1  # metres; what is nearer is projected as if it were this far away
USUAL_STATURE = 1.7  # metres; a unit for lengths in the picture


@dataclass(frozen=True)
class Pinhole:
    """focal in pixels, centre (x, y) in pixels."""

    focal: float
    centre: tuple[float, float]

    def project(self, points: Points, posed: Posed, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Pixels f64[n,2] and their derivatives f64[n,2,columns.size]."""
        pixels, rows = self.pixels(points.x)
        n = len(points)
        jacobian = np.empty((n, 2, columns.size))
        local = turned(points, rows, posed.world[columns.free])
        jacobian[..., : columns.own - 3] = local.reshape(n, 2, -1)
        jacobian[..., columns.transl] = rows
        jacobian[..., columns.shape] = rows @ points.shape
        jacobian[..., -1] = pixels - self.centre
        return pixels, jacobian

    def pixels(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points f64[n,3] -> pixels f64[n,2] and their derivatives by the points, f64[n,2,3]."""
        at = x * TO_CAMERA
        z = np.maximum(at[:, 2], NEAREST)
        pixels = self.focal * at[:, :2] / z[:, None]
        rows = np.zeros((len(x), 2, 3))
        rows[:, 0, 0] = self.focal / z
        rows[:, 1, 1] = -self.focal / z
        rows[:, :, 2] = pixels / z[:, None] * (at[:, 2] > NEAREST)[:, None]
        return pixels + self.centre, rows

    def camera(self) -> Camera:
        """As the rest of the project has it."""
        x, y = self.centre
        K = np.array([[self.focal, 0, x], [0, self.focal, y], [0, 0, 1]])
        return Camera(K, np.diag([*TO_CAMERA, 1.0]))

    def stature(self, depth: float) -> float:
        """How many pixels a person of 1.7 m takes at `depth` metres."""
        return self.focal * USUAL_STATURE / max(depth, 0.3)
