"""Where the body network's 33 points lie on a body, and how far off they are: measured by
export/point_calibration.py on people whose poses are known."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.errors import BodyError
from dinar_live.runtime.core.validate import checked
from dinar_live.runtime.formats.npz import Npz

from ..landmarks import POINTS
from .anchors import ASSETS, FACE_POINTS

FILE = ASSETS / "pose_points.npz"
MAX_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class PointCalibration:
    """offset f64[33,3]: of the points in the picture, metres in their joints' frames; sigma f64[33]: how far off
    they are, as a share of the stature, per axis. world_offset f64[33,3], world_sigma f64[33,3] (metres) and
    tilt f64[3] (axis-angle on the camera's axes, by which they lean): of the points in 3D. face_offset f64[51,2]:
    of the face's points, metres along the head's x and y."""

    offset: np.ndarray
    sigma: np.ndarray
    world_offset: np.ndarray
    world_sigma: np.ndarray
    tilt: np.ndarray
    face_offset: np.ndarray

    @classmethod
    def load(cls, path=FILE) -> PointCalibration:
        """Raises BodyError naming the file."""
        shapes = {
            "offset": (POINTS, 3),
            "sigma": (POINTS,),
            "world_offset": (POINTS, 3),
            "world_sigma": (POINTS, 3),
            "tilt": (3,),
            "face_offset": (len(FACE_POINTS), 2),
        }
        try:
            with Npz(path, MAX_BYTES) as z:
                fields = {k: checked(k, z.read(k), s, 1.0).astype(np.float64) for k, s in shapes.items()}
        except (ValueError, OSError, KeyError) as e:
            raise BodyError(f"{path}: not a calibration of the body's points ({e})") from e
        return cls(**fields)


@functools.cache
def calibration() -> PointCalibration:
    """The one that ships with the package."""
    return PointCalibration.load()
