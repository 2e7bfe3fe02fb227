"""What was found, as files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dinar_live.export.inputs import placed, read_fit
from dinar_live.runtime.vision.fit_files import write_fit, write_picture
from dinar_live.runtime.vision.solver.camera import Pinhole
from dinar_live.runtime.vision.solver.photo_fit import PhotoFit


def test_export_reads_the_fit_as_it_was(tmp_path):
    fit = PhotoFit(
        np.tile(np.eye(3), (55, 1, 1)), np.array([0.1, 0.2, -3]), np.arange(10) / 10, Pinhole(700.0, (240, 320)),
        (640, 480), 0.0, np.full(62, 0.5, np.float32),
    )  # fmt: skip
    path = tmp_path / "fit.npz"
    write_fit(path, fit)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.npz"]
    pose, camera, betas = placed(read_fit(path), (1280, 960))  # a photo twice as large
    assert pose.transl == pytest.approx([0.1, 0.2, -3]) and betas == pytest.approx(np.arange(10) / 10)
    assert camera.K[0] == pytest.approx([1400, 0, 480]) and pose.expression == pytest.approx(0.5)


def test_pictures(tmp_path):
    rgb = np.zeros((20, 30, 3), np.uint8)
    rgb[..., 0] = 200
    write_picture(tmp_path / "a.png", rgb)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], rgb)
    write_picture(tmp_path / "a.jpg", rgb[..., 0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.png"]
