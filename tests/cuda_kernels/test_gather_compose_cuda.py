"""CUDA texture sampling and compositing against the CPU's and the float64 references, within the rounding of
fp16 or to the bit."""

import numpy as np
import pytest

from dinar_live.kernels import Raster, compose, cuda, gather_uv, rasterize
from dinar_live.kernels.reference import compose as reference_compose
from dinar_live.kernels.reference import gather as reference_gather

pytestmark = pytest.mark.gpu
SIZE = (37, 45)


def scene(rng, channels, texture_size=(31, 17), triangles=60):
    """A pile of triangles with random texture coordinates, some of them outside the texture."""
    px = rng.uniform(-5, 50, (triangles, 1, 2)) + rng.normal(0, 8, (triangles, 3, 2))
    z = rng.uniform(1, 3, 3 * triangles)
    vertices = np.concatenate([px.reshape(-1, 2) * z[:, None], z[:, None]], 1).astype(np.float32)
    faces = np.arange(3 * triangles, dtype=np.int32).reshape(-1, 3)
    uv = rng.uniform(-0.1, 1.1, (50, 2)).astype(np.float32)
    uv_faces = rng.integers(0, 50, faces.shape).astype(np.int32)
    return vertices, faces, uv, uv_faces, rng.normal(0, 1, (*texture_size, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 7, 8, 16, 21, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_gather(gpu, rng, channels, dtype):
    vertices, faces, uv, uv_faces, texture = scene(rng, channels, (1, 1) if channels == 7 else (31, 17))
    (ids,), (features,), _ = gpu.rasterize(
        vertices[None], faces, SIZE, uv=uv, uv_faces=uv_faces, texture=texture, dtype=dtype, cull=False
    )
    raster = rasterize(vertices, faces, SIZE, cull=False)
    same = ids == raster.triangle_id
    assert same.mean() > 1 - 1e-4 and 0.3 < (ids >= 0).mean() < 1
    assert features.dtype == dtype and np.isfinite(features).all()
    want = gather_uv(raster, uv, uv_faces, texture)
    exact = reference_gather.gather_uv(raster.triangle_id, raster.barycentrics, uv, uv_faces, texture)
    # fp16: the texels and the result are rounded, each by 2^-11 at most
    limit = np.abs(texture).max() * 2**-10 if dtype == np.float16 else 1e-6
    np.testing.assert_allclose(
        features[:, same], want[:, same], atol=max(limit, 2**-9 if dtype == np.float16 else 0), rtol=0
    )
    np.testing.assert_allclose(
        features[:, same],
        exact[:, same],
        atol=max(limit, 2e-5) + (2**-9 if dtype == np.float16 else 0),
        rtol=0,
    )
    np.testing.assert_array_equal(features[channels + 2], ids >= 0)
    np.testing.assert_array_equal(features[channels : channels + 2, ids < 0], -10)
    np.testing.assert_array_equal(features[:channels, ids < 0], 0)
    # u and v are not those of a rounded texture: one rounding only
    if dtype == np.float16:
        np.testing.assert_array_equal(features[channels:, same], want[channels:, same].astype(np.float16))


def test_gather_two_views(gpu, rng):
    vertices, faces, uv, uv_faces, texture = scene(rng, 5)
    both = np.stack([vertices, vertices + np.float32([3, 1, 0])])
    ids, features, _ = gpu.rasterize(
        both, faces, SIZE, origins=((0, 0), (4, -6)), uv=uv, uv_faces=uv_faces, texture=texture, cull=False
    )
    for v, origin, i, f in zip(both, ((0, 0), (4, -6)), ids, features, strict=True):
        raster = rasterize(v, faces, SIZE, origin=origin, cull=False)
        same = i == raster.triangle_id
        assert same.mean() > 1 - 1e-4
        np.testing.assert_allclose(f[:, same], gather_uv(raster, uv, uv_faces, texture)[:, same], atol=1e-6)


def run_compose(
    gpu, rgb, alpha, size, *, mask=None, depth=None, origins=((0, 0),), dtype=np.float32, **options
):
    """rgba u8[views,Hf,Wf,4] and depth; rgb [views,3,H,W], alpha and mask [views,1,H,W]. rgb and mask are
    parts of a larger array."""
    views = len(origins)
    packed = np.concatenate(
        [np.full((views, 1, *rgb.shape[2:]), 7.0), rgb, np.zeros_like(alpha) if mask is None else mask], 1
    )
    packed, alpha = gpu.device.upload(packed.astype(dtype)), gpu.device.upload(alpha.astype(dtype))
    rgba = gpu.poisoned((views, *size, 4), np.uint8)
    depth_out = None
    if depth is not None:
        depth, depth_out = gpu.device.upload(depth), gpu.poisoned((views, *size), np.float32)
    p = gpu.parameters(origins=origins)
    gpu.program.run(
        gpu.stream,
        gpu.program.compose(
            p,
            cuda.Planes.of(packed, 1),
            cuda.Planes.of(alpha),
            rgba,
            mask=None if mask is None else cuda.Planes.of(packed, 4),
            depth=depth,
            depth_out=depth_out,
            **options,
        ),
    )
    return rgba.numpy(gpu.stream), None if depth_out is None else depth_out.numpy(gpu.stream)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(samples=2),
        dict(samples=4, straight=True),
        dict(threshold=0.3),
        dict(background=(0.2, 0.5, 1.0)),
        dict(straight=True),
        dict(threshold=0.5, samples=2, background=(0, 0, 0)),
        dict(threshold=-0.2, straight=True),
    ],
)
def test_compose(gpu, rng, options, dtype):
    """The CPU's bytes exactly: the same operations in the same order, on the values that the planes hold."""
    s, views, size = options.get("samples", 1), 2, (31, 40)
    rgb = rng.uniform(-0.2, 1.2, (views, 3, 12 * s, 20 * s)).astype(np.float32)
    alpha, mask = (rng.uniform(-0.3, 1.3, (views, 1, 12 * s, 20 * s)).astype(np.float32) for _ in range(2))
    alpha[:, 0, 0, :5], rgb[:, 0, 1, :3], alpha[:, 0, 2] = np.nan, np.nan, 0
    depth = (rng.uniform(1, 3, (views, 12 * s, 20 * s)) * (rng.random((views, 12 * s, 20 * s)) < 0.7)).astype(
        np.float32
    )
    for origins in (((3, 5), (0, 0)), ((-7, -3), (30, 25)), ((100, 0), (0, -50))):
        for m in (None, mask):
            got, got_depth = run_compose(
                gpu, rgb, alpha, size, mask=m, depth=depth, origins=origins, dtype=dtype, **options
            )
            for i, origin in enumerate(origins):
                held = [
                    np.ascontiguousarray(x[i].astype(dtype).astype(np.float32)) for x in (rgb, alpha, mask)
                ]
                want, want_depth = np.empty((*size, 4), np.uint8), np.empty(size, np.float32)
                compose(
                    held[0],
                    held[1][0],
                    mask=None if m is None else held[2][0],
                    origin=origin,
                    out=want,
                    depth=depth[i],
                    depth_out=want_depth,
                    **options,
                )
                np.testing.assert_array_equal(got[i], want)
                np.testing.assert_array_equal(got_depth[i], want_depth)


@pytest.mark.parametrize("options", [dict(samples=2), dict(threshold=0.4), dict(background=(0.2, 0.5, 1.0))])
def test_compose_equals_reference(gpu, rng, options):
    s = options.get("samples", 1)
    rgb, alpha, mask = (rng.random((1, n, 12 * s, 20 * s)).astype(np.float32) for n in (3, 1, 1))
    got, _ = run_compose(gpu, rgb, alpha, (31, 40), mask=mask, origins=((3, 5),), **options)
    want, _ = reference_compose.compose(
        rgb[0], alpha[0, 0], mask=mask[0, 0], origin=(3, 5), size=(31, 40), **options
    )
    np.testing.assert_allclose(got[0], want, atol=0.51)


def test_compose_a_network_output_without_depth(gpu, rng):
    rgb, alpha = rng.random((1, 3, 64, 96)).astype(np.float32), rng.random((1, 1, 64, 96)).astype(np.float32)
    got, depth = run_compose(gpu, rgb, alpha, (64, 96))
    assert depth is None
    np.testing.assert_array_equal(got[0], compose(rgb[0], alpha[0, 0]))


def test_half_conversions(gpu):
    """Every fp16 value there and back, and rounding to nearest even between them, through gather and
    compose's own loads."""
    values = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = values[np.isfinite(values)].astype(np.float32)
    between = ((finite[1:] + finite[:-1]) / 2)[np.sign(finite[1:]) == np.sign(finite[:-1])]
    texels = np.concatenate(
        [
            finite,
            between,
            np.nextafter(between, np.float32(np.inf)),
            np.nextafter(between, np.float32(-np.inf)),
        ]
    )
    texels = np.clip(texels, -65504, 65504)
    n = len(texels)
    width = 512
    texture = np.zeros((-(-n // width), width, 1), np.float32)
    texture.reshape(-1)[:n] = texels
    H, W = texture.shape[:2]
    quad = np.array([[0, 0, 1], [W, 0, 1], [W, H, 1], [0, H, 1]], np.float32)
    # texel centres at pixel centres
    uv = np.array(
        [
            [-0.5 / (W - 1), -0.5 / (H - 1)],
            [(W - 0.5) / (W - 1), -0.5 / (H - 1)],
            [(W - 0.5) / (W - 1), (H - 0.5) / (H - 1)],
            [-0.5 / (W - 1), (H - 0.5) / (H - 1)],
        ],
        np.float32,
    )
    faces = np.array([[0, 3, 2], [0, 2, 1]], np.int32)
    raster = rasterize(quad, faces, (H, W), cull=False)
    assert isinstance(raster, Raster) and (raster.triangle_id >= 0).all()
    want = gather_uv(raster, uv, faces, texture.astype(np.float16).astype(np.float32))
    _, (features,), _ = gpu.rasterize(
        quad[None], faces, (H, W), uv=uv, uv_faces=faces, texture=texture, dtype=np.float16, cull=False
    )
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(features[0], want[0].astype(np.float16))
