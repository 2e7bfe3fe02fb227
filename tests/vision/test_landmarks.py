"""The data class between the detectors and the solver."""

import dataclasses

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.landmarks import (
    POINT_NAMES,
    Crop,
    FaceLandmarks,
    HandLandmarks,
    Landmarks,
)


def landmarks(**changes) -> Landmarks:
    values = {
        "size": (40, 30),
        "points": np.zeros((33, 2)),
        "visibility": np.ones(33),
        "world": np.zeros((33, 3)),
        "score": 0.9,
        "crop": Crop(15, 20, 40),
    }
    return Landmarks(**(values | changes))


def test_there_are_33_names():
    assert len(set(POINT_NAMES)) == 33
    assert POINT_NAMES[11:13] == ("left_shoulder", "right_shoulder")
    assert POINT_NAMES[31] == "left_foot_index"


def test_arrays_are_read_only_float32():
    got = landmarks(mask=np.zeros((40, 30)))
    for array in (got.points, got.visibility, got.world, got.mask):
        assert array is not None and array.dtype == np.float32 and not array.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        got.score = 1.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "changes",
    [
        {"points": np.zeros((32, 2))},
        {"visibility": np.full(33, 1.5)},
        {"world": np.full((33, 3), np.nan)},
        {"mask": np.zeros((30, 40))},
        {"score": 1.1},
        {"size": (0, 3)},
    ],
)
def test_wrong_values_are_named(changes):
    with pytest.raises(InputError, match=f"Landmarks.{next(iter(changes))}"):
        landmarks(**changes)


def test_hands_that_were_seen():
    hand = HandLandmarks(np.zeros((21, 2)), np.zeros((21, 3)), 0.8)
    assert landmarks().hands == {}
    assert landmarks(right_hand=hand).hands == {"right": hand}
    with pytest.raises(InputError, match=r"FaceLandmarks\.xyz"):
        FaceLandmarks(np.zeros((467, 3)), 0.5)


def test_a_crop_maps_its_own_corners():
    crop = Crop(100, 50, 20, np.pi / 2)
    m = crop.matrix(256)
    assert np.allclose(m @ [100, 50, 1], [128, 128])
    # turned clockwise: the square's own right is the picture's down
    assert np.allclose(m @ [100, 60, 1], [256, 128])
    xy = np.random.default_rng(1).uniform(0, 256, (5, 2))
    back = crop.to_picture(xy, 256)
    assert np.allclose(back @ m[:, :2].T + m[:, 2], xy)
    with pytest.raises(InputError, match="side above 0"):
        Crop(0, 0, 0)
