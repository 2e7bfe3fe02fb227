"""The networks on pictures of people with truth."""

import cv2
import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError, ModelError
from dinar_live.runtime.vision.landmarker import Landmarker
from dinar_live.runtime.vision.models import ModelFolder

_LIMBS = [13, 14, 15, 16, 25, 26, 27, 28]  # elbows, wrists, knees, ankles


def test_points_are_where_the_person_is(landmarker, people_photos):
    for name, (rgb, mask) in people_photos.items():
        sight = landmarker.look(rgb, name, mask=False)
        found = sight.landmarks
        assert sight.people == 1 and sight.number == 1 and "whole" in sight.report
        assert found.score > 0.9 and found.mask is None and found.size == (1024, 1024)
        rows, columns = np.nonzero(mask > 0.5)
        x, y = found.points[:, 0], found.points[:, 1]
        assert abs(x.min() - columns.min()) < 60 and abs(x.max() - columns.max()) < 60
        assert abs(y.max() - rows.max()) < 40 and 0 < y.min() - rows.min() < 140
        inside = mask[y.astype(int).clip(0, 1023), x.astype(int).clip(0, 1023)]
        assert inside[_LIMBS].mean() > 0.9
        # left is the person's own: on the right of the picture from the front
        assert (x[11] > x[12]) == ("back" not in name)
        assert found.world[27, 1] > 0.5 > -0.2 > found.world[11, 1]  # y down, metres
        assert set(found.hands) == {"left", "right"}
        for side, wrist in (("left", 15), ("right", 16)):
            assert np.linalg.norm(found.hands[side].xy[0] - found.points[wrist]) < 40
        if "back" in name:
            assert found.face is None
        else:
            assert found.face is not None and np.linalg.norm(found.face.xyz[1, :2] - found.points[0]) < 25


def test_turned_and_smaller_pictures(landmarker, people_photos):
    rgb = people_photos["marco"][0]
    upright = landmarker.look(rgb, mask=False).landmarks
    half = landmarker.look(rgb[::2, ::2].copy(), mask=False).landmarks
    assert np.abs(2 * half.points - upright.points).max() < 25
    # lying: the detector turns the square
    lying = landmarker.look(np.rot90(rgb).copy(), mask=False).landmarks
    back = np.stack([1024 - lying.points[:, 1], lying.points[:, 0]], axis=1)
    assert np.median(np.linalg.norm(back - upright.points, axis=1)) < 15


def test_several_people(landmarker, people_photos):
    scene = np.full((1024, 2100, 3), 200, np.uint8)
    for i, name in enumerate(("ada", "marco", "kofi")):
        scene[:, 700 * i : 700 * i + 700] = people_photos[name][0][:, 162:862]
    sight = landmarker.look(scene, mask=False)
    assert sight.people == 3 and "saw 3 people" in sight.report
    numbers = [landmarker.look(scene, mask=False, person=n) for n in (1, 2, 3)]
    middles = [float(s.landmarks.points[:, 0].mean()) for s in numbers]
    assert np.abs(np.array(middles) - [350, 1050, 1750]).max() < 60
    with pytest.raises(InputError, match="--person 4: saw 3 people"):
        landmarker.look(scene, person=4)


def test_somebody_small_in_the_picture(landmarker, people_photos):
    scene = np.full((1400, 2800, 3), 200, np.uint8)
    scene[900:1300, 2300:2700] = cv2.resize(
        people_photos["kofi"][0], (400, 400), interpolation=cv2.INTER_AREA
    )
    found = landmarker.look(scene, mask=False).landmarks
    assert np.abs(found.points[[23, 24]].mean(0) - [2500, 1090]).max() < 60


@pytest.mark.parametrize("kind", ["noise", "black", "stripes"])
def test_nobody(landmarker, kind):
    rgb = np.zeros((480, 640, 3), np.uint8)
    if kind == "noise":
        rgb = np.random.default_rng(0).integers(0, 256, rgb.shape, dtype=np.uint8)
    elif kind == "stripes":
        rgb[:, ::16] = 255
    with pytest.raises(InputError, match="me: no person found"):
        landmarker.look(rgb, "me")


def test_without_files_the_command_is_named(tmp_path):
    with pytest.raises(ModelError, match="dinar models get"):
        Landmarker(ModelFolder(tmp_path))
