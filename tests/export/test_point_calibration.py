"""Where the networks' points lie on the body: found again from made-up pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dinar_live.export.point_calibration import Sample, calibrate, save
from dinar_live.runtime.core.errors import BodyError, InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.solver.anchors import BASE, FRAME, MIRROR
from dinar_live.runtime.vision.solver.calibration import PointCalibration, calibration
from dinar_live.runtime.vision.solver.photo_fit import open_solver_body

K = np.array([[900.0, 0, 300], [0, 900, 400], [0, 0, 1]])


def samples(offset: np.ndarray, count: int, noise: float, rng) -> list[Sample]:
    """People in random poses, seen by a network whose points lie at `offset`."""
    body = open_solver_body()
    out = []
    for _ in range(count):
        local = axis_angle_to_matrix(rng.normal(0, 0.25, (55, 3)))
        local[0] = axis_angle_to_matrix([np.pi, 0, 0]) @ axis_angle_to_matrix([0, rng.uniform(-3, 3), 0])
        posed = body.pose(local, np.array([0, 0.3, 4.0]), np.zeros(body.betas))
        x = posed.joints[BASE] + np.einsum("nab,nb->na", posed.world[FRAME], offset)
        pixels = 900 * x[:, :2] / x[:, 2:] + K[:2, 2] + rng.normal(0, noise, (33, 2))
        face = np.full((51, 2), 0.003) * (0, 1) + rng.normal(0, 1e-4, (51, 2))
        out.append(Sample(posed.world, posed.joints, K, pixels, np.ones(33), x - x.mean(0), face))
    return out


def test_offsets_are_found_again():
    rng = np.random.default_rng(5)
    offset = rng.normal(0, 0.03, (33, 3))
    offset = (offset + offset[MIRROR] * (-1, 1, 1)) / 2
    found = calibrate(samples(offset, 60, 0.5, rng))
    assert found.offset == pytest.approx(offset, abs=0.004)
    assert found.sigma == pytest.approx(0.5 / (900 / 3.9 * 1.7), rel=0.6)
    assert found.face_offset[:, 1] == pytest.approx(0.003, abs=2e-4)


def test_left_and_right_are_the_same():
    c = calibration()
    assert c.offset[MIRROR] * (-1, 1, 1) == pytest.approx(c.offset, abs=1e-6)
    assert (c.sigma > 0.003).all() and (c.sigma < 0.03).all() and np.abs(c.offset).max() < 0.25


def test_files(tmp_path):
    path = tmp_path / "points.npz"
    save(calibration(), path)
    again = PointCalibration.load(path)
    assert all(np.array_equal(getattr(again, k), v) for k, v in vars(calibration()).items())
    path.write_bytes(b"PK nothing")
    with pytest.raises(BodyError, match=r"points\.npz: not a calibration"):
        PointCalibration.load(path)


def test_too_few_pictures():
    with pytest.raises(InputError, match="got 3 pictures, expected at least 20"):
        calibrate(samples(np.zeros((33, 3)), 3, 0, np.random.default_rng(0)))
