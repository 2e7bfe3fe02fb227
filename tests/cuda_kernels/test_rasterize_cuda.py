"""CUDA rasterizer against the CPU's: the same triangle in every pixel, but for a counted few on a real GPU
(none are expected there either: divisions are rounded alike and nothing is contracted)."""

import os

import numpy as np
import pytest

from dinar_live.kernels import Raster, rasterize
from dinar_live.kernels.reference import rasterize as reference

pytestmark = pytest.mark.gpu
BAND = 0 if os.environ.get("DINAR_EMULATED_CUDA") else 1e-5  # of the pixels


def projective(px, z):
    px, z = np.asarray(px, np.float64), np.asarray(z, np.float64)
    return np.concatenate([px * z[:, None], z[:, None]], 1).astype(np.float32)


def random_scene(rng, count, size, spread=0.3, z=(1, 5)):
    H, W = size
    centre = rng.uniform((-0.2 * W, -0.2 * H), (1.2 * W, 1.2 * H), (count, 1, 2))
    px = centre + rng.normal(0, spread * max(H, W), (count, 3, 2))
    return projective(px.reshape(-1, 2), rng.uniform(*z, 3 * count)), np.arange(
        3 * count, dtype=np.int32
    ).reshape(-1, 3)


def mesh(rng, n=40, size=100.0):
    """A bumpy sheet of 2 n^2 triangles with shared vertices."""
    gx, gy = np.meshgrid(np.linspace(-5, size + 5, n + 1), np.linspace(-5, size + 5, n + 1))
    px = np.stack([gx, gy], -1) + rng.normal(0, 0.6, (n + 1, n + 1, 2))
    i = np.arange(n * (n + 1)).reshape(n, n + 1)[:, :-1].ravel()
    faces = np.concatenate(
        [np.stack([i, i + n + 1, i + 1], 1), np.stack([i + 1, i + n + 1, i + n + 2], 1)]
    ).astype(np.int32)
    return projective(px.reshape(-1, 2), rng.uniform(1, 1.5, (n + 1) ** 2)), faces


def compare(gpu, vertices, faces, size, origin=(0, 0), **options):
    """The same as the CPU: triangles, and depth where they agree. Returns how many pixels differ."""
    faces = np.asarray(faces, np.int32).reshape(-1, 3)
    cpu_options = {k: v for k, v in options.items() if k in ("cull", "near")}
    want = rasterize(vertices, faces, size, origin=origin, **cpu_options)
    (ids,), _, (depth,) = gpu.rasterize(vertices[None], faces, size, origins=(origin,), **options)
    differ = ids != want.triangle_id
    assert differ.mean() <= BAND, differ.sum()
    np.testing.assert_allclose(depth[~differ], want.depth[~differ], rtol=1e-6)
    return ids


@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("spread", [0.02, 0.3, 3.0])
def test_random_triangles(gpu, rng, spread, cull):
    for size in ((1, 1), (7, 5), (64, 48), (33, 100)):
        ids = compare(gpu, *random_scene(rng, 40, size, spread), size, cull=cull)
        assert min(size) < 10 or (ids >= 0).any()


def test_mesh(gpu, rng):
    ids = compare(gpu, *mesh(rng), (90, 101))
    assert (ids >= 0).mean() > 0.9


def test_ray_caster_agrees(gpu, rng):
    """Not only the CPU's rasterizer, which shares the header."""
    vertices, faces = random_scene(rng, 12, (40, 33))
    (ids,), _, (depth,) = gpu.rasterize(vertices[None], faces, (40, 33), cull=False)
    want = reference.rasterize(vertices, faces, (40, 33), cull=False)
    sure = ~want.uncertain
    np.testing.assert_array_equal(ids[sure], want.triangle_id[sure])
    np.testing.assert_allclose(depth[sure], want.depth[sure], rtol=2e-4)
    assert sure.mean() > 0.8 and (ids >= 0).any()


@pytest.mark.parametrize("capacity", [None, 1, 3])
def test_big_triangles_and_a_full_queue(gpu, rng, capacity):
    """Tiles of the queue, and the way out when it is full; overlapping, with holes, beyond the window."""
    size = (70, 150)
    vertices, faces = random_scene(rng, 9, size, spread=1.0)
    compare(gpu, vertices, faces, size, cull=False, capacity=capacity)
    quad = projective([[-9000, -9000], [9000.3, -9000], [9000, 9000.7], [-9000.1, 9000]], [1, 2, 3, 4])
    ids = compare(gpu, quad, [[0, 1, 2], [0, 2, 3]], size, cull=False, capacity=capacity)
    assert (ids >= 0).all()


def test_near_plane_and_guard_band(gpu, rng):
    clipped = 0
    for _ in range(25):
        camera = rng.normal(0, 1, (9, 3)) + [0, 0, 0.3]
        camera[rng.integers(9), 2] *= -1
        v = np.stack(
            [camera[:, 0] * 30 + 20 * camera[:, 2], camera[:, 1] * 30 + 18 * camera[:, 2], camera[:, 2]], 1
        ).astype(np.float32)
        clipped += (compare(gpu, v, np.arange(9).reshape(3, 3), (36, 40), cull=False, near=0.05) >= 0).any()
    assert clipped > 10
    for scale in (1e4, 1e6, 1e9, 1e20, 1e38):
        compare(
            gpu,
            (rng.uniform(-1, 1, (30, 3)) * [scale, scale, 1]).astype(np.float32),
            np.arange(30),
            (20, 20),
            cull=False,
        )


@pytest.mark.parametrize(
    "vertices",
    [
        [[5, 5, 1], [5, 5, 1], [5, 5, 1]],
        [[1, 1, 1], [5, 5, 1], [9, 9, 1]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, -1], [9, 0, -1], [0, 9, -2]],
        [[5, 5, 0], [9, 5, 0], [5, 9, 0]],
        [[900, 900, 1], [990, 900, 1], [900, 990, 1]],
        [[3.2, 3.2, 1], [3.3, 3.2, 1], [3.2, 3.3, 1]],
    ],
)
def test_nothing_to_see(gpu, vertices):
    """Degenerate, behind the camera, off the screen, between pixel centres."""
    assert (compare(gpu, np.array(vertices, np.float32), [[0, 1, 2], [0, 2, 1]], (10, 10)) == -1).all()


def test_no_faces_and_no_finite_vertices(gpu):
    ids, features, depth = gpu.rasterize(np.zeros((1, 5, 3), np.float32), np.zeros((0, 3)), (13, 11))
    assert (
        (ids == -1).all()
        and (depth == 0).all()
        and (features[:, 0] == 0).all()
        and (features[:, 1:3] == -10).all()
    )
    assert (features[:, 3] == 0).all()
    for bad in (
        np.nan,
        np.inf,
        -np.inf,
    ):  # refused on the host before they get here; nothing may hang or write outside
        for i in range(9):
            vertices = projective([[1, 8], [9, 8], [5, 1]], [1, 2, 3])
            vertices.flat[i] = bad
            gpu.rasterize(vertices[None], [[0, 1, 2]], (10, 10), cull=False)


def test_nearest_wins_and_ties_go_to_the_lower_id(gpu):
    px = np.array([[0, 20], [20, 20], [20, 0]] * 3)
    stacked = projective(px, [3] * 3 + [2] * 3 + [2] * 3)
    faces = np.arange(9).reshape(3, 3)
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        assert set(np.unique(compare(gpu, stacked, faces[order], (20, 20)))) == {
            -1,
            min(order.index(1), order.index(2)),
        }


def test_windows_and_views(gpu, rng):
    """Two views with windows of their own in one go are the windows of two whole pictures."""
    vertices, faces = mesh(rng)
    extra, more = random_scene(rng, 30, (90, 101), spread=1.0, z=(-0.5, 4))
    faces, vertices = np.concatenate([faces, more + len(vertices)]), np.concatenate([vertices, extra])
    other = vertices + np.float32([7, -3, 0.01])
    origins = ((13, 7), (-5, 60))
    ids, _, depth = gpu.rasterize(np.stack([vertices, other]), faces, (40, 50), origins=origins)
    for v, origin, i, d in zip((vertices, other), origins, ids, depth, strict=True):
        want = rasterize(v, faces, (40, 50), origin=origin)
        assert (i != want.triangle_id).mean() <= BAND
        np.testing.assert_allclose(d, want.depth, rtol=1e-6)
    # samples: the origin counts pixels of samples x samples samples
    (ids,), _, _ = gpu.rasterize(vertices[None], faces, (40, 50), origins=((13, 7),), samples=2)
    assert (ids != rasterize(vertices, faces, (40, 50), origin=(26, 14)).triangle_id).mean() <= BAND


def test_open_body(gpu):
    """The shipped body from four sides at 256x256: 27,000 triangles, most of them a few pixels."""
    from dinar_live.runtime import Body

    rig = Body.open().rig()
    v = rig.model.vertices
    centre = (v.min(0) + v.max(0)) / 2
    for yaw in (0.3, 2.5):
        c, s = np.cos(yaw), np.sin(yaw)
        camera = (v - centre) @ np.array([[c, 0, -s], [0, -1, 0], [-s, 0, -c]]).T + [0, 0, 2.6]
        flat = (camera @ np.array([[300.0, 0, 128], [0, 300, 128], [0, 0, 1]]).T).astype(np.float32)
        assert (compare(gpu, flat, rig.faces, (256, 256)) >= 0).sum() > 5000


def test_barycentrics_reach_the_features(gpu, rng):
    """u and v of a sheet whose texture coordinates are its pixel coordinates."""
    vertices, faces = mesh(rng)
    uv = (vertices[:, :2] / vertices[:, 2:] / 200 + 0.3).astype(np.float32)
    _, (features,), _ = gpu.rasterize(
        vertices[None], faces, (90, 101), uv=uv, uv_faces=faces, texture=np.zeros((2, 2, 1), np.float32)
    )
    y, x = np.mgrid[:90, :101] + 0.5
    seen = features[3] > 0
    want = Raster.empty(90, 101)
    rasterize(vertices, faces, (90, 101), out=want)
    corners = uv[faces[want.triangle_id[seen]]]
    exact = np.einsum("nk,nkc->nc", want.barycentrics[seen], corners)
    np.testing.assert_allclose(features[1:3][:, seen].T, 2 * exact - 1, atol=1e-6)
    flat = np.stack([x, y], -1)[seen] / 200 + 0.3  # perspective bends it, little at these depths
    assert np.abs(exact - flat).max() < 0.02
