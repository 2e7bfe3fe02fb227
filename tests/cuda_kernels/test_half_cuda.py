"""The CUDA kernels at half resolution against the CPU's: gathering within the rounding of fp16 or float32, compositing
to the bit."""

import numpy as np
import pytest

from dinar_live.kernels import compose_half, cuda, gather_half, rasterize

pytestmark = pytest.mark.gpu
SIZE = (38, 46)


def scene(rng, channels, triangles=60):
    """A pile of triangles with random texture coordinates, some of them outside the textures."""
    px = rng.uniform(-5, 50, (triangles, 1, 2)) + rng.normal(0, 8, (triangles, 3, 2))
    z = rng.uniform(1, 3, 3 * triangles)
    vertices = np.concatenate([px.reshape(-1, 2) * z[:, None], z[:, None]], 1).astype(np.float32)
    faces = np.arange(3 * triangles, dtype=np.int32).reshape(-1, 3)
    uv = rng.uniform(-0.1, 1.1, (50, 2)).astype(np.float32)
    uv_faces = rng.integers(0, 50, faces.shape).astype(np.int32)
    return (
        vertices,
        faces,
        uv,
        uv_faces,
        rng.random((31, 17, 4), np.float32),
        rng.random((9, 11, channels), np.float32),
    )


@pytest.mark.parametrize("channels", [0, 3, 8, 16, 48])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_gather(gpu, rng, channels, dtype):
    vertices, faces, uv, uv_faces, colour, neural = scene(rng, channels)
    views = np.stack([vertices, vertices + np.float32([3, 1, 0])])
    origins = ((0, 0), (4, -6))
    on_gpu = cuda.DeviceScene(
        gpu.device, len(vertices), faces, uv, uv_faces, colour[..., :3].copy(), dtype, neural
    )
    target = cuda.RasterTarget(gpu.device, *SIZE, len(faces), len(views))
    p = gpu.parameters(origins=origins)
    flat = gpu.device.upload(views)
    features = gpu.poisoned((2, 16 + channels, SIZE[0] // 2, SIZE[1] // 2), dtype)
    depth = gpu.poisoned((2, *SIZE), np.float32)
    target.visibility.fill_bytes(0xEE, gpu.stream)
    program = gpu.program
    steps = program.rasterize(on_gpu, p, flat, target, cull=False)
    program.run(gpu.stream, steps + program.gather_half(on_gpu, p, flat, target, features, depth))
    got, got_depth = features.numpy(gpu.stream), depth.numpy(gpu.stream)
    for v, origin, blocks, d in zip(views, origins, got, got_depth, strict=True):
        raster = rasterize(v, faces, SIZE, origin=origin, cull=False)
        want = gather_half(raster, uv, uv_faces, colour, neural).transpose(2, 0, 1)
        assert 0.3 < (want[3:16:4] > 0).mean() < 1
        same = (blocks[3:16:4] == want[3:16:4]).all(0)
        assert same.mean() > 1 - 1e-3
        limit = 2**-10 if dtype == np.float16 else 1e-5
        np.testing.assert_allclose(blocks[:, same], want[:, same], rtol=0, atol=limit)
        np.testing.assert_allclose(d, raster.depth, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(straight=True),
        dict(background=(0.2, 0.5, 1.0)),
        dict(threshold=0.3, hardsegm=True),
        dict(hardsegm=True, straight=True),
    ],
)
def test_compose(gpu, rng, options, dtype):
    """The CPU's bytes exactly: the same operations in the same order, on the values that the planes hold."""
    views, (h, w), size, channels = 2, (7, 11), (31, 40), 5
    seen = rng.random((views, h, w, 16 + channels), np.float32)
    seen[..., 3:16:4] = rng.random((views, h, w, 4)) < 0.6
    for c in range(3):
        seen[..., c:16:4] *= seen[..., 3:16:4]
    change = rng.normal(0, 0.4, (views, h, w, 16)).astype(np.float32)
    change[:, 0, :3] = np.nan
    seen, change = (a.astype(dtype) for a in (seen, change))
    depth = (rng.uniform(1, 3, (views, 2 * h, 2 * w)) * (rng.random((views, 2 * h, 2 * w)) < 0.7)).astype(
        np.float32
    )
    on_gpu = [gpu.device.upload(np.ascontiguousarray(a.transpose(0, 3, 1, 2))) for a in (seen, change)]
    near = gpu.device.upload(depth)
    for origins in (((4, 6), (0, 0)), ((-7, -3), (30, 25)), ((100, 0), (0, -50))):
        rgba, depth_out = gpu.poisoned((views, *size, 4), np.uint8), gpu.poisoned((views, *size), np.float32)
        p = gpu.parameters(origins=origins)
        planes = [cuda.Planes.of(a) for a in on_gpu]
        gpu.program.run(
            gpu.stream,
            gpu.program.compose_half(p, *planes, rgba, depth=near, depth_out=depth_out, **options),
        )
        got, got_depth = rgba.numpy(gpu.stream), depth_out.numpy(gpu.stream)
        for i, origin in enumerate(origins):
            want, want_depth = np.empty((*size, 4), np.uint8), np.empty(size, np.float32)
            compose_half(
                *(np.ascontiguousarray(a[i].astype(np.float32)) for a in (seen, change)),
                origin=origin, out=want, depth=depth[i], depth_out=want_depth, **options,
            )  # fmt: skip
            np.testing.assert_array_equal(got[i], want)
            np.testing.assert_array_equal(got_depth[i], want_depth)


def test_what_does_not_fit_is_refused(gpu, rng):
    vertices, faces, uv, uv_faces, colour, neural = scene(rng, 4)
    colour = colour[..., :3].copy()
    plain = cuda.DeviceScene(gpu.device, len(vertices), faces, uv, uv_faces, colour)
    both = cuda.DeviceScene(gpu.device, len(vertices), faces, uv, uv_faces, colour, neural=neural)
    p, flat = gpu.parameters(), gpu.device.upload(vertices[None])
    even, odd = (cuda.RasterTarget(gpu.device, h, 8, len(faces)) for h in (8, 7))
    features = gpu.device.empty((1, 20, 4, 4), np.float16)
    for on_gpu, target, says in ((plain, even, "neural"), (both, odd, "even")):
        with pytest.raises(ValueError, match=says):
            gpu.program.gather_half(on_gpu, p, flat, target, features)
    with pytest.raises(ValueError, match="features"):
        gpu.program.gather_half(both, p, flat, even, gpu.device.empty((1, 19, 4, 4), np.float16))
    planes = cuda.Planes.of(features)
    rgba = gpu.device.empty((1, 8, 8, 4), np.uint8)
    with pytest.raises(ValueError, match="correction"):
        gpu.program.compose_half(p, planes, cuda.Planes.of(gpu.device.empty((1, 16, 4, 5), np.float16)), rgba)
