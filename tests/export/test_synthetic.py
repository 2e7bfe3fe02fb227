"""Synthetic people: lofts, prints and disturbances alone; the generator over the CC0 assets, where they are."""

import importlib.util

import cv2
import numpy as np
import pytest

from dinar_live.export.synthetic import disturb, generate, lofts, textures
from dinar_live.export.synthetic.assets import HELD_OUT, Assets
from dinar_live.runtime.core.errors import InputError


@pytest.fixture(scope="module")
def assets(shared) -> Assets:
    folder = shared / "makehuman_cc0"
    if not folder.is_dir():
        pytest.skip(f"no assets: {folder} is not there")
    for module in ("numba", "anny"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"the person builder needs {module}")
    return Assets.open(folder, HELD_OUT)


def cylinder(radius=0.1, height=1.0, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.stack([radius * np.cos(angle), rng.uniform(-height, 0, n), radius * np.sin(angle)], 1)


def outwards(mesh, axis):
    """Share of faces whose normal points away from the axis (a function of points)."""
    a, b, c = (mesh["v"][mesh["f"][:, k]] for k in range(3))
    middle = (a + b + c) / 3
    return np.mean(np.einsum("fc,fc->f", np.cross(b - a, c - a), middle - axis(middle)) > 0)


def test_a_hull_around_a_cylinder_is_its_radius():
    centre, radius = lofts.radial_hull(cylinder(), np.linspace(-0.2, -0.8, 5))
    np.testing.assert_allclose(centre, 0, atol=0.004)
    np.testing.assert_allclose(radius, 0.1, rtol=0.05)


@pytest.mark.parametrize("open_front", [False, True])
def test_a_skirt_is_outside_of_the_legs_and_faces_outwards(open_front):
    rng = np.random.default_rng(3)
    loft = lofts.hanging(rng, cylinder(), -0.1, -0.7, flare=0.3, open_front=open_front)
    mesh = loft.mesh()
    assert (np.hypot(mesh["v"][:, 0], mesh["v"][:, 2]) > 0.1).all()
    assert outwards(mesh, lambda m: m * (0, 1, 0)) == 1
    assert loft.radius[-1].mean() > loft.radius[0].mean() + 0.1
    front = (mesh["v"][mesh["f"]].mean(1)[:, 2] > 0) & (np.abs(mesh["v"][mesh["f"]].mean(1)[:, 0]) < 0.02)
    assert front.any() != open_front


def test_a_point_asked_of_a_loft_is_its_vertex():
    loft = lofts.hanging(np.random.default_rng(1), cylinder(), -0.1, -0.6, flare=0.1, open_front=False)
    k = np.arange(lofts.SIDES)
    point, there = loft.surface(np.full(lofts.SIDES, loft.height[4]), 2 * np.pi * k / lofts.SIDES)
    np.testing.assert_allclose(point, loft.points[4], atol=1e-9)
    assert there.all()
    assert not loft.surface(np.array([-0.05]), np.zeros(1))[1].any()


def test_a_tube_faces_outwards():
    t = np.linspace(0, 1, 9)
    mesh = lofts.tube(np.stack([0 * t, -t, 0.1 * t], 1), 0.03 + 0.01 * t)
    assert outwards(mesh, lambda m: np.stack([0 * m[:, 0], m[:, 1], -0.1 * m[:, 1]], 1)) == 1


def test_recolouring_keeps_alpha_and_repeats_by_seed():
    texture = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    one, two = (textures.recolour("test", texture, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one[..., 3], texture[..., 3])
    assert (one[..., :3] != texture[..., :3]).any()


def test_without_strength_a_photo_keeps_its_mask_and_fit():
    rgba = np.full((64, 64, 4), 100, np.uint8)
    rgba[..., 3] = 0
    rgba[20:40, 20:40, 3] = 255
    same = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 3))
    picture = disturb.picture(np.random.default_rng(0), rgba, same, 0.0)
    np.testing.assert_allclose(picture[..., 3], rgba[..., 3] / 255)
    np.testing.assert_allclose(picture[30, 30], [100 / 255] * 3 + [1], atol=1e-6)
    pose, matrix, betas = np.zeros((55, 3), np.float32), np.eye(3, 4), np.zeros(20, np.float32)
    for a, b in zip(
        (pose, matrix, betas),
        disturb.fit(np.random.default_rng(0), pose, matrix, betas, 64, 0.0),
        strict=True,
    ):
        np.testing.assert_allclose(a, b)


def test_a_disturbed_mask_stays_near_the_true_one():
    alpha = np.zeros((256, 256), np.float32)
    cv2.circle(alpha, (128, 128), 70, 1.0, -1)
    for seed in range(5):
        wrong = disturb.mask(np.random.default_rng(seed), alpha, 1.0) > 0.5
        iou = np.count_nonzero(wrong & (alpha > 0.5)) / np.count_nonzero(wrong | (alpha > 0.5))
        assert 0.93 < iou <= 1


def test_assets_are_refused_with_a_reason(tmp_path):
    with pytest.raises(InputError, match="makehuman_cc0"):
        Assets.open(tmp_path)


def test_left_out_assets_are_left_out(assets):
    names = {*assets.suits, *assets.shoes, *assets.hair, *assets.skins, *assets.brows}
    assert not names & set(HELD_OUT)
    with pytest.raises(InputError, match="hat99"):
        Assets.open(assets.folder, ("hat99",))


@pytest.mark.slow
def test_shards_repeat_by_seed_and_resume(assets, tmp_path):
    make = lambda: generate.Generator(assets, outfits=1, styles=1, shots=2, size=64, seed=4, builds=1)  # noqa: E731
    assert generate.write_shards(make(), tmp_path / "a", 2) == 2
    first = [(tmp_path / "a" / f"shard_{k:06d}.npz").read_bytes() for k in range(2)]
    (tmp_path / "a" / "shard_000001.npz").unlink()
    (tmp_path / "a" / "shard_000001.part").write_bytes(b"half")
    generate.write_shards(make(), tmp_path / "a", 2)
    again = [(tmp_path / "a" / f"shard_{k:06d}.npz").read_bytes() for k in range(2)]
    assert first == again and first[0] != first[1]
    with np.load(tmp_path / "a" / "shard_000000.npz") as z:
        assert z["colour"].shape[:1] == z["pose"].shape[:1] == z["png_end"].shape == (2,)
        offset = z["offset"].astype(np.float32)
        assert np.isfinite(offset).all() and 0.003 < np.linalg.norm(offset, axis=2).mean() < 0.1
        picture = cv2.imdecode(z["png"], cv2.IMREAD_UNCHANGED)
        assert picture.shape == (64, 64, 4) and 0.03 < (picture[..., 3] > 127).mean() < 0.6
    with pytest.raises(InputError, match="seed"):
        generate.write_shards(
            generate.Generator(assets, outfits=1, styles=1, shots=2, size=64, seed=5, builds=1),
            tmp_path / "a",
            1,
        )
