"""Where the solver starts: the pelvis turned as hips and shoulders say, the likeliest pose, at the distance that the
size in the picture gives."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core.rotations import axis_angle_to_matrix, unit

from ..landmarks import POINT_NAMES
from .body import SolverBody
from .observation import Observation
from .priors import PosePrior
from .problem import Own

_AT = {name: i for i, name in enumerate(POINT_NAMES)}


def root_turn(world: np.ndarray) -> np.ndarray:
    """The pelvis's rotation f64[3,3] from 3D points f64[33,3] (y up): its x to the person's left, its y up."""
    hips = world[_AT["left_hip"]] - world[_AT["right_hip"]]
    shoulders = world[_AT["left_shoulder"]] - world[_AT["right_shoulder"]]
    up = world[[_AT["left_shoulder"], _AT["right_shoulder"]]].sum(0)
    up = unit(up - world[[_AT["left_hip"], _AT["right_hip"]]].sum(0))
    x = unit(hips) + unit(shoulders)
    x = unit(x - up * (x @ up))
    return np.stack([x, up, np.cross(x, up)], axis=1)


def _spread(points: np.ndarray, weight: np.ndarray) -> float:
    centred = points - np.average(points, axis=0, weights=weight)
    return float(np.sqrt((weight[:, None] * centred**2).sum() / weight.sum()))


def starting_point(observation: Observation, body: SolverBody, prior: PosePrior) -> Own:
    """A first guess for a picture of which nothing else is known."""
    mean = prior.mean.copy()
    mean[0] = 0
    local = axis_angle_to_matrix(mean)
    local[0] = root_turn(observation.world)
    trust = observation.trust
    in_metres = _spread(observation.world[:, :2], trust)
    in_pixels = _spread(observation.points, trust)
    depth = observation.focal * in_metres / max(in_pixels, 1e-3)
    x, y = (np.average(observation.points, axis=0, weights=trust) - observation.centre) * (
        depth / observation.focal
    )
    return Own(local, np.array([x, -y, -depth]) - body.joints[0])
