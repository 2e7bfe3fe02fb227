"""Cameras that show the whole person."""

from __future__ import annotations

import math

import numpy as np

from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.camera import Camera

FOV_Y = 0.45  # radians: about a 55 mm lens on a full-frame camera, which does not distort a standing person
FILL = 0.85  # share of the frame's height that a standing body takes
HEAD_ROOM = 0.02  # metres of hair above the skull
LEASH = 0.2  # metres: a swaying or stepping body stays within this of where it stands


def body_extent(rig: Rig) -> tuple[float, float]:
    """Lowest and highest y of the rest pose relative to the pelvis joint, metres."""
    y = rig.model.vertices[:, 1]
    return float(y.min() - rig.joints[0, 1]), float(y.max() - rig.joints[0, 1]) + HEAD_ROOM


def _distance(extent: tuple[float, float], fill: float) -> float:
    return (extent[1] - extent[0]) / fill / (2 * math.tan(FOV_Y / 2))


def whole_body_camera(
    rig: Rig,
    pelvis,
    size: tuple[int, int],
    *,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    fill: float = FILL,
) -> Camera:
    """A camera that shows a standing body whose pelvis joint is at `pelvis` (metres) at `fill` of the
    frame's height.

    size (height, width) pixels; azimuth and elevation in radians, 0 = from the front, at eye level with the
    middle of the body.
    """
    extent = body_extent(rig)
    target = np.asarray(pelvis, np.float64) + [0.0, sum(extent) / 2, 0.0]
    return Camera.orbit(
        target, size, azimuth=azimuth, elevation=elevation, distance=_distance(extent, fill), fov_y=FOV_Y
    )


class DeadZone:
    """A spot on the ground that keeps still while a person moves about it, and is pulled along when the
    person leaves it."""

    def __init__(self):
        self._spot: np.ndarray | None = None

    def at(self, x: float, z: float) -> np.ndarray:
        """The spot f64[2] (x, z) for a person at (x, z), metres; follows calls in the order of time."""
        here = np.array([x, z])
        if self._spot is None:
            self._spot = here
        away = here - self._spot
        distance = float(np.hypot(*away))
        if distance > LEASH:
            self._spot = here - away * (LEASH / distance)
        return self._spot


class FollowingCamera:
    """Shows a body that stands on y = 0 whole: the camera keeps still while the person moves about a spot,
    and goes along when the person leaves it.

    pelvis: rest position of the pelvis joint [3], metres. extent: lowest and highest y of the rest pose
    relative to it, metres (body_extent). size: (height, width) in pixels. Needs no rig, so a client of a
    server can use it.
    """

    def __init__(self, pelvis, extent: tuple[float, float], size: tuple[int, int]):
        self._pelvis = np.asarray(pelvis, np.float64)
        self._size = size
        self._middle = (extent[1] - extent[0]) / 2
        self._distance = _distance(extent, FILL)
        self._leash = DeadZone()
        self._spot: np.ndarray | None = None
        self._camera: Camera | None = None
        self._angles: tuple[float, float] | None = None

    def at(self, transl, azimuth: float = 0.0, elevation: float = 0.0) -> Camera:
        """The camera for a pose with this transl [3]; follows calls in the order of time. Angles in radians,
        as in whole_body_camera."""
        x, _, z = self._pelvis + np.asarray(transl, np.float64)
        spot = self._leash.at(x, z)
        if self._camera is None or spot is not self._spot or self._angles != (azimuth, elevation):
            x, z = self._spot = spot
            self._angles = azimuth, elevation
            self._camera = Camera.orbit(
                (x, self._middle, z),
                self._size,
                azimuth=azimuth,
                elevation=elevation,
                distance=self._distance,
                fov_y=FOV_Y,
            )
        return self._camera
