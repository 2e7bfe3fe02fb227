"""The crop for the networks: boxes by hand, Pillow's resize, the camera of the crop."""

import hashlib

import numpy as np
import pytest

from dinar_live.export.dinar.crop import (
    Sample,
    crop,
    crop_box,
    make_K,
    make_sample,
    mask_box,
    resize_bicubic,
    scale_box,
    square_box,
    vertices_box,
)
from dinar_live.runtime.core.errors import InputError


def test_make_K_golden(shared):
    z = np.load(shared / "golden" / "make_k.npz")
    for (h, w), K in zip(z["shapes"], z["K"], strict=True):
        np.testing.assert_array_equal(make_K(int(h), int(w)), K)


@pytest.mark.parametrize(
    "box, squared",
    [
        ((0, 0, 10, 4), (0, -3, 10, 7)),
        ((3, 2, 6, 11), (0, 2, 9, 11)),
        ((-5, -5, 2, 2), (-5, -5, 2, 2)),
        ((-7, 0, -4, 8), (-10, 0, -2, 8)),
    ],
)
def test_square_box(box, squared):
    assert square_box(box) == squared


def test_scale_box():
    assert scale_box((10, 20, 21, 29), 1.2) == (15 - 6, 24 - 5, 15 - 6 + 13, 24 - 5 + 10)
    assert scale_box((-3, 0, 0, 1), 1.2) == (-2 - 1, 0, -2 - 1 + 3, 1)  # middles round down, also below zero


def test_boxes_of_vertices_and_mask():
    vertices = np.float32([[10.9 * 2, 5 * 2, 2], [-0.9 * 3, 20.5 * 3, 3]])
    assert vertices_box(vertices) == (0, 5, 10, 20)
    mask = np.zeros((30, 40), np.uint8)
    mask[4:9, 7] = mask[5, 7:20] = 1
    assert mask_box(mask) == (7, 4, 19, 8)
    left, top, right, bottom = crop_box(vertices, mask)
    assert (left, top, right) == (
        5 - 9,
        12 - 9,
        13 - 7 + 14,
    ) and bottom - top == right - left  # 18 wide body box, 14 wide mask box


def test_crop_pads_with_zeros():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4) + 1
    out = crop(image, (-1, 1, 3, 5))
    np.testing.assert_array_equal(out, [[0, 5, 6, 7], [0, 9, 10, 11], [0] * 4, [0] * 4])
    assert not crop(image, (10, 10, 12, 12)).any()


# sha256 of what Pillow 13.0 makes of RandomState(0).randint(0, 256, (h, w, 3)) with resize((w2, h2))
PILLOW = {
    (37, 91, 64, 50): "2da2a4839e7bc6b12549fc2c5f5846ceb7def6c800cee18d864d3c080a7f8560",
    (300, 300, 512, 512): "b5816f243ff51257eb185b903fe0abb7b6613e0ee1528312f236a62b1a640914",
    (700, 700, 512, 512): "6faaa719a1526e1408d939371777b5d626c9e39eeb282535007b041f084f6bc2",
    (1, 5, 7, 3): "de4888425ae1af0dd310c66392a458b6962d4e33bd49eff69015664b07dc4ed6",
    (513, 512, 512, 512): "559081b93e4df7762db9796e53a4c7f2554738c29284e1d2574b681f5b861f96",
}


@pytest.mark.parametrize("sizes", PILLOW)
def test_resize_equals_pillow(sizes):
    h, w, h2, w2 = sizes
    image = np.random.RandomState(0).randint(0, 256, (h, w, 3)).astype(np.uint8)
    assert hashlib.sha256(resize_bicubic(image, (h2, w2)).tobytes()).hexdigest() == PILLOW[sizes]


def test_resize_against_an_installed_pillow():
    pil = pytest.importorskip("PIL.Image")
    for seed, (h, w, h2, w2) in enumerate([(90, 70, 33, 40), (60, 70, 90, 120), (1024, 1024, 512, 512)]):
        image = (np.random.RandomState(seed).rand(h, w, 3) > 0.5).astype(np.uint8) * 255
        want = np.asarray(pil.fromarray(image).resize((w2, h2), pil.Resampling.BICUBIC))
        np.testing.assert_array_equal(resize_bicubic(image, (h2, w2)), want)


def test_resize_keeps_flat_pictures_and_wants_bytes():
    assert (resize_bicubic(np.full((77, 55), 93, np.uint8), (512, 512)) == 93).all()
    with pytest.raises(TypeError):
        resize_bicubic(np.zeros((4, 4), np.float32), (2, 2))


def scene(size=300):
    rgb = np.random.RandomState(1).randint(1, 255, (size, size, 3)).astype(np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[60:250, 100:200] = 255
    points = np.random.RandomState(2).uniform([100, 60, 2], [200, 250, 3], (50, 3))
    projective = np.concatenate([points[:, :2] * points[:, 2:], points[:, 2:]], 1).astype(np.float32)
    return rgb, mask, projective


def test_sample_is_consistent():
    rgb, mask, projective = scene()
    K = make_K(300, 300)
    s = make_sample(rgb, mask, projective, K)
    assert (
        isinstance(s, Sample)
        and s.input_rgb.shape == s.real_rgb.shape == (3, 512, 512)
        and s.segm.shape == (1, 512, 512)
    )
    outside = s.segm[0] == 0
    assert (s.input_rgb[:, outside] == -1).all() and (s.real_rgb[:, outside] == 1).all()
    np.testing.assert_array_equal(s.input_rgb[:, ~outside], s.real_rgb[:, ~outside])
    scale = 512 / (s.box[2] - s.box[0])
    before, after = (v[:, :2] / v[:, 2:] for v in (projective, s.projective))
    np.testing.assert_allclose(after, (before - s.box[:2]) * scale, atol=1e-2)
    x = projective @ np.linalg.inv(K).T
    np.testing.assert_allclose(x @ s.K.T, s.projective, rtol=1e-4, atol=1e-2)
    small = resize_bicubic(crop(mask, s.box), (512, 512)) / 255
    np.testing.assert_array_equal(s.segm[0], small > 0.2)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda r, m, p: (r, m[:-1], p), "photo and mask"),
        (lambda r, m, p: (r.astype(np.float32), m, p), "photo and mask"),
        (lambda r, m, p: (r, m * 0, p), "mask: is empty"),
        (lambda r, m, p: (r, m, p * np.float32([1, 1, -1])), "in front of the camera"),
        (lambda r, m, p: (r, m, p * np.float32(np.nan)), "in front of the camera"),
        (lambda r, m, p: (r, m, p + np.float32([0, 1e8, 0])), "reaches to pixel"),
        (lambda r, m, p: (r, m, p + np.float32([5000, 0, 0])), "belong together"),
    ],
)
def test_bad_samples(change, says):
    with pytest.raises(InputError, match=says):
        make_sample(*change(*scene()), make_K(300, 300))
