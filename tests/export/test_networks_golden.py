"""Networks against published numbers: ../shared/golden, with the tolerances that its README gives."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from dinar_live.export.checkpoint import load_checkpoint
from dinar_live.export.networks import DinarModel, UvLayout, noise_schedule
from dinar_live.export.networks.model import PREFIXES
from dinar_live.export.networks.renderer import composite

NETWORKS = ("encoder", "vq", "renderer")


@pytest.fixture(scope="module")
def fill(shared):
    spec = importlib.util.spec_from_file_location("golden_fill", shared / "golden" / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def published(shared):
    """Published full names to (shape, dtype), with the discriminator under its checkpoint prefix."""
    stored = json.loads((shared / "reference" / "official_state_dict.json").read_text())
    prefix = stored["discriminator_checkpoint_prefix"]
    return {
        **stored["latent_diffusion"],
        **{prefix + key: value for key, value in stored["discriminator"].items()},
    }


@pytest.fixture(scope="module")
def model(fill, published):
    prefixes = tuple(PREFIXES[name] for name in NETWORKS)
    weights = {
        key: fill.fill(key, shape) for key, (shape, _) in published.items() if key.startswith(prefixes)
    }
    return load_checkpoint(
        {key: value for key, value in weights.items() if value is not None}, networks=NETWORKS
    )


@pytest.fixture
def golden(shared):
    return lambda name: np.load(shared / "golden" / f"{name}.npz")


def worst(got: torch.Tensor, expected: np.ndarray) -> float:
    assert tuple(got.shape) == expected.shape
    return float(np.abs(got.numpy() - expected).max())


def test_names_shapes_and_types_are_the_published_ones(published):
    layout = UvLayout(np.zeros((20908, 3), np.int32), np.zeros((11438, 2), np.float32))
    with torch.device("meta"):
        state = DinarModel(uv_layout=layout).state_dict()
    got = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()}
    assert got == published
    assert len(got) == 1456 + 57


def test_layout_buffers_follow_the_body():
    layout = UvLayout(np.array([[0, 1, 2]], np.int32), np.array([[0, 0], [1, 0], [1, 1]], np.float32))
    model = DinarModel(networks=(), uv_layout=layout)
    state = model.state_dict()
    assert (
        state["first_stage.rasterizer.faces"].shape
        == state["first_stage.normal_rasterizer.faces"].shape
        == (1, 3)
    )
    np.testing.assert_array_equal(state["first_stage.rasterizer.vertice_values"], layout.uv)
    assert model.uv_layout.faces.dtype == np.int32 and DinarModel(networks=()).uv_layout is None


def test_schedule(golden):
    stored = golden("schedule")
    computed = noise_schedule()
    assert sorted(stored.files) == sorted(computed)
    for name, values in computed.items():
        # 1e-6 relative, plus float32's own spacing where 1 - alpha-bar cancels
        np.testing.assert_allclose(
            values.astype(np.float32), stored[name], rtol=1e-6, atol=1e-12, err_msg=name
        )


@torch.inference_mode()
def test_encoder(model, fill, golden):
    rgb = torch.from_numpy(fill.rand01(20, 1, 3, 512, 512) * 2 - 1)
    mask = torch.from_numpy(fill.make_uv(512, 512)[1])
    noise = torch.from_numpy(fill.rand(21, 1, 1, 512, 512))
    stored = golden("encoder")
    assert worst(model.encoder(rgb, mask, noise), stored["style"]) < 2e-5
    x = torch.cat([rgb, mask, noise], 1)
    for layer, expected in zip(model.encoder.convs, stored["conv_stats"], strict=True):
        x = layer(x)
        np.testing.assert_allclose([x.mean(), x.std(), x.min(), x.max()], expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_vq_encode(model, fill, golden):
    assert worst(model.vq.encode(torch.from_numpy(fill.make_texture())), golden("vqmodel")["z_encode"]) < 5e-5


@torch.inference_mode()
def test_vq_decode(model, fill, golden):
    stored = golden("vqmodel")
    codes = fill.fill("first_stage.compress_branch.quantize.embedding.weight", (8192, 6))
    z = codes[np.random.RandomState(41).randint(0, 8192, 4096)] + 0.03 * fill.rand(42, 4096, 6)
    z = torch.from_numpy(np.ascontiguousarray(z.reshape(1, 64, 64, 6).transpose(0, 3, 1, 2)))
    quantized, indices = model.vq.quantize(z)
    np.testing.assert_array_equal(indices.numpy().ravel(), stored["decode_idx"])
    assert worst(quantized[..., ::4, ::4], stored["quant"]) < 1e-7
    texture = model.vq.decode(z)
    assert worst(texture[..., ::8, ::8], stored["decode_s"]) < 5e-5
    assert worst(texture[..., 100:116, 100:116], stored["decode_crop"]) < 5e-5
    assert worst(texture[..., :8, :8], stored["decode_corner"]) < 5e-5
    assert worst(texture[..., -8:, -8:], stored["decode_br"]) < 5e-5


@torch.inference_mode()
def test_renderer(model, fill, golden):
    size, step = 256, 2
    stored = golden("renderer_256")
    uv, mask = (torch.from_numpy(a) for a in fill.make_uv(size, size))
    texture = torch.from_numpy(fill.make_texture())
    white = torch.ones(1, 3, size, size)
    renderer = model.renderer
    rgb, alpha = renderer(uv, mask, texture, white)
    middle = slice(size // 2 - 16, size // 2 + 16)
    sparse = (..., slice(None, None, 2 * step), slice(None, None, 2 * step))
    assert worst(rgb[..., ::step, ::step], stored["fake_rgb_s"]) < 1e-4
    assert worst(alpha[..., ::step, ::step], stored["fake_segm_s"]) < 1e-4
    assert worst(rgb[..., middle, middle], stored["fake_rgb_crop"]) < 1e-4
    assert worst(rgb[..., :16, :16], stored["fake_rgb_corner"]) < 1e-4

    # the parts that baking, folding and the exported network are made of
    sampled = renderer.sample(renderer.bake_texture(texture), uv, mask)
    features = renderer.image_features(sampled, uv, mask)
    assert worst(features[sparse], stored["features_s"]) < 2e-4
    assert worst(renderer.rgb_head(features)[sparse], stored["raw_rgb_s"]) < 1e-4
    assert worst(renderer.segm_head(features)[sparse], stored["raw_segm_s"]) < 1e-4
    assert worst(renderer.uv_preproc(uv)[sparse], stored["uv_preproc_s"]) < 1e-4
    assert worst(renderer.uv_mask_preproc(mask)[sparse], stored["uv_mask_preproc_s"]) < 1e-4
    colour, soft = renderer.render_sampled(torch.cat([sampled, uv, mask], 1))
    assert worst(soft[sparse], stored["softsegm_segm_s"]) < 1e-4
    assert worst(composite(colour, soft, mask)[0][sparse], stored["nobg_rgb_s"]) < 1e-4
    sharp_rgb, sharp_alpha = composite(colour, soft, mask, white, threshold=0.5)
    assert worst(sharp_rgb[sparse], stored["thr05_rgb_s"]) < 5e-3
    assert worst(sharp_alpha[sparse], stored["thr05_segm_s"]) < 5e-3
