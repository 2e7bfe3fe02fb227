"""A camera that stands still while the person moves about a spot, and goes along when the person leaves it."""
from __future__ import annotations

import math

import numpy as np

from .camera import Camera
from .framing import FOV_Y

FILL = 0.85             # share of the picture's height that a standing body takes
LEASH = 0.2             # metres: a swaying or stepping body stays within this of where it stands


class FollowingCamera:
    """Shows the whole body from the front; `at(transl)` gives the camera for a pose.

    pelvis: rest position of the pelvis joint [3], metres. extent: lowest and highest y of the rest pose relative to it, metres
    (framing.body_extent). size: (height, width) in pixels. Needs no rig, so a client of a server can use it.
    """

    def __init__(self, pelvis, extent: tuple[float, float], size: tuple[int, int]):
        self._pelvis, self._size = np.asarray(pelvis, np.float64), size
        height = extent[1] - extent[0]
        self._middle, self._distance = height / 2, height / FILL / (2 * math.tan(FOV_Y / 2))
        self._spot: np.ndarray | None = None
        self._camera: Camera | None = None

    def at(self, transl) -> Camera:
        """The camera for a pose with this transl [3]; follows calls in the order of time."""
        x, _, z = self._pelvis + np.asarray(transl, np.float64)
        here = np.array([x, z])
        if self._spot is None:
            self._spot = here
        away = here - self._spot
        distance = float(np.hypot(*away))
        if self._camera is None or distance > LEASH:
            if distance > LEASH:
                self._spot = here - away * (LEASH / distance)
            x, z = self._spot
            self._camera = Camera.orbit((x, self._middle, z), self._size, distance=self._distance, fov_y=FOV_Y)
        return self._camera
