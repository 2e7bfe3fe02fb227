"""Squares of a picture, as the networks get them."""

import numpy as np
import pytest

from dinar_live.runtime.vision.landmarks import Crop
from dinar_live.runtime.vision.squares import anchors, drawn, shifted, square_between, turned_back


def scene(height, width):
    """Colours that are linear in the place: red = x, green = y, as parts of 250."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([250 * x / width, 250 * y / height, 0 * x], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("side", [60, 300, 1100])  # drawn larger, about as large, and shrunk first
@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_a_square_shows_its_part_of_the_picture(side, angle):
    height, width, n = 1000, 1200, 128
    crop = Crop(610, 480, side, angle)
    got = drawn(scene(height, width), crop, n).astype(float)
    xy = np.array([[64.5, 64.5], [40.5, 70.5], [80.5, 30.5]])
    where = crop.to_picture(xy, n)
    for (x, y), (px, py) in zip(xy, where, strict=True):
        assert got[int(y), int(x), 0] == pytest.approx(250 * px / width, abs=1.2)
        assert got[int(y), int(x), 1] == pytest.approx(250 * py / height, abs=1.2)


@pytest.mark.parametrize("side", [100, 900])
def test_outside_of_the_picture_is_black(side):
    white = np.full((300, 300, 3), 255, np.uint8)
    got = drawn(white, Crop(0, 150, side), 100)
    assert (got[50, :40] == 0).all() and (got[50, 60:66] > 250).all()
    assert not drawn(white, Crop(-5000, 150, side), 100).any()


def test_a_square_between_two_points():
    crop = square_between(np.array([100.0, 200.0]), np.array([100.0, 120.0]), 90, 1.25)
    assert (crop.x, crop.y, crop.side) == (100, 200, 200) and crop.angle == pytest.approx(0)
    lying = square_between(np.array([100.0, 200.0]), np.array([180.0, 200.0]), 90, 1.0)
    up = lying.matrix(100) @ [180, 200, 1]
    assert np.allclose(up, [50, 0])  # the head is up in the square
    moved = shifted(crop, 0, -0.1, 2)
    assert (moved.x, moved.y, moved.side) == (100, 180, 400)


def test_turned_back_agrees_with_the_square():
    crop = Crop(50, 50, 10, 0.4)
    xyz = np.array([[0.3, -0.2, 0.7]])
    got = turned_back(xyz, crop)[0]
    step = (
        crop.to_picture(np.array([[5 + 0.3, 5 - 0.2]]), 10)[0]
        - crop.to_picture(np.array([[5.0, 5.0]]), 10)[0]
    )
    assert np.allclose(got[:2], step) and got[2] == 0.7


def test_anchors():
    a = anchors(224, (8, 16, 32), (2, 2, 6))
    assert a.shape == (2254, 2) and np.allclose(a[:2], 4 / 224) and np.allclose(a[-1], 1 - 16 / 224)
