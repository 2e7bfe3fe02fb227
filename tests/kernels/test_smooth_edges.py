"""smooth_edges against the float64 reference, and against a raster of several times the size."""

import numpy as np
import pytest

from dinar_live.kernels import (
    Raster,
    Surface,
    gather_half,
    gather_uv,
    rasterize,
    smooth_edges,
    smooth_edges_half,
)
from dinar_live.kernels.reference.smooth_edges import smooth_edges as reference

SIZE = (24, 40)


def scene(rng, layers=3, texels=64):
    """Some sheets of triangles behind one another, each in a part of the texture of its own, with holes."""
    vertices, faces, uv = [], [], []
    for layer in range(layers):
        n = 6
        y, x = np.mgrid[:n, :n] / (n - 1)
        px = (x - 0.5) * rng.uniform(20, 34) + SIZE[1] / 2 + rng.uniform(-6, 6) + rng.normal(0, 0.6, x.shape)
        py = (y - 0.5) * rng.uniform(12, 20) + SIZE[0] / 2 + rng.uniform(-3, 3) + rng.normal(0, 0.6, x.shape)
        z = 1 + 0.2 * layer + 0.02 * x
        first = len(vertices) * n * n
        vertices.append(np.stack([px * z, py * z, z], -1).reshape(-1, 3))
        uv.append(np.stack([(layer + 0.1 + 0.8 * x) / layers, 0.1 + 0.8 * y], -1).reshape(-1, 2))
        for i in range(n - 1):
            for j in range(n - 1):
                if rng.random() < 0.2:
                    continue
                a, b, c, d = (first + p for p in (n * i + j, n * i + j + 1, n * i + n + j, n * i + n + j + 1))
                faces += [(a, c, b), (b, c, d)]
    projective = np.concatenate(vertices).astype(np.float32)
    faces = np.array(faces, np.int32)
    texture = rng.random((texels, texels, 3)).astype(np.float32)
    # smooth, so that a sample's place within the pixel matters as little as on a body
    texture = np.cumsum(np.cumsum(texture - 0.5, 0), 1)
    texture = ((texture - texture.min()) / np.ptp(texture)).astype(np.float32)
    return projective, Surface(faces, np.concatenate(uv).astype(np.float32), faces.copy(), texture), texture


def seen(projective, surface, texture, size=SIZE, origin=(0, 0)):
    raster = rasterize(projective, surface.faces, size, origin=origin)
    assert isinstance(raster, Raster) and (raster.triangle_id >= 0).sum() > 50
    return raster, gather_uv(raster, surface.uv, surface.uv_faces, texture)


def nothing(size=SIZE):
    return Raster(np.full(size, -1, np.int32), np.zeros((*size, 3), np.float32), np.zeros(size, np.float32))


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("straight", [False, True])
def test_as_the_reference(samples, straight, variants):
    for _ in variants:
        for seed in range(4):
            projective, surface, texture = scene(np.random.default_rng(seed))
            raster, features = seen(projective, surface, texture)
            got = features.copy()
            marked = smooth_edges(
                surface,
                projective,
                raster,
                got[:3],
                got[-1],
                samples=samples,
                straight=straight,
            )
            colour, mask, edges, uncertain = reference(
                projective,
                surface,
                raster.triangle_id,
                features[:3],
                features[-1],
                samples=samples,
                straight=straight,
            )
            assert marked == edges.sum() > 20
            sure = ~uncertain
            assert sure[edges].mean() > 0.6
            np.testing.assert_array_equal(got[-1][sure], mask[sure])
            np.testing.assert_allclose(got[:3][:, sure], colour[:, sure], rtol=0, atol=2e-4)
            np.testing.assert_array_equal(got[3:5], features[3:5])  # u, v


@pytest.mark.parametrize("samples", [2, 4])
def test_coverage_is_that_of_a_raster_of_several_times_the_size(rng, samples):
    for _ in range(5):
        projective, surface, texture = scene(rng)
        raster, features = seen(projective, surface, texture)
        before = features.copy()
        smooth_edges(surface, projective, raster, features[:3], features[-1], samples=samples, threads=1)
        changed = (features != before).any(0)
        large = projective * np.float32([samples, samples, 1])
        fine = rasterize(large, surface.faces, (SIZE[0] * samples, SIZE[1] * samples)).triangle_id >= 0
        share = fine.reshape(SIZE[0], samples, SIZE[1], samples).mean((1, 3)).astype(np.float32)
        np.testing.assert_array_equal(features[-1][changed], share[changed])
        assert changed.sum() > 20
        assert ((raster.depth > 0) >= (features[-1] > 0)).all(), "what is covered in part has depth"
        assert ((raster.depth == 0) | (raster.depth >= 0.9)).all()


def test_threads_do_not_matter(rng):
    projective, surface, texture = scene(rng)
    raster, features = seen(projective, surface, texture, (200, 300), (-50, -70))
    results = []
    for threads in (1, 2, 7, 0):
        got = features.copy()
        smooth_edges(
            surface,
            projective,
            raster,
            got[:3],
            got[-1],
            origin=(-50, -70),
            threads=threads,
        )
        results.append(got)
    assert all(np.array_equal(results[0], r) for r in results[1:])
    assert not np.array_equal(results[0], features)


def test_a_window_is_that_part_of_the_whole(rng):
    """But for its own border, which has neighbours on one side only."""
    projective, surface, texture = scene(rng)
    raster, whole = seen(projective, surface, texture)
    smooth_edges(surface, projective, raster, whole[:3], whole[-1])
    part, window = seen(projective, surface, texture, (16, 24), (8, 4))
    smooth_edges(surface, projective, part, window[:3], window[-1], origin=(8, 4))
    np.testing.assert_array_equal(window[:, 1:-1, 1:-1], whole[:, 5:19, 9:31])


def test_one_surface_has_no_edges_within(rng):
    projective, surface, texture = scene(rng, layers=1)
    raster, features = seen(projective, surface, texture)
    got = features.copy()
    smooth_edges(surface, projective, raster, got[:3], got[-1])
    full = np.pad(raster.triangle_id >= 0, 1, mode="edge")
    inner = full[1:-1, 1:-1] & full[:-2, 1:-1] & full[2:, 1:-1] & full[1:-1, :-2] & full[1:-1, 2:]
    assert inner.sum() > 20 and np.array_equal(got[:, inner], features[:, inner])


def test_features_of_blocks_are_the_same(rng):
    projective, surface, texture = scene(rng)
    raster, features = seen(projective, surface, texture)
    padded = np.concatenate([texture, np.ones((*texture.shape[:2], 1), np.float32)], 2)
    neural = rng.random((8, 8, 5)).astype(np.float32)
    out = np.zeros((SIZE[0] // 2, SIZE[1] // 2, 21), np.float32)
    spans = np.zeros((SIZE[0] // 2, 2), np.int32)
    gather_half(raster, surface.uv, surface.uv_faces, padded, neural, spans=spans, out=out)
    before = out.copy()
    marked = smooth_edges_half(surface, projective, raster, out, spans=spans)
    assert marked == smooth_edges(surface, projective, raster, features[:3], features[-1])
    pixels = out[..., :16].reshape(SIZE[0] // 2, SIZE[1] // 2, 2, 2, 4).transpose(4, 0, 2, 1, 3)
    seen_planes = features[[0, 1, 2, 5]]
    np.testing.assert_allclose(pixels.reshape(4, *SIZE), seen_planes, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(out[..., 16:], before[..., 16:])
    for row, (first, last) in zip(out, spans, strict=True):
        assert not row[:first].any() and not row[max(first, last) :].any(), "spans are true of what is there"
    # The next frame, with nothing in it, finds all that is to be cleared.
    gather_half(nothing(), surface.uv, surface.uv_faces, padded, neural, spans=spans, out=out)
    assert not out.any()


def test_nothing_and_everything(rng):
    projective, surface, texture = scene(rng)
    raster = nothing()
    colour, mask = np.zeros((3, *SIZE), np.float32), np.zeros(SIZE, np.float32)
    assert smooth_edges(surface, projective, raster, colour, mask) == 0
    raster.triangle_id[:] = 3
    assert smooth_edges(surface, projective, raster, colour, mask) == 0
    assert not raster.depth.any()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 64), (3, 65), (9, 128)])
def test_any_size(rng, size):
    projective, surface, texture = scene(rng)
    raster = rasterize(projective, surface.faces, size, origin=(10, 8))
    features = gather_uv(raster, surface.uv, surface.uv_faces, texture)
    smooth_edges(surface, projective, raster, features[:3], features[-1], origin=(10, 8))
    assert np.isfinite(features).all() and features[-1].min() >= 0 and features[-1].max() <= 1


def test_bad_arguments(rng):
    projective, surface, texture = scene(rng)
    raster = nothing()
    raster.triangle_id[3, 3] = 0
    colour, mask = np.zeros((3, *SIZE), np.float32), np.zeros(SIZE, np.float32)

    def call(**changes):
        names = {
            "surface": surface,
            "projective": projective,
            "raster": raster,
            "colour": colour,
            "mask": mask,
        }
        options = {k: v for k, v in changes.items() if k not in names}
        return smooth_edges(*({**names, **changes}[k] for k in names), **options)

    assert call() == 5
    with pytest.raises(ValueError, match="samples is 3; expected 2 or 4"):
        call(samples=3)
    with pytest.raises(TypeError, match="surface is a int; expected a Surface"):
        call(surface=1)
    with pytest.raises(ValueError, match="mask has shape"):
        call(mask=mask[:4])
    with pytest.raises(ValueError, match="NaN or Inf"):
        call(projective=np.full_like(projective, np.nan))
    with pytest.raises(ValueError, match="something that is not there"):
        call(raster=nothing()._replace(triangle_id=np.full(SIZE, len(surface.faces), np.int32)))
    with pytest.raises(ValueError, match="expected even numbers"):
        smooth_edges_half(surface, projective, nothing((3, 40)), np.zeros((1, 20, 16), np.float32))
    with pytest.raises(ValueError, match="3 or more channels"):
        Surface(surface.faces, surface.uv, surface.uv_faces, texture[..., :2].copy())
    with pytest.raises(ValueError, match="uv_faces refers"):
        Surface(surface.faces, surface.uv[:3].copy(), surface.uv_faces, texture)
