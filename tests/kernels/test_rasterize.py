"""rasterize against the float64 ray caster, the golden file, and the properties it promises."""

import importlib.resources
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinar_live.kernels import Raster, rasterize
from dinar_live.kernels.reference import rasterize as reference


def projective(px, z):
    px, z = np.asarray(px, np.float64), np.asarray(z, np.float64)
    return np.concatenate([px * z[:, None], z[:, None]], 1).astype(np.float32)


def poisoned(size):
    out = Raster.empty(*size)
    out.triangle_id[:] = 123456789
    out.barycentrics[:] = np.nan
    out.depth[:] = np.nan
    return out


def draw(vertices, faces, size, **options):
    """rasterize into garbage, with what must hold for any result."""
    faces = np.asarray(faces, np.int32).reshape(-1, 3)
    out = poisoned(size)
    got = rasterize(vertices, faces, size, out=out, **options)
    assert got is out
    covered = got.triangle_id >= 0
    assert (got.triangle_id[~covered] == -1).all() and (got.triangle_id < max(len(faces), 1)).all()
    assert (got.barycentrics[~covered] == 0).all() and (got.depth[~covered] == 0).all()
    assert (got.barycentrics >= 0).all()
    np.testing.assert_allclose(got.barycentrics[covered].sum(-1), 1, atol=1e-6)
    assert (got.depth[covered] >= np.float32(options.get("near", 0.01))).all()
    return got


def compare(vertices, faces, size, *, allowed_uncertain=0.2, **options):
    """Equal to the reference off the band of pixels where a sub-pixel grid may differ; the band is
    counted."""
    got, want = draw(vertices, faces, size, **options), reference.rasterize(vertices, faces, size, **options)
    sure = ~want.uncertain
    assert want.uncertain.mean() <= allowed_uncertain
    np.testing.assert_array_equal(got.triangle_id[sure], want.triangle_id[sure])
    seen = sure & (want.triangle_id >= 0)
    # float32 against float64: a triangle seen nearly edge-on spreads its depth range over a fraction of a
    # pixel
    np.testing.assert_allclose(
        got.depth[seen], want.depth[seen], rtol=2e-4, atol=1e-5 * np.abs(vertices[:, 2]).max(initial=0)
    )
    # The point hit is compared, not the weights: those of a sliver are ill-conditioned.
    corners = np.asarray(vertices, np.float64)[np.asarray(faces).reshape(-1, 3)[want.triangle_id[seen]]]
    if len(corners):
        size_of = np.abs(corners).max((1, 2), keepdims=True)
        hit, true = (np.einsum("nk,nkc->nc", r.barycentrics[seen], corners) for r in (got, want))
        np.testing.assert_allclose(hit / size_of[:, 0], true / size_of[:, 0], atol=1e-4)
    return got


def same(a, b):
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def random_scene(rng, count, size, spread=0.3, z=(1, 5), vertices=None):
    H, W = size
    centre = rng.uniform((-0.2 * W, -0.2 * H), (1.2 * W, 1.2 * H), (count, 1, 2))
    px = centre + rng.normal(0, spread * max(H, W), (count, 3, 2))
    return projective(px.reshape(-1, 2), rng.uniform(*z, 3 * count)), np.arange(
        3 * count, dtype=np.int32
    ).reshape(-1, 3)


def test_golden(data):
    with np.load(data / "rasterizer_port.npz", allow_pickle=False) as z:
        golden = dict(z)
    r = draw(golden["verts_projective"].astype(np.float32), golden["faces"], tuple(golden["hw"]))
    sure = golden["near_edge"] == 0
    mask = golden["mask"][0, 0] > 0
    np.testing.assert_array_equal((r.triangle_id >= 0)[sure], mask[sure])
    seen = sure & mask
    assert seen.sum() > 1000
    np.testing.assert_allclose(r.depth[seen], golden["depth"][seen], atol=1e-4)
    uv01 = np.einsum(
        "nk,nkc->nc", r.barycentrics[seen], golden["vertex_uv"][golden["faces"][r.triangle_id[seen]]]
    )
    np.testing.assert_allclose(2 * uv01 - 1, np.moveaxis(golden["uv"][0], 0, -1)[seen], atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 5), (8, 8), (17, 23), (40, 33), (64, 64)])
@pytest.mark.parametrize("cull", [True, False])
def test_random_scenes_equal_reference(rng, size, cull):
    for spread in (0.03, 0.3, 3.0):
        vertices, faces = random_scene(rng, 12, size, spread)
        compare(vertices, faces, size, cull=cull, allowed_uncertain=1.0 if min(size) < 9 else 0.3)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 12),
    st.booleans(),
    st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    st.sampled_from([0.02, 0.3, 5.0, 1000.0]),
    st.booleans(),
)
def test_any_small_scene_equals_reference(seed, height, width, count, cull, origin, spread, behind):
    rng = np.random.default_rng(seed)
    vertices, faces = random_scene(rng, count, (height, width), spread, z=(0.02, 4))
    if behind and count:
        vertices[rng.integers(0, len(vertices), 2)] *= -1
    compare(vertices, faces, (height, width), cull=cull, origin=origin, allowed_uncertain=1.0)


def test_front_is_counter_clockwise_as_seen():
    """Right, then up on the screen, then back: front; and the open-body rule: seen from outside by a camera
    with y down."""
    triangle = projective([[2, 8], [14, 8], [14, 1]], [2, 2, 2])
    assert (draw(triangle, [0, 1, 2], (10, 16)).triangle_id == 0).any()
    assert (draw(triangle, [0, 2, 1], (10, 16)).triangle_id == -1).all()
    both = draw(triangle, [0, 2, 1], (10, 16), cull=False)
    front = draw(triangle, [0, 1, 2], (10, 16))
    np.testing.assert_array_equal(both.triangle_id, front.triangle_id)
    np.testing.assert_allclose(both.barycentrics[..., [0, 2, 1]], front.barycentrics, atol=1e-6)


def test_open_body_shows_its_outside():
    """From all sides the culled picture is the nearest surface: the body is wound counter-clockwise seen from
    outside."""
    with importlib.resources.files("dinar_live.runtime").joinpath("assets/open_body.npz").open("rb") as f:
        body = dict(np.load(f, allow_pickle=False))
    centre = (body["v_template"].min(0) + body["v_template"].max(0)) / 2
    for yaw in (0.0, 0.9, np.pi, -1.7):
        c, s = np.cos(yaw), np.sin(yaw)
        world_to_camera = np.array([[c, 0, -s], [0, -1, 0], [-s, 0, -c]])
        assert np.linalg.det(world_to_camera) == pytest.approx(1)
        camera = (body["v_template"] - centre) @ world_to_camera.T + [0, 0, 3]
        flat = (camera @ np.array([[300.0, 0, 128], [0, 300, 128], [0, 0, 1]]).T).astype(np.float32)
        culled, nearest = (draw(flat, body["faces"], (256, 256), cull=cull) for cull in (True, False))
        seen = nearest.triangle_id >= 0
        assert seen.sum() > 2000
        assert (culled.triangle_id == nearest.triangle_id)[seen].mean() > 0.99


def test_perspective_correct_barycentrics():
    """A floor seen at an angle: depth at the middle of the picture is the harmonic, not the arithmetic
    mean."""
    quad = projective([[0, 32], [32, 32], [32, 0], [0, 0]], [1, 1, 9, 9])
    r = draw(quad, [[0, 1, 2], [0, 2, 3]], (32, 32))
    rows = np.arange(32) + 0.5
    want = 1 / (1 / 9 + (1 - 1 / 9) * rows / 32)
    np.testing.assert_allclose(r.depth, np.repeat(want[:, None], 32, 1), rtol=1e-5)


def coverage(vertices, faces, size):
    """How many triangles cover each pixel, each drawn alone."""
    return sum((rasterize(vertices, f[None], size, cull=False).triangle_id == 0).astype(int) for f in faces)


@pytest.mark.parametrize("grid", [None, 1.0, 0.5, 1 / 256])
def test_shared_edges_have_no_cracks_and_no_double_hits(rng, grid):
    """Delaunay triangulations, also with vertices exactly on pixel centres and borders: inside the hull every
    pixel is hit once."""
    scipy = pytest.importorskip("scipy.spatial")
    for _ in range(6):
        px = rng.uniform(-4, 36, (60, 2))
        if grid:
            px = np.unique(np.round(px / grid) * grid + 0.5, axis=0)
        px = np.concatenate(
            [px, [[-90, -90], [130, -90], [130, 130], [-90, 130]]]
        )  # the hull holds the whole picture
        faces = scipy.Delaunay(px).simplices.astype(np.int32)
        z = rng.uniform(1, 3, len(px))
        # px * z / z in float32 may miss the grid point by a rounding, alike for all triangles that share the
        # vertex
        np.testing.assert_array_equal(coverage(projective(px, z), faces, (32, 32)), 1)


def test_no_cracks_where_triangles_are_clipped(rng):
    """A fan of triangles through the near plane, around the camera: no holes along the clipped shared
    edges."""
    for _ in range(5):
        n = 40
        angle = np.sort(rng.uniform(0, 2 * np.pi, n))
        # a cone around the view axis, from behind the camera to a point ahead
        ring = np.stack([np.cos(angle), np.sin(angle), np.full(n, -0.5)], 1)
        camera = np.concatenate([ring, [[0.05, 0.02, 3.0]]])
        v = np.stack(
            [camera[:, 0] * 40 + 32 * camera[:, 2], camera[:, 1] * 40 + 32 * camera[:, 2], camera[:, 2]], 1
        ).astype(np.float32)
        faces = np.array([[i, (i + 1) % n, n] for i in range(n)], np.int32)
        np.testing.assert_array_equal(coverage(v, faces, (64, 64)), 1)


def test_near_plane_against_rays(rng):
    """Triangles with one and two vertices behind the camera."""
    for _ in range(30):
        camera = rng.normal(0, 1, (3, 3)) + [0, 0, 0.3]
        camera[rng.integers(3), 2] *= -1
        v = np.stack(
            [camera[:, 0] * 30 + 20 * camera[:, 2], camera[:, 1] * 30 + 18 * camera[:, 2], camera[:, 2]], 1
        ).astype(np.float32)
        compare(v, [[0, 1, 2]], (36, 40), cull=False, near=0.05)


@pytest.mark.parametrize(
    "vertices",
    [
        [[5, 5, 1], [5, 5, 1], [5, 5, 1]],
        [[1, 1, 1], [5, 5, 1], [9, 9, 1]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, -1], [9, 0, -1], [0, 9, -2]],
        [[5, 5, 0], [9, 5, 0], [5, 9, 0]],
        [[900, 900, 1], [990, 900, 1], [900, 990, 1]],
        [[-900, -900, 1], [-990, -900, 1], [-900, -990, 1]],
        [[3.2, 3.2, 1], [3.3, 3.2, 1], [3.2, 3.3, 1]],
    ],
)
def test_nothing_to_see(vertices):
    """Degenerate, behind the camera, off the screen, between pixel centres."""
    assert (draw(np.array(vertices, np.float32), [[0, 1, 2], [0, 2, 1]], (10, 10)).triangle_id == -1).all()


@pytest.mark.parametrize("scale", [1e4, 1e6, 1e9, 1e20, 1e38])
def test_huge_coordinates_do_not_overflow(rng, scale):
    for _ in range(20):
        v = (rng.uniform(-1, 1, (3, 3)) * [scale, scale, 1]).astype(np.float32)
        draw(v, [[0, 1, 2]], (20, 20), cull=False)
    big = projective([[-scale / 4, 10], [scale / 4, -scale / 4], [scale / 4, scale / 4]], [1, 1, 1])
    assert (draw(big, [[0, 1, 2]], (20, 20), cull=False).triangle_id[:, 5:] == 0).all()
    far = np.array([[0, 0, 1e38], [1e38, 0, 1e38], [0, 3e38, 1e38]], np.float32)
    draw(far, [[0, 1, 2]], (20, 20), cull=False)


def test_large_triangles_take_the_64_bit_path(rng):
    """Too large for 32-bit edge values, and in a wide picture: equal to the reference, cracks included."""
    vertices, faces = random_scene(rng, 6, (40, 300), spread=40.0)
    compare(vertices, faces, (40, 300), cull=False)
    quad = projective([[-9000, -9000], [9000.3, -9000], [9000, 9000.7], [-9000.1, 9000]], [1, 2, 3, 4])
    np.testing.assert_array_equal(coverage(quad, np.array([[0, 1, 2], [0, 2, 3]], np.int32), (64, 300)), 1)


def test_nearest_wins_and_ties_go_to_the_lower_id(rng):
    px = np.array([[0, 20], [20, 20], [20, 0]] * 3)
    stacked = projective(px, [3] * 3 + [2] * 3 + [2] * 3)
    faces = np.arange(9).reshape(3, 3)
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        r = draw(stacked, faces[order], (20, 20), threads=2)
        want = min(order.index(1), order.index(2))
        assert set(np.unique(r.triangle_id)) == {-1, want}


def mesh(rng, n=40, size=100.0):
    """A bumpy closed-looking sheet of 2 n^2 triangles, all with shared vertices."""
    gx, gy = np.meshgrid(np.linspace(-5, size + 5, n + 1), np.linspace(-5, size + 5, n + 1))
    px = np.stack([gx, gy], -1) + rng.normal(0, 0.6, (n + 1, n + 1, 2))
    i = np.arange(n * (n + 1)).reshape(n, n + 1)[:, :-1].ravel()
    faces = np.concatenate(
        [np.stack([i, i + n + 1, i + 1], 1), np.stack([i + 1, i + n + 1, i + n + 2], 1)]
    ).astype(np.int32)
    return projective(px.reshape(-1, 2), rng.uniform(1, 1.5, px.shape[0] * px.shape[1])), faces


def test_same_bits_for_every_thread_count_and_instruction_set(rng, variants):
    vertices, faces = mesh(rng)
    clipped, more = random_scene(rng, 40, (90, 101), spread=2.0, z=(-1, 4))
    faces = np.concatenate([more + len(vertices), faces])
    vertices = np.concatenate([vertices, clipped])
    want = rasterize(vertices, faces, (90, 101), cull=False, threads=1)
    for variant in variants:
        for threads in (1, 2, 4, 7, 64):
            assert same(want, draw(vertices, faces, (90, 101), cull=False, threads=threads)), (
                variant,
                threads,
            )


def test_a_window_gives_the_same_pixels_as_the_whole_picture(rng):
    vertices, faces = mesh(rng)
    extra, more = random_scene(rng, 30, (90, 101), spread=1.0, z=(-0.5, 4))
    faces, vertices = np.concatenate([faces, more + len(vertices)]), np.concatenate([vertices, extra])
    whole = draw(vertices, faces, (90, 101))
    for x0, y0, w, h in [
        (0, 0, 50, 50),
        (13, 7, 64, 64),
        (3, 80, 5, 10),
        (50, 3, 51, 1),
        (100, 89, 1, 1),
        (37, 0, 9, 90),
    ]:
        part = draw(vertices, faces, (h, w), origin=(x0, y0), threads=2)
        for a, b in zip(whole, part, strict=True):
            assert a[y0 : y0 + h, x0 : x0 + w].tobytes() == b.tobytes()
    moved = draw(vertices, faces, (110, 120), origin=(-8, -5))
    assert moved.triangle_id[5:95, 8:109].tobytes() == whole.triangle_id.tobytes()


@pytest.mark.parametrize("shape", [(0, 0), (5, 0)])
def test_empty_meshes(shape):
    r = draw(np.zeros((shape[0], 3), np.float32), np.zeros((0, 3)), (13, 11))
    assert (r.triangle_id == -1).all()


def test_vertices_without_faces_are_still_checked():
    bad = np.ones((3, 3), np.float32)
    for value in (np.nan, np.inf, -np.inf):
        for i in range(9):
            broken = bad.copy()
            broken.flat[i] = value
            for threads in (1, 2):
                with pytest.raises(ValueError, match="projective holds NaN or Inf"):
                    rasterize(broken, np.zeros((0, 3), np.int32), (20, 20), threads=threads)


def test_wrong_arguments_are_refused(rng):
    vertices, faces = random_scene(rng, 3, (16, 16))
    for change, message in [
        (dict(projective=vertices.astype(np.float64)), "projective has dtype float64"),
        (dict(projective=vertices[:, :2].copy()), "projective has shape"),
        (dict(projective=vertices[::2]), "projective is not C-contiguous"),
        (dict(faces=faces.astype(np.int64)), "faces has dtype int64"),
        (dict(faces=faces + np.int32(1)), "faces refers to a vertex"),
        (dict(faces=faces - np.int32(1)), "faces refers to a vertex"),
        (dict(size=(0, 4)), r"size\[0\] is 0"),
        (dict(size=(4, 20000)), r"size\[1\] is 20000"),
        (dict(size=7), "size is 7"),
        (dict(origin=(0.5, 0)), r"origin\[0\] is 0.5"),
        (dict(origin=(0, 1 << 30)), r"origin\[1\] is"),
        (dict(near=0.0), "near is 0.0"),
        (dict(near=float("nan")), "near is nan"),
        (dict(threads=-2), "threads is -2"),
        (dict(out=(1, 2, 3)), "out is a tuple"),
        (dict(out=Raster.empty(5, 5)), "out.triangle_id has shape"),
    ]:
        arguments = {"projective": vertices, "faces": faces, "size": (16, 16), "threads": 2} | change
        with pytest.raises((TypeError, ValueError), match=message):
            rasterize(arguments.pop("projective"), arguments.pop("faces"), arguments.pop("size"), **arguments)


def test_calls_from_many_python_threads(rng):
    vertices, faces = mesh(rng)
    want = rasterize(vertices, faces, (90, 101), threads=1)
    wrong = []

    def work():
        for _ in range(20):
            if not same(want, rasterize(vertices, faces, (90, 101), threads=3)):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
