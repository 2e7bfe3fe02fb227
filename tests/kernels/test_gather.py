"""gather_uv against the float64 reference and torch grid_sample."""

import numpy as np
import pytest

from dinar_live.kernels import Raster, gather_uv
from dinar_live.kernels.reference.gather import gather_uv as reference


def scene(rng, size, faces=30, uvs=50, texture=(23, 31, 24), covered=0.5, run=20):
    """A raster of random ids in runs, as a picture of a body has them, and random texture coordinates."""
    H, W = size
    n = H * W
    runs = np.repeat(rng.random(n // run + 2) < covered, rng.integers(1, 2 * run, n // run + 2))
    runs = np.resize(runs, n).reshape(H, W)
    ids = np.where(runs, rng.integers(0, faces, (H, W)), -1).astype(np.int32)
    b = rng.dirichlet((1, 1, 1), (H, W)).astype(np.float32)
    b[ids < 0] = 0
    uv = rng.random((uvs, 2)).astype(np.float32)
    uv[:4] = [[0, 0], [1, 0], [0, 1], [1, 1]]
    return (
        Raster(ids, b, np.where(ids < 0, 0, 1).astype(np.float32)),
        uv,
        rng.integers(0, uvs, (faces, 3)).astype(np.int32),
        rng.random(texture).astype(np.float32),
    )


def gather(raster, uv, uv_faces, texture, **options):
    H, W = raster.triangle_id.shape
    out = np.full((texture.shape[2] + 3, H, W), np.nan, np.float32)
    assert gather_uv(raster, uv, uv_faces, texture, out=out, **options) is out
    return out


def equals_reference(got, raster, uv, uv_faces, texture):
    # A texel coordinate in float32 is known to about 3e-7 of the texture's size, and neighbouring texels
    # differ by up to 1.
    np.testing.assert_allclose(
        got, reference(*raster[:2], uv, uv_faces, texture), rtol=0, atol=1e-6 + 3e-7 * max(texture.shape[:2])
    )


def check(arguments):
    got = gather(*arguments)
    equals_reference(got, *arguments)
    empty = arguments[0].triangle_id < 0
    C = arguments[3].shape[2]
    assert (
        (got[:C, empty] == 0).all() and (got[C : C + 2, empty] == -10).all() and (got[C + 2] == ~empty).all()
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 9, 15, 16, 21, 24, 63, 64])
def test_any_number_of_channels(rng, channels):
    check(scene(rng, (33, 57), texture=(19, 23, channels)))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (16, 16), (5, 1000), (64, 65)])
@pytest.mark.parametrize("covered", [0, 0.02, 0.5, 1])
def test_any_size_and_coverage(rng, size, covered):
    check(scene(rng, size, covered=covered))


@pytest.mark.parametrize("texture", [(1, 1, 5), (1, 8, 5), (8, 1, 9), (2, 2, 3), (64, 3, 16)])
def test_small_textures(rng, texture):
    check(scene(rng, (20, 20), texture=texture))


def test_outside_the_texture_is_zero(rng):
    raster, uv, uv_faces, texture = scene(rng, (40, 40))
    check((raster, (uv * 3 - 1).astype(np.float32), uv_faces, texture))
    far = np.where(uv < 0.5, np.float32(-1e30), np.float32(1e30))
    C = texture.shape[2]
    assert (gather(raster, far, uv_faces, texture)[:C] == 0).all()
    far[:] = np.nan
    assert (gather(raster, far, uv_faces, texture)[:C] == 0).all()


@pytest.mark.parametrize("channels, size", [(24, (128, 64)), (24, (512, 512)), (24, (500, 503))])
def test_large_and_small_outputs_alike(rng, channels, size):
    """The large one is written past the caches, at any alignment of the output."""
    arguments = scene(rng, size, texture=(64, 64, channels), run=200)
    want = gather(*arguments, threads=1)
    equals_reference(want, *arguments)
    room = np.empty(want.size + 16, np.float32)
    for shift in (0, 1, 3, 4, 8, 15):
        room[:] = np.nan
        out = room[shift : shift + want.size].reshape(want.shape)
        gather_uv(*arguments, out=out, threads=2)
        assert out.tobytes() == want.tobytes()
        assert np.isnan(room[:shift]).all() and np.isnan(room[shift + want.size :]).all()


def test_equals_torch_grid_sample(rng):
    torch = pytest.importorskip("torch")
    raster, uv, uv_faces, texture = scene(rng, (64, 48), texture=(256, 200, 16))
    uv = (uv * 1.2 - 0.1).astype(np.float32)
    got = gather(raster, uv, uv_faces, texture)
    grid = torch.from_numpy(got[16:18]).permute(1, 2, 0)[None]
    want = torch.nn.functional.grid_sample(
        torch.from_numpy(texture).permute(2, 0, 1)[None],
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )[0].numpy() * (raster.triangle_id >= 0)
    # grid_sample sees u and v after their float32 rounding to 2u-1: up to 1e-5 texels apart on noise
    np.testing.assert_allclose(got[:16], want, atol=1e-4)
    smooth = np.add.outer(np.linspace(0, 1, 256), np.linspace(0, 0.5, 200))[..., None].astype(np.float32)
    inner = np.abs(got[16:18]).max(0) < 0.98
    want = torch.nn.functional.grid_sample(
        torch.from_numpy(smooth).permute(2, 0, 1)[None], grid, mode="bilinear", align_corners=True
    )[0, 0]
    np.testing.assert_allclose(gather(raster, uv, uv_faces, smooth)[0][inner], want.numpy()[inner], atol=1e-6)


def test_same_bits_for_every_thread_count_and_instruction_set(rng, variants):
    arguments = scene(rng, (130, 97), texture=(50, 60, 21))
    assert len({gather(*arguments, threads=t).tobytes() for _ in variants for t in (1, 2, 4, 0)}) == 1


def test_wrong_arguments_are_refused(rng):
    raster, uv, uv_faces, texture = scene(rng, (16, 16), covered=1)
    good = dict(raster=raster, uv=uv, uv_faces=uv_faces, texture=texture)
    for change, message in [
        (dict(raster=tuple(raster)), "raster is a tuple"),
        (dict(raster=raster._replace(barycentrics=raster.barycentrics[1:])), "raster.barycentrics has shape"),
        (
            dict(raster=raster._replace(triangle_id=raster.triangle_id.astype(np.int64))),
            "raster.triangle_id has dtype int64",
        ),
        (
            dict(raster=raster._replace(triangle_id=raster.triangle_id + np.int32(30))),
            "triangle_id refers to a face",
        ),
        (dict(uv=uv.T.copy()), "uv has shape"),
        (dict(uv=uv[:10].copy()), "uv_faces to a missing uv"),
        (dict(uv_faces=-uv_faces - np.int32(1)), "uv_faces to a missing uv"),
        (dict(uv_faces=uv_faces[:0]), "triangle_id refers to a face"),
        (dict(texture=texture.astype(np.float16)), "texture has dtype float16"),
        (dict(texture=texture[..., :0].copy()), "texture has shape"),
        (dict(texture=np.zeros((4, 4, 65), np.float32)), "texture has shape"),
        (dict(texture=texture[:, ::2]), "texture is not C-contiguous"),
        (dict(out=np.empty((27, 16, 15), np.float32)), "out has shape"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            gather_uv(**(good | change))
