"""Masks: sharp along the outline, of one person only."""

import dataclasses

import cv2
import numpy as np
import pytest

from dinar_live.runtime.vision import envelope, masks
from dinar_live.runtime.vision.masks import own_mask, sharp_mask


def iou(mask, truth):
    return ((mask > 0.5) & (truth > 0.5)).sum() / ((mask > 0.5) | (truth > 0.5)).sum()


def painted(seen, background, colour=(40, 60, 160)):
    """A stick figure with flesh on a background: rgb, and its true mask, drawn four times as large."""
    h, w = seen.size
    big = envelope.bones(seen, (4 * h, 4 * w), np.array([4.0, 4.0]), 0.3)
    truth = cv2.resize(big.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
    rgb = truth[..., None] * np.array(colour) + (1 - truth[..., None]) * background
    return rgb.round().astype(np.uint8), truth


def with_probability(seen, truth):
    """As the network would: 256 pixels a side, blurred."""
    n = 256
    m = seen.crop.matrix(n)
    m = np.concatenate([m[:, :2], (m[:, 2:] + m[:, :2].sum(1, keepdims=True) / 2 - 0.5)], axis=1)
    soft = cv2.warpAffine(cv2.GaussianBlur(truth, (0, 0), 3), m, (n, n))
    return dataclasses.replace(seen, probability=cv2.GaussianBlur(soft, (0, 0), 2))


def noise(size):
    return cv2.GaussianBlur(
        np.random.default_rng(1).uniform(120, 255, (*size, 3)).astype(np.float32), (0, 0), 2
    )


@pytest.mark.parametrize("kind", ["plain", "busy"])
def test_a_coarse_mask_becomes_sharp(stick, kind):
    seen = stick()
    rgb, truth = painted(seen, 200.0 if kind == "plain" else noise(seen.size))
    seen = with_probability(seen, truth)
    before, mask = seen.mask(), sharp_mask(rgb, seen)
    assert mask.dtype == np.float32 and mask.shape == seen.size and 0 <= mask.min() and mask.max() <= 1
    assert iou(mask, truth) > 0.985 > iou(before, truth)
    # parts of a pixel are found too
    assert np.abs(mask - truth).sum() < (0.3 if kind == "plain" else 0.5) * np.abs(before - truth).sum()


def test_the_mask_is_the_same_each_time(stick):
    seen = stick()
    rgb, truth = painted(seen, noise(seen.size))
    seen = with_probability(seen, truth)
    assert np.array_equal(sharp_mask(rgb, seen), sharp_mask(rgb, seen))


def test_somebody_else_is_left_out(stick):
    size = (400, 500)
    me, you = stick(size, 150), stick(size, 330)
    rgb, mine = painted(me, 210.0)
    rgb, yours = painted(you, rgb.astype(np.float32), (150, 40, 40))
    both = np.maximum(mine, yours)
    me, you = with_probability(me, both), with_probability(you, both)  # the network takes us both for one
    assert iou(me.mask(), mine) < 0.75
    assert iou(sharp_mask(rgb, me, [you]), mine) > 0.96
    assert iou(sharp_mask(rgb, you, [me]), yours) > 0.96


def test_far_from_the_bones_is_nobody(stick):
    seen = stick((400, 600), 150)
    probability = np.ones((256, 256), np.float32)
    mask = own_mask(dataclasses.replace(seen, probability=probability))
    far = envelope.distance(seen)
    assert mask[far > 0.7].max() == 0 and mask[far < 0.2].min() > 0.5


def test_no_person_at_all(stick):
    rgb = np.full((400, 300, 3), 100, np.uint8)
    assert sharp_mask(rgb, stick()).max() <= 0.5
    everywhere = dataclasses.replace(stick(), probability=np.ones((256, 256), np.float32))
    assert np.isfinite(sharp_mask(rgb, everywhere)).all()


@pytest.mark.slow
def test_photos_with_known_masks(landmarker, people_photos):
    for name, (rgb, truth) in people_photos.items():
        seen = landmarker.people(rgb)
        assert len(seen) == 1
        assert iou(sharp_mask(rgb, seen[0]), truth) > 0.985, name


@pytest.mark.parametrize(("person", "opened"), [((110, 70, 50), True), ((205, 210, 212), False)])
def test_webs_of_the_background_are_opened_where_colours_can_tell(person, opened):
    rgb = np.full((120, 120, 3), (200, 205, 208), np.uint8)
    true = np.zeros((120, 120), np.uint8)
    true[20:60, 20:100] = 1
    true[60:110, 20:50] = true[60:110, 70:100] = 1
    rgb[true > 0] = person
    rgb = np.clip(rgb + np.random.default_rng(0).normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
    coarse = true.copy()
    coarse[60:72, 50:70] = 1  # between two fingers
    coarse[30:34, 60:64] = 1
    hole = rgb.copy()
    hole[36:44, 60:68] = (200, 205, 208)  # a button of the background's colour lies open to nothing
    out = masks._without_webs(hole, coarse, 14)
    assert (out[62:70, 52:68] == 0).all() == opened and out[36:44, 60:68].all()
    assert (out >= true)[:, :].mean() > 0.999
