"""gather_half and compose_half against the float64 references, and against the kernels for whole pixels."""

import numpy as np
import pytest

from dinar_live.kernels import Raster, compose, compose_half, gather_half, gather_uv
from dinar_live.kernels.reference import half as reference


def scene(rng, size, channels=16, covered=0.5, run=9):
    """A raster of random ids in runs, texture coordinates, colour texture and neural texture."""
    (H, W), faces, uvs = size, 30, 50
    n = H * W
    runs = np.repeat(rng.random(n // run + 2) < covered, rng.integers(1, 2 * run, n // run + 2))
    ids = np.where(np.resize(runs, n).reshape(H, W), rng.integers(0, faces, (H, W)), -1).astype(np.int32)
    b = rng.dirichlet((1, 1, 1), (H, W)).astype(np.float32)
    b[ids < 0] = 0
    uv = rng.random((uvs, 2)).astype(np.float32)
    uv[:4] = [[0, 0], [1, 0], [0, 1], [1, 1]]
    raster = Raster(ids, b, np.where(ids < 0, 0, 2).astype(np.float32))
    colour, neural = rng.random((23, 31, 4), np.float32), rng.random((12, 17, channels), np.float32)
    return raster, uv, rng.integers(0, uvs, (faces, 3)).astype(np.int32), colour, neural


def body(size, box, faces=30):
    """A scene's raster with an ellipse in `box` (y0, y1, x0, x1) instead."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    y0, y1, x0, x1 = box
    inside = ((2 * rows - y0 - y1) / (y1 - y0)) ** 2 + ((2 * columns - x0 - x1) / (x1 - x0)) ** 2 < 1
    ids = np.where(inside, (rows * 7 + columns).astype(int) % faces, -1).astype(np.int32)
    b = np.full((*size, 3), 1 / 3, np.float32) * inside[..., None].astype(np.float32)
    return Raster(ids, b, inside.astype(np.float32))


@pytest.mark.parametrize("channels", [0, 1, 3, 7, 8, 12, 16, 48])
def test_gather_equals_reference(rng, channels):
    for size in ((2, 2), (2, 14), (36, 58)):
        for covered in (0, 0.1, 0.6, 1):
            arguments = scene(rng, size, channels, covered)
            out = np.full((size[0] // 2, size[1] // 2, 16 + channels), np.nan, np.float32)
            assert gather_half(*arguments, out=out) is out
            np.testing.assert_allclose(
                out, reference.gather_half(*arguments[0][:2], *arguments[1:]), rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("channels", [0, 5, 8, 16])
def test_bytes_are_shares_of_255(rng, channels):
    raster, uv, uv_faces, colour, neural = scene(rng, (36, 58), channels)
    bytes_ = [(255 * t).astype(np.uint8) for t in (colour, neural)]
    want = gather_half(raster, uv, uv_faces, *(t.astype(np.float32) / 255 for t in bytes_))
    got = gather_half(raster, uv, uv_faces, *bytes_)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(got[..., 3:16:4], want[..., 3:16:4])


def test_gather_shows_the_colour_that_gather_uv_shows(rng):
    raster, uv, uv_faces, colour, neural = scene(rng, (20, 24), 8)
    blocks = gather_half(raster, uv, uv_faces, colour, neural)
    seen = reference.from_blocks(blocks[..., :16]).transpose(2, 0, 1)
    whole = gather_uv(raster, uv, uv_faces, colour)
    np.testing.assert_array_equal(seen[:3], whole[:3])
    np.testing.assert_array_equal(seen[3], whole[-1])


def test_spans_touch_what_is_and_what_was(rng):
    """Frame after frame into the same memory: equal to a whole one, and nothing else is written."""
    _, uv, uv_faces, colour, neural = scene(rng, (48, 64), 8)
    out, spans = np.zeros((24, 32, 24), np.float32), np.zeros((24, 2), np.int32)
    for box in ((4, 40, 6, 30), (10, 48, 20, 62), (0, 6, 0, 64), (-9, -8, 0, 1), (20, 30, 31, 33)):
        raster = body((48, 64), box)
        before = spans.copy()
        gather_half(raster, uv, uv_faces, colour, neural, spans=spans, out=out)
        np.testing.assert_array_equal(out, gather_half(raster, uv, uv_faces, colour, neural))
        for row, (low, high) in enumerate(spans):
            outside = np.r_[out[row, :low], out[row, high:]]
            assert not outside.any() and low <= high
            assert low == high or (out[row, low].any() and out[row, high - 1].any())
        poisoned = out.copy()
        touched = np.zeros((24, 32), bool)
        for row in range(24):
            for low, high in (before[row], spans[row]):
                touched[row, low:high] = True
        poisoned[~touched] = np.nan  # was zero before and is now: not looked at
        again = before.copy()
        gather_half(raster, uv, uv_faces, colour, neural, spans=again, out=poisoned)
        assert np.isnan(poisoned[~touched]).all() and np.array_equal(poisoned[touched], out[touched])


def features(rng, h, w, channels=5, covered=0.6):
    """Random features as gather_half makes them, and their spans."""
    seen = rng.random((2 * h, 2 * w, 4), np.float32)
    seen[..., 3] = rng.random((2 * h, 2 * w)) < covered
    seen[: h // 2] = 0
    seen[:, 2 * w - w // 2 :] = 0
    seen *= seen[..., 3:]
    blocks = reference.to_blocks(seen)
    there = blocks.any(-1)
    spans = np.zeros((h, 2), np.int32)
    for row in np.flatnonzero(there.any(1)):
        spans[row] = np.flatnonzero(there[row])[[0, -1]] + [0, 1]
    neural = rng.random((h, w, channels), np.float32) * there[..., None]
    return np.concatenate([blocks, neural], -1), spans


def check(blocks, correction, spans, size=None, **options):
    h, w, _ = blocks.shape
    H, W = size or (2 * h, 2 * w)
    out = np.random.default_rng(9).integers(0, 256, (H, W, 4)).astype(np.uint8)
    depth_out = np.full((H, W), np.nan, np.float32) if "depth" in options else None
    assert compose_half(blocks, correction, spans=spans, out=out, depth_out=depth_out, **options) is out
    want, want_depth = reference.compose_half(blocks, correction, size=(H, W), **options)
    steep = 5e-3 if options.get("threshold") else 1e-3
    assert (np.abs(out - want) <= 0.5 + steep).all()
    if depth_out is not None:
        np.testing.assert_array_equal(depth_out, want_depth.astype(np.float32))
    return out


OPTIONS = [
    dict(),
    dict(straight=True),
    dict(background=(0.2, 1.0, 0.0)),
    dict(threshold=0.4),
    dict(hardsegm=True),
    dict(hardsegm=True, threshold=0.3, background=(0, 0.5, 1)),
]


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (5, 7), (9, 200)])
@pytest.mark.parametrize("options", OPTIONS)
def test_compose_equals_reference(rng, size, options):
    for covered in (0, 0.1, 0.9, 1):
        blocks, spans = features(rng, *size, covered=covered)
        correction = rng.normal(0, 0.3, (*size, 16)).astype(np.float32)
        depth = np.where(rng.random((2 * size[0], 2 * size[1])) < 0.5, 2.5, 0).astype(np.float32)
        whole = check(blocks, correction, None, depth=depth, **options)
        np.testing.assert_array_equal(check(blocks, correction, spans, depth=depth, **options), whole)


@pytest.mark.parametrize("origin", [(0, 0), (3, 1), (-5, -3), (-4, 7), (1000, 0), (0, -1000)])
def test_compose_into_a_picture(rng, origin):
    blocks, spans = features(rng, 6, 11)
    correction = rng.normal(0, 0.3, (6, 11, 16)).astype(np.float32)
    for options in (dict(), dict(background=(1, 0, 0.25))):
        check(blocks, correction, spans, size=(17, 20), origin=origin, **options)


def test_without_correction_it_is_the_textured_mesh_with_a_soft_outline(rng):
    """What `compose` makes of whole planes."""
    blocks, spans = features(rng, 12, 16, covered=1)
    seen = reference.from_blocks(blocks[..., :16])
    got = compose_half(blocks, np.zeros((12, 16, 16), np.float32), spans=spans)
    hard = compose(np.ascontiguousarray(seen[..., :3].transpose(2, 0, 1)), np.ascontiguousarray(seen[..., 3]))
    inner = np.zeros((24, 32), bool)
    inner[1:-1, 1:-1] = sum(seen[y : y + 22, x : x + 30, 3] for y in range(3) for x in range(3)) == 9
    assert inner.any()
    assert np.abs(got[inner].astype(int) - hard[inner]).max() <= 1
    assert ((got[..., 3] > 0) >= (hard[..., 3] > 0)).all() and (got[..., 3] > 0).sum() > (
        hard[..., 3] > 0
    ).sum()


def test_not_a_number_counts_as_nothing(rng):
    blocks, spans = features(rng, 4, 6)
    correction = np.full((4, 6, 16), np.nan, np.float32)
    assert not compose_half(blocks, correction, spans=spans)[..., 3].any()


def test_results_depend_on_neither_threads_nor_instruction_set(rng, variants):
    arguments = scene(rng, (66, 150), 12)
    correction = rng.normal(0, 0.3, (33, 75, 16)).astype(np.float32)
    got = []
    for _ in variants:
        for threads in (1, 3):
            blocks = gather_half(*arguments, threads=threads)
            got.append((blocks, compose_half(blocks, correction, threshold=0.2, threads=threads)))
    for blocks, rgba in got[1:]:
        np.testing.assert_array_equal(blocks, got[0][0])
        np.testing.assert_array_equal(rgba, got[0][1])


def test_wrong_arguments_are_named(rng):
    raster, uv, uv_faces, colour, neural = scene(rng, (8, 10), 4)
    good = dict(raster=raster, uv=uv, uv_faces=uv_faces, texture=colour, neural=neural)
    odd = Raster(*(np.ascontiguousarray(a[:7]) for a in raster))
    spans = np.zeros((4, 2), np.int32)
    for wrong, says in (
        (dict(raster=odd), "even"),
        (dict(raster=(1,)), "raster"),
        (dict(texture=colour[..., :3].copy()), "texture"),
        (dict(neural=np.zeros((4, 4, 49), np.float32)), "48"),
        (dict(neural=np.zeros((4, 4, 4), np.uint8)), "neural"),
        (dict(texture=np.zeros((4, 4, 4), np.uint8)), "neural"),
        (dict(uv_faces=uv_faces[:1].copy()), "uv_faces does not have"),
        (dict(uv=uv[:1].copy()), "missing uv"),
        (dict(spans=spans), "out"),
        (dict(spans=spans + 6, out=np.zeros((4, 5, 20), np.float32)), "spans"),
        (dict(out=np.zeros((4, 5, 19), np.float32)), "out"),
    ):
        with pytest.raises((ValueError, TypeError), match=says):
            gather_half(**{**good, **wrong})
    blocks = gather_half(**good)
    correction = np.zeros((4, 5, 16), np.float32)
    for wrong, says in (
        (dict(features=blocks[..., :15].copy()), "features"),
        (dict(correction=correction[:3]), "correction"),
        (dict(spans=spans - 1), "spans"),
        (dict(threshold=np.nan), "threshold"),
        (dict(background=(2, 0, 0)), "background"),
        (dict(depth=np.zeros((8, 10), np.float32)), "depth"),
        (dict(origin=(1, 0)), "origin"),
    ):
        with pytest.raises((ValueError, TypeError), match=says):
            compose_half(**{**dict(features=blocks, correction=correction), **wrong})
