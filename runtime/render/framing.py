"""Cameras that show the whole person."""
from __future__ import annotations

import numpy as np

from ..avatar import Rig
from .camera import Camera

FOV_Y = 0.45          # radians: about a 55 mm lens on a full-frame camera, which does not distort a standing person
HEAD_ROOM = 0.02      # metres of hair above the skull


def body_extent(rig: Rig) -> tuple[float, float]:
    """Lowest and highest y of the rest pose relative to the pelvis joint, metres."""
    y = rig.model.vertices[:, 1]
    return float(y.min() - rig.joints[0, 1]), float(y.max() - rig.joints[0, 1]) + HEAD_ROOM


def standing_pelvis(rig: Rig, transl) -> np.ndarray:
    """Where the pelvis of a body with this `transl` [3] would be if it stood upright on y = 0 at the same place, f64[3], metres:
    what a camera follows, so that it neither bobs nor loses a body that walks."""
    x, _, z = rig.joints[0] + np.asarray(transl, np.float64)
    return np.array([x, -body_extent(rig)[0], z])


def whole_body_camera(rig: Rig, pelvis, size: tuple[int, int], *, azimuth: float = 0.0, elevation: float = 0.0, fill: float = 0.85) -> Camera:
    """A camera that shows a standing body whose pelvis joint is at `pelvis` (metres) at `fill` of the picture's height.

    size (height, width) pixels; azimuth and elevation in radians, 0 = from the front, at eye level with the middle of the body.
    """
    low, high = body_extent(rig)
    target = np.asarray(pelvis, np.float64) + [0.0, (low + high) / 2, 0.0]
    distance = (high - low) / fill / (2 * np.tan(FOV_Y / 2))
    return Camera.orbit(target, size, azimuth=azimuth, elevation=elevation, distance=distance, fov_y=FOV_Y)
