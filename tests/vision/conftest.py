"""People for the tests of vision: photos with truth, and a stick figure that needs no network."""

import numpy as np
import pytest

from dinar_live.runtime.vision.body_network import BodySeen
from dinar_live.runtime.vision.landmarks import Crop

# A person who stands with arms a little away, in parts of the height: x, y of the 33 points.
_FIGURE = np.array(
    [
        *[(0, 0.07)] * 7, (0.04, 0.07), (-0.04, 0.07), (0.01, 0.1), (-0.01, 0.1),
        (0.11, 0.2), (-0.11, 0.2), (0.19, 0.34), (-0.19, 0.34), (0.24, 0.47), (-0.24, 0.47),
        *[(0.26, 0.52), (-0.26, 0.52)] * 3,
        (0.06, 0.5), (-0.06, 0.5), (0.08, 0.74), (-0.08, 0.74), (0.09, 0.95), (-0.09, 0.95),
        (0.09, 0.97), (-0.09, 0.97), (0.1, 0.99), (-0.1, 0.99),
    ]
)  # fmt: skip


@pytest.fixture
def stick():
    """stick(size, x, y, height): a BodySeen of that place, whole and visible, with no probability of its own."""

    def make(size=(400, 300), x=150.0, y=20.0, height=360.0, score=0.9):
        points = np.zeros((39, 2))
        points[:33] = _FIGURE * height + [x, y]
        hips = points[[23, 24]].mean(0)
        points[33], points[34] = hips, hips - [0, 0.55 * height]
        crop = Crop(float(hips[0]), float(hips[1]), 1.3 * height)
        nothing = np.zeros((256, 256), np.float32)
        return BodySeen(size, crop, points, np.ones(33, np.float32), np.zeros((33, 3)), score, nothing)

    return make
