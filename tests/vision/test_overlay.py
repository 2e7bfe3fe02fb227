"""The picture of what was understood."""

from __future__ import annotations

import numpy as np
import pytest

from dinar_live.runtime.vision.landmarks import Crop, Landmarks
from dinar_live.runtime.vision.overlay import SIDE, overlay
from dinar_live.runtime.vision.solver.camera import Pinhole
from dinar_live.runtime.vision.solver.photo_fit import PhotoFit, open_solver_body
from dinar_live.runtime.vision.solver.silhouette import silhouette


@pytest.mark.parametrize("size", [(300, 200), (1600, 2400)])
def test_the_body_is_drawn_where_it_is(size):
    body = open_solver_body()
    height, width = size
    pinhole = Pinhole(1.2 * max(size), (width / 2, height / 2))
    transl = np.array([0, 0.3, -4.0 * max(1, height / width * 0.7)])
    fit = PhotoFit(np.tile(np.eye(3), (55, 1, 1)), transl, np.zeros(body.betas), pinhole, size, 0.0)
    mask = np.zeros(size, np.float32)
    mask[20:40, 20:40] = 1
    points = np.tile([150.0, 10.0], (33, 1))
    landmarks = Landmarks(size, points, np.ones(33), np.zeros((33, 3)), 1.0, Crop(1, 1, 1), mask=mask)
    rgb = np.full((*size, 3), 128, np.uint8)
    drawn = overlay(rgb, landmarks, fit, body)
    scale = min(1, SIDE / max(size))
    assert drawn.shape == (round(height * scale), round(width * scale), 3) and drawn.dtype == np.uint8
    covered, _ = silhouette(body, fit.posed(body), pinhole, size, max(drawn.shape))
    changed = (drawn != 128).any(-1)
    assert covered.any() and changed[covered].mean() > 0.95
    far = ~covered
    far[: round(60 * scale)] = False  # the mask and the points
    assert changed[far].mean() < 0.05
