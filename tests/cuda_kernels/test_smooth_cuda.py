"""smooth_edges in CUDA against the float64 reference and the CPU's, for planes and for blocks."""

import importlib.util
import pathlib

import numpy as np
import pytest

from dinar_live.kernels import (
    cuda,
    gather_half,
    gather_uv,
    rasterize,
    smooth_edges,
    smooth_edges_half,
)
from dinar_live.kernels.reference.smooth_edges import smooth_edges as reference

pytestmark = pytest.mark.gpu
FILE = pathlib.Path(__file__).parents[1] / "kernels" / "test_smooth_edges.py"
spec = importlib.util.spec_from_file_location("smooth_scenes", FILE)
scenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scenes)
SIZE = scenes.SIZE
ORIGINS = ((0, 0), (4, -6))


def on_gpu(gpu, views, surface, texture, dtype, neural=None):
    """Everything of the window up to its edges: scene, parameters, vertices, target, and the finer one."""
    scene = cuda.DeviceScene(
        gpu.device, views.shape[1], surface.faces, surface.uv, surface.uv_faces, texture, dtype, neural
    )
    target = cuda.RasterTarget(gpu.device, *SIZE, len(surface.faces), len(views))
    fine = cuda.RasterTarget(gpu.device, 2 * SIZE[0], 2 * SIZE[1], len(surface.faces), len(views))
    for t in (target, fine):
        t.visibility.fill_bytes(0xEE, gpu.stream)
    return scene, gpu.parameters(origins=ORIGINS[: len(views)]), gpu.device.upload(views), target, fine


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("straight", [False, True])
def test_planes(gpu, dtype, straight):
    for seed in range(3):
        projective, surface, texture = scenes.scene(np.random.default_rng(seed))
        views = np.stack([projective, projective + np.float32([3, 1, 0])])
        scene, p, flat, target, fine = on_gpu(gpu, views, surface, texture, dtype)
        features = gpu.poisoned((2, texture.shape[2] + 3, *SIZE), dtype)
        depth = gpu.poisoned((2, *SIZE), np.float32)
        program = gpu.program
        frame = (scene, p, flat, target)
        steps = program.rasterize(*frame) + program.gather(*frame, features, depth)
        steps += program.smooth_edges(*frame, fine, features, depth, straight=straight)
        program.run(gpu.stream, steps)
        got, got_depth = features.numpy(gpu.stream), depth.numpy(gpu.stream)
        limit = 2**-10 if dtype == np.float16 else 2e-6
        for v, origin, planes, z in zip(views, ORIGINS, got, got_depth, strict=True):
            raster = rasterize(v, surface.faces, SIZE, origin=origin)
            want = gather_uv(raster, surface.uv, surface.uv_faces, texture)
            exact = reference(
                v,
                surface,
                raster.triangle_id,
                want[:3],
                want[-1],
                origin=origin,
                straight=straight,
            )
            marked = smooth_edges(surface, v, raster, want[:3], want[-1], origin=origin, straight=straight)
            assert marked > 20
            np.testing.assert_array_equal(planes[-1], want[-1])  # shares of four: exact in fp16 too
            np.testing.assert_allclose(planes[:3], want[:3], rtol=0, atol=limit)
            np.testing.assert_allclose(z, raster.depth, rtol=1e-5)
            colour, mask, _, uncertain = exact
            np.testing.assert_array_equal(planes[-1][~uncertain], mask[~uncertain])
            np.testing.assert_allclose(
                planes[:3][:, ~uncertain], colour[:, ~uncertain], rtol=0, atol=limit + 2e-4
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_blocks(gpu, rng, dtype):
    projective, surface, texture = scenes.scene(rng)
    neural = rng.random((9, 11, 5), np.float32)
    padded = np.concatenate([texture, np.ones_like(texture[..., :1])], 2)
    scene, p, flat, target, fine = on_gpu(gpu, projective[None], surface, texture, dtype, neural)
    features = gpu.poisoned((1, 16 + 5, SIZE[0] // 2, SIZE[1] // 2), dtype)
    program, frame = gpu.program, (scene, p, flat, target)
    steps = program.rasterize(*frame) + program.gather_half(*frame, features)
    program.run(gpu.stream, steps + program.smooth_edges(*frame, fine, features))
    raster = rasterize(projective, surface.faces, SIZE)
    want = gather_half(raster, surface.uv, surface.uv_faces, padded, neural)
    assert smooth_edges_half(surface, projective, raster, want) > 20
    limit = 2**-10 if dtype == np.float16 else 2e-6
    np.testing.assert_allclose(features.numpy(gpu.stream)[0], want.transpose(2, 0, 1), rtol=0, atol=limit)


def test_a_view_may_be_left_as_it_is(gpu, rng):
    """And what was drawn into the finer raster before does not matter then."""
    projective, surface, texture = scenes.scene(rng)
    views = np.stack([projective, projective])
    scene, p, flat, target, fine = on_gpu(gpu, views, surface, texture, np.float32)
    features = gpu.poisoned((2, texture.shape[2] + 3, *SIZE), np.float32)
    p.host["origins"][...] = 0
    p.host["smooth"][...] = 0, 1
    p.upload(gpu.stream)
    program, frame = gpu.program, (scene, p, flat, target)
    steps = program.rasterize(*frame) + program.gather(*frame, features)
    steps += program.smooth_edges(*frame, fine, features)
    program.run(gpu.stream, steps)
    plain, smooth = features.numpy(gpu.stream)
    raster = rasterize(projective, surface.faces, SIZE)
    want = gather_uv(raster, surface.uv, surface.uv_faces, texture)
    np.testing.assert_array_equal(plain[-1], want[-1])
    assert np.isin(plain[-1], (0, 1)).all() and not np.isin(smooth[-1], (0, 1)).all()
    p.host["smooth"][...] = 0
    p.upload(gpu.stream)
    program.run(gpu.stream, steps)
    again = features.numpy(gpu.stream)
    np.testing.assert_array_equal(again[0], again[1])


def test_what_does_not_fit_is_refused(gpu, rng):
    projective, surface, texture = scenes.scene(rng)
    scene, p, flat, target, fine = on_gpu(gpu, projective[None], surface, texture, np.float16)
    features = gpu.device.empty((1, 6, *SIZE), np.float16)
    program = gpu.program
    with pytest.raises(ValueError, match="fine is 1 x 24 x 40; expected twice"):
        program.smooth_edges(scene, p, flat, target, target, features)
    with pytest.raises(ValueError, match="features has 5 channels; expected 6"):
        program.smooth_edges(scene, p, flat, target, fine, gpu.device.empty((1, 5, *SIZE), np.float16))
    with pytest.raises(ValueError, match="features is float32"):
        program.smooth_edges(scene, p, flat, target, fine, gpu.device.empty((1, 6, *SIZE), np.float32))
