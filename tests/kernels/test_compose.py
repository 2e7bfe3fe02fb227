"""compose against the float64 reference."""

import numpy as np
import pytest

from dinar_live.kernels import compose
from dinar_live.kernels.reference.compose import compose as reference


def inputs(rng, H, W):
    """Colours a little out of range; alpha often 0 or 1, as a network's is."""
    rgb = rng.uniform(-0.1, 1.1, (3, H, W)).astype(np.float32)
    alpha = np.clip(rng.uniform(-0.5, 1.5, (H, W)), 0, 1).astype(np.float32)
    return rgb, alpha


def check(rgb, alpha, size=None, **options):
    """Within rounding of the reference, into garbage; returns the bytes."""
    s = options.get("samples", 1)
    H, W = size or (alpha.shape[0] // s, alpha.shape[1] // s)
    out = np.random.default_rng(9).integers(0, 256, (H, W, 4)).astype(np.uint8)
    depth_out = np.full((H, W), np.nan, np.float32) if "depth" in options else None
    assert compose(rgb, alpha, out=out, depth_out=depth_out, **options) is out
    want, want_depth = reference(rgb, alpha, size=(H, W), **options)
    # 255*x + 0.5 rounded down: off a whole number by no more than the float32 error of x
    steep = 5e-3 if options.get("threshold") else 1e-3
    assert (np.abs(out - want) <= 0.5 + steep).all()
    if depth_out is not None:
        np.testing.assert_array_equal(depth_out, want_depth.astype(np.float32))
    return out


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (5, 7), (16, 16), (33, 300)])
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(straight=True),
        dict(background=(0.2, 1.0, 0.0)),
        dict(samples=2),
        dict(samples=4),
        dict(samples=2, straight=True),
        dict(samples=4, background=(1, 1, 1)),
        dict(threshold=0.5),
        dict(threshold=0.3, samples=2),
    ],
)
def test_equals_reference(rng, size, options):
    s = options.get("samples", 1)
    H, W = size[0] * s, size[1] * s
    rgb, alpha = inputs(rng, H, W)
    check(rgb, alpha, **options)
    mask = (rng.random((H, W)) < 0.5).astype(np.float32)
    depth = np.where(mask > 0, rng.uniform(1, 3, (H, W)), 0).astype(np.float32)
    check(rgb, alpha, mask=mask, depth=depth, **options)


def test_every_threshold_and_alpha():
    """The remap over its whole range, against the formula."""
    alpha = np.linspace(0, 1, 2048, dtype=np.float32)[None]
    rgb = np.ones((3, 1, 2048), np.float32)
    for tau in (-0.5, 1e-3, 0.1, 0.5, 0.8, 0.99, 2.0, -1e30, 1e30):
        tau = float(np.float32(tau))
        out = check(rgb, alpha, threshold=tau)
        assert (np.diff(out[0, :, 3].astype(int)) >= 0).all()
    a = 0.55
    want = (1 - np.exp((0.5 - a) * 20)) * (1 + np.exp((a - 0.5 - 0.2) * 70))
    got = compose(rgb[:, :, :1].copy(), np.full((1, 1), a, np.float32), threshold=0.5)[0, 0, 3]
    assert abs(got - 255 * want) <= 0.51


def test_rounding_is_half_up():
    alpha = ((np.arange(256, dtype=np.float64) + 0.5) / 255).astype(np.float32).clip(0, 1)[None]
    x = alpha.astype(np.float64)[0] * 255
    got = compose(np.ones((3, 1, 256), np.float32), alpha)[0, :, 3].astype(int)
    clear = np.abs(x - np.floor(x) - 0.5) > 1e-4
    np.testing.assert_array_equal(got[clear], np.floor(x[clear] + 0.5))
    half = np.array([[0.5]], np.float32)  # 127.5 exactly
    assert compose(np.ones((3, 1, 1), np.float32), half)[0, 0].tolist() == [128] * 4


def test_mask_makes_the_inside_opaque(rng):
    rgb, alpha = inputs(rng, 8, 8)
    out = compose(rgb, alpha * np.float32(0.1), mask=np.ones((8, 8), np.float32))
    assert (out[..., 3] == 255).all()


def test_nan_and_inf_become_numbers():
    values = np.array([np.nan, np.inf, -np.inf, 0.5, 2, -2, 1e38, np.nan], np.float32)
    rgb, alpha = np.tile(values, (3, 8, 1)), np.tile(values[:, None], (1, 8))
    for options in (
        dict(),
        dict(threshold=0.5),
        dict(straight=True),
        dict(background=(0, 0, 0)),
        dict(samples=2),
    ):
        check(rgb, np.ascontiguousarray(alpha), **options)
    assert compose(rgb, np.ones((8, 8), np.float32))[0, 0].tolist() == [0, 0, 0, 255]
    assert compose(rgb, np.ascontiguousarray(alpha), mask=np.full((8, 8), np.nan, np.float32))[0, 3, 3] == 0


@pytest.mark.parametrize(
    "origin", [(0, 0), (3, 2), (30, 20), (-4, -3), (38, 27), (-20, 5), (100, 100), (5, -100)]
)
@pytest.mark.parametrize("background", [None, (0.1, 0.5, 0.9)])
def test_window_and_the_rest(rng, origin, background):
    rgb, alpha = inputs(rng, 24, 32)
    depth = rng.uniform(1, 2, (24, 32)).astype(np.float32)
    check(rgb, alpha, size=(30, 41), origin=origin, background=background, depth=depth)
    check(rgb, alpha, size=(30, 41), origin=origin, background=background, depth=depth, samples=2)


def test_depth_of_the_nearest_covered_sample():
    depth = np.zeros((4, 4), np.float32)
    depth[0, 1], depth[1, 0], depth[3, 3] = 2.5, 1.5, 7
    out = np.full((2, 2), np.nan, np.float32)
    compose(
        np.ones((3, 4, 4), np.float32),
        np.ones((4, 4), np.float32),
        samples=2,
        depth=depth,
        depth_out=out,
        out=np.empty((2, 2, 4), np.uint8),
    )
    assert out.tolist() == [[1.5, 0], [0, 7]]


def test_same_bits_for_every_thread_count_and_instruction_set(rng, variants):
    rgb, alpha = inputs(rng, 130, 262)
    results = {
        compose(rgb, alpha, threshold=0.4, samples=2, straight=True, threads=t).tobytes()
        for _ in variants
        for t in (1, 2, 4, 0)
    }
    assert len(results) == 1


def test_wrong_arguments_are_refused(rng):
    rgb, alpha = inputs(rng, 12, 16)
    good = dict(rgb=rgb, alpha=alpha)
    out = np.empty((12, 16, 4), np.uint8)
    for change, message in [
        (dict(rgb=rgb.astype(np.float64)), "rgb has dtype float64"),
        (dict(rgb=rgb[:2].copy()), "rgb has shape"),
        (dict(rgb=np.repeat(rgb, 2, 2)[..., ::2]), "rgb is not C-contiguous"),
        (dict(alpha=alpha[None]), "alpha has shape"),
        (dict(alpha=alpha[:0]), "alpha has shape"),
        (dict(mask=alpha[1:].copy()), "mask has shape"),
        (dict(threshold=float("nan")), "threshold is nan"),
        (dict(samples=3), "samples is 3"),
        (dict(samples=8), "samples is 8"),
        (dict(samples=2, rgb=rgb[:, :11].copy(), alpha=alpha[:11].copy()), "multiples of samples=2"),
        (dict(background=(1, 2, 3)), "background is"),
        (dict(background=5), "background is"),
        (dict(background=(0, 0, np.nan)), "background is"),
        (dict(origin=(1, 1)), "origin is"),
        (dict(origin=(1.5, 1), out=out), r"origin\[0\] is 1.5"),
        (dict(out=out[..., :3].copy()), "out has shape"),
        (dict(out=out.astype(np.int8)), "out has dtype int8"),
        (dict(out=out[:, ::-1]), "out is not C-contiguous"),
        (dict(depth=alpha), "depth and depth_out belong together"),
        (dict(depth=alpha, depth_out=alpha[1:].copy(), out=out), "depth_out has shape"),
        (dict(depth_out=alpha), "depth and depth_out"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            compose(**(good | change))
