"""Networks against plain re-statements of their formulas, written here from state-dict entries and without
our modules."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dinar_live.export.checkpoint import load_checkpoint
from dinar_live.export.networks import blocks, generator, random_state_dict
from dinar_live.export.networks.model import PREFIXES
from dinar_live.export.networks.renderer import composite
from dinar_live.export.networks.unet import timestep_embedding
from dinar_live.runtime.core.errors import InputError

SMALL = ("encoder", "generator", "vq", "renderer", "discriminator")


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(random_state_dict(3), networks=SMALL)


def upfirdn_by_definition(
    x: np.ndarray, kernel: np.ndarray, up: int, down: int, pad: tuple[int, int]
) -> np.ndarray:
    """[H,W]: zeros in, zeros around, sum of shifted copies with the kernel turned round, every down-th
    kept."""
    height, width = x.shape
    spread = np.zeros((height * up, width * up))
    spread[::up, ::up] = x
    spread = np.pad(spread, pad)
    k = len(kernel)
    out = np.zeros((spread.shape[0] - k + 1, spread.shape[1] - k + 1))
    for i in range(k):
        for j in range(k):
            out += kernel[k - 1 - i, k - 1 - j] * spread[i : i + out.shape[0], j : j + out.shape[1]]
    return out[::down, ::down]


@pytest.mark.parametrize(("up", "pad"), [(1, (2, 2)), (1, (1, 1)), (2, (2, 1)), (1, (0, 3))])
def test_upfirdn(up, pad):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 3, 6, 5)), rng.normal(size=(4, 4))
    got = blocks.upfirdn(torch.from_numpy(x), torch.from_numpy(kernel), up, pad).numpy()
    for b in range(2):
        for c in range(3):
            np.testing.assert_allclose(
                got[b, c], upfirdn_by_definition(x[b, c], kernel, up, 1, pad), atol=1e-12
            )


def test_blur_kernel_is_a_partition_of_one():
    np.testing.assert_allclose(blocks.binomial_kernel().numpy() * 64, np.outer([1, 3, 3, 1], [1, 3, 3, 1]))


def blur(x: torch.Tensor, gain: float, pad: tuple[int, int], up: int = 1) -> torch.Tensor:
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * gain
    planes = x.numpy().reshape(-1, *x.shape[2:])
    done = np.stack([upfirdn_by_definition(plane, kernel, up, 1, pad) for plane in planes])
    return torch.from_numpy(done).to(x.dtype).reshape(*x.shape[:2], *done.shape[1:])


def lrelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def modulated(
    w: dict, name: str, x: torch.Tensor, style: torch.Tensor, demodulate: bool = True, upsample: bool = False
) -> torch.Tensor:
    """Per-sample weights, as StyleGAN2 states it."""
    weight = w[name + ".weight"][0]
    out_channels, in_channels, k, _ = weight.shape
    images = []
    for b in range(len(x)):
        s = w[name + ".modulation.weight"] @ style[b] / math.sqrt(512) + w[name + ".modulation.bias"]
        own = weight / math.sqrt(in_channels * k * k) * s[None, :, None, None]
        if demodulate:
            own = own / torch.sqrt((own**2).sum((1, 2, 3), keepdim=True) + 1e-8)
        if upsample:
            image = blur(F.conv_transpose2d(x[b : b + 1], own.transpose(0, 1), stride=2), 4, (1, 1))
        else:
            image = F.conv2d(x[b : b + 1], own, padding=k // 2)
        images.append(image)
    return torch.cat(images)


def reference_generator(w: dict, style: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
    def styled(name, x, n, upsample=False):
        x = modulated(w, name + ".conv", x, style, upsample=upsample)
        return lrelu(x + w[name + ".noise.weight"] * n, w[name + ".activate.bias"])

    x = styled("conv1", w["input.input"].repeat(len(style), 1, 1, 1), noise[0])
    texture = modulated(w, "to_rgb1.conv", x, style, demodulate=False) + w["to_rgb1.bias"]
    for j in range(6):
        x = styled(f"convs.{2 * j}", x, noise[1 + 2 * j], upsample=True)
        x = styled(f"convs.{2 * j + 1}", x, noise[2 + 2 * j])
        texture = (
            modulated(w, f"to_rgbs.{j}.conv", x, style, demodulate=False)
            + w[f"to_rgbs.{j}.bias"]
            + blur(texture, 4, (2, 1), up=2)
        )
    return texture


@torch.inference_mode()
def test_generator(model):
    rng = torch.Generator().manual_seed(1)
    style = torch.randn(2, 512, generator=rng)
    noise = model.generator.fresh_noise(2, rng)
    noise[3] = noise[3][:1]  # one map for the whole batch
    expected = reference_generator(model.generator.state_dict(), style, noise)
    assert expected.std() > 0.5
    assert (model.generator(style, noise) - expected).abs().max() < 1e-4


@torch.inference_mode()
def test_generator_noise(model):
    style = torch.randn(1, 512)
    stored = model.generator(style, model.generator.noises)
    torch.manual_seed(5)
    fresh = model.generator(style)
    assert not torch.equal(fresh, model.generator(style)) and not torch.equal(fresh, stored)
    torch.manual_seed(5)
    assert torch.equal(fresh, model.generator(style, model.generator.fresh_noise()))
    assert [n.shape[-1] for n in model.generator.noises] == [
        4,
        8,
        8,
        16,
        16,
        32,
        32,
        64,
        64,
        128,
        128,
        256,
        256,
    ]
    with pytest.raises(InputError, match="12 maps, expected 13"):
        model.generator(style, list(model.generator.noises)[:12])
    with pytest.raises(InputError, match=r"noise\[1\]"):
        model.generator(style, [model.generator.noises[0]] * 13)


@torch.inference_mode()
def test_modulated_conv_with_zero_style_stays_finite():
    layer = generator.ModulatedConv2d(3, 4, 3)
    layer.modulation.bias.data.zero_()
    assert torch.equal(layer(torch.ones(1, 3, 8, 8), torch.zeros(1, 512)), torch.zeros(1, 4, 8, 8))


@torch.inference_mode()
def test_discriminator(model):
    w = model.discriminator.state_dict()
    rgb = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(2)) * 2 - 1

    def conv(name, x, stride=1, padding=0):
        weight = w[name]
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)

    def soft(x, pad):
        k = (torch.tensor([1.0, 3, 3, 1]) / 8).repeat(x.shape[1], 1)
        x = F.conv2d(F.pad(x, (pad,) * 4), k[:, None, None], groups=x.shape[1])
        return F.conv2d(x, k[:, None, :, None], groups=x.shape[1])

    x = lrelu(conv("convs.0.0.weight", rgb), w["convs.0.1.bias"])
    for i in range(1, 8):
        p = f"convs.{i}."
        h = lrelu(conv(p + "conv1.0.weight", x, padding=1), w[p + "conv1.1.bias"])
        h = lrelu(conv(p + "conv2.1.weight", soft(h, 2), stride=2), w[p + "conv2.2.bias"])
        x = (h + conv(p + "skip.1.weight", soft(x, 1), stride=2)) / math.sqrt(2)
    x = lrelu(conv("final_conv.0.weight", x, padding=1), w["final_conv.1.bias"]).reshape(1, 4096)
    x = lrelu(x @ w["final_linear.0.weight"].T / math.sqrt(4096), w["final_linear.0.bias"])
    expected = x @ w["final_linear.1.weight"].T / math.sqrt(256) + w["final_linear.1.bias"]
    got = model.discriminator(rgb)
    assert got.shape == (1, 1)
    assert (got - expected).abs().max() < 2e-5 * max(1, expected.abs().max())


def test_timestep_embedding():
    t = np.array([0, 1, 996])
    k = np.arange(128)
    phase = t[:, None] * np.exp(-np.log(10000) * k / 128)
    expected = np.concatenate([np.cos(phase), np.sin(phase)], 1)
    np.testing.assert_allclose(
        timestep_embedding(torch.from_numpy(t)).numpy(), expected, atol=1e-4
    )  # float32 phases up to 996


def group_norm(w, name, x, groups, eps):
    grouped = x.reshape(len(x), groups, -1)
    centred = grouped - grouped.mean(2, keepdim=True)
    x = (centred / torch.sqrt(centred.square().mean(2, keepdim=True) + eps)).reshape(x.shape)
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * w[name + ".weight"].view(shape) + w[name + ".bias"].view(shape)


def reference_unet(w: dict, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    def silu(v):
        return v / (1 + torch.exp(-v))

    def conv(name, v, padding=1):
        return F.conv2d(v, w[name + ".weight"], w[name + ".bias"], padding=padding)

    def res(p, v, emb, resample):
        h = silu(group_norm(w, p + ".in_layers.0", v, 8, 1e-5))
        if resample == "down":
            h, v = (
                (a[..., ::2, ::2] + a[..., 1::2, ::2] + a[..., ::2, 1::2] + a[..., 1::2, 1::2]) / 4
                for a in (h, v)
            )
        if resample == "up":
            h, v = (a.repeat_interleave(2, 2).repeat_interleave(2, 3) for a in (h, v))
        h = conv(p + ".in_layers.2", h)
        h = h + (silu(emb) @ w[p + ".emb_layers.1.weight"].T + w[p + ".emb_layers.1.bias"])[:, :, None, None]
        h = conv(p + ".out_layers.3", silu(group_norm(w, p + ".out_layers.0", h, 8, 1e-5)))
        return h + (conv(p + ".skip_connection", v, 0) if p + ".skip_connection.weight" in w else v)

    def attend(p, v):
        batch, channels, height, width = v.shape
        tokens = group_norm(w, p + ".norm", v.reshape(batch, channels, -1), 8, 1e-5)
        qkv = torch.einsum("oc,bct->bot", w[p + ".qkv.weight"][:, :, 0], tokens) + w[p + ".qkv.bias"][:, None]
        each = channels // 8
        heads = []
        for head in range(8):
            q, k, u = (qkv[:, (3 * head + i) * each : (3 * head + i + 1) * each] for i in range(3))
            weight = torch.softmax(torch.einsum("bct,bcs->bts", q * each**-0.25, k * each**-0.25), 2)
            heads.append(torch.einsum("bts,bcs->bct", weight, u))
        out = (
            torch.einsum("oc,bct->bot", w[p + ".proj_out.weight"][:, :, 0], torch.cat(heads, 1))
            + w[p + ".proj_out.bias"][:, None]
        )
        return v + out.reshape(v.shape)

    def stage(p, v, emb, resample=None):
        for i in range(3):
            if f"{p}.{i}.norm.weight" in w:
                v = attend(f"{p}.{i}", v)
            elif f"{p}.{i}.in_layers.0.weight" in w:
                v = res(f"{p}.{i}", v, emb, resample if resample == "down" or i == 2 else None)
            elif f"{p}.{i}.weight" in w:
                v = conv(f"{p}.{i}", v)
        return v

    phase = t[:, None].double() * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float64) / 128)
    emb = torch.cat([torch.cos(phase), torch.sin(phase)], 1).float()
    emb = (
        silu(emb @ w["time_embed.0.weight"].T + w["time_embed.0.bias"]) @ w["time_embed.2.weight"].T
        + w["time_embed.2.bias"]
    )
    h = torch.cat([x, cond], 1)
    h = torch.cat([h[:, :8], conv("preproc_rgb.0", h[:, 8:11]), conv("preproc_segm.0", h[:, 11:13])], 1)
    kept = []
    for i in range(12):
        h = stage(f"input_blocks.{i}", h, emb, "down" if i in (3, 6, 9) else None)
        kept.append(h)
    h = stage("middle_block", h, emb)
    for i in range(12):
        h = stage(
            f"output_blocks.{i}", torch.cat([h, kept[11 - i]], 1), emb, "up" if i in (2, 5, 8) else None
        )
    return conv("out.2", silu(group_norm(w, "out.0", h, 8, 1e-5)))


@torch.inference_mode()
def test_unet():
    unet = load_checkpoint(random_state_dict(4), networks=("unet",)).unet
    rng = torch.Generator().manual_seed(6)
    x, cond = torch.randn(2, 6, 16, 16, generator=rng), torch.randn(2, 7, 16, 16, generator=rng)
    t = torch.tensor([996, 1])
    got = unet(x, t, cond)

    expected = reference_unet(unet.state_dict(), x[1:], t[1:], cond[1:])
    assert expected.std() > 0.3
    assert (got[1:] - expected).abs().max() < 5e-5

    low = unet.to(torch.bfloat16)(x, t, cond)
    assert low.dtype == torch.float32 and (low - got).abs().mean() < 0.05 * got.std()
    with pytest.raises(InputError, match="cond: got shape"):
        unet(x, t, cond[:, :6])
    with pytest.raises(InputError, match="t: got shape"):
        unet(x, t[:1], cond)


@torch.inference_mode()
def test_quantizer_takes_the_nearest_code_and_the_first_of_equals(model):
    codebook = model.vq.quantize
    codes = codebook.embedding.weight
    z = codes[torch.tensor([7, 8191, 0, 300])].T.reshape(1, 6, 2, 2)
    quantized, indices = codebook(z + 1e-4)
    assert indices.dtype == torch.int64 and indices.tolist() == [[[7, 8191], [0, 300]]]
    assert torch.equal(quantized, z)
    kept = codes[5000].clone()
    codes[5000] = codes[300]
    assert codebook(z)[1][0, 1, 1] == 300
    codes[5000] = kept


@torch.inference_mode()
def test_vq_forward_is_encode_then_decode_of_the_nearest_codes(model, monkeypatch):
    z = torch.randn(1, 6, 64, 64)
    monkeypatch.setattr(model.vq, "encode", lambda texture: z + texture.mean())
    monkeypatch.setattr(model.vq, "decode_codes", lambda quantized: quantized)
    assert torch.equal(model.vq(torch.zeros(1, 21, 256, 256)), model.vq.quantize(z)[0])
    with pytest.raises(InputError, match="latent"):
        model.vq.decode(z[..., :32])


def test_renderer_gradient_reaches_the_texture_and_training_mode_changes_nothing(model):
    renderer = model.renderer
    uv = torch.rand(1, 2, 32, 40) * 2 - 1
    mask = torch.ones(1, 1, 32, 40)
    texture = torch.randn(1, 21, 256, 256, requires_grad=True)
    rgb, alpha = renderer(uv, mask, texture)
    rgb.sum().backward()
    assert torch.isfinite(texture.grad).all() and (texture.grad[:, 16:19] != 0).any()
    assert all(p.grad is None for p in renderer.parameters())
    renderer.train()
    assert torch.equal(renderer(uv, mask, texture)[0], rgb) and (alpha == 1).all()
    renderer.eval()
    assert int(renderer.rgb_head[0].num_batches_tracked) == 0


def test_renderer_refuses_sizes_its_levels_cannot_halve(model):
    with pytest.raises(InputError, match="250x256, expected multiples of 8"):
        model.renderer(torch.zeros(1, 2, 250, 256), torch.zeros(1, 1, 250, 256), torch.zeros(1, 21, 256, 256))
    with pytest.raises(InputError, match="uv_mask"):
        model.renderer(torch.zeros(1, 2, 64, 64), torch.zeros(1, 1, 64, 32), torch.zeros(1, 21, 256, 256))


def test_composite_without_background_ignores_the_threshold():
    rgb, alpha, mask = (
        torch.full((1, 3, 1, 3), 0.5),
        torch.tensor([[[[0.2, 0.6, 0.1]]]]),
        torch.tensor([[[[0.0, 0.0, 1.0]]]]),
    )
    out, a = composite(rgb, alpha, mask, None, 0.5)
    np.testing.assert_allclose(a[0, 0, 0], [0.2, 0.6, 1.0])
    np.testing.assert_allclose(out[0, 0, 0], [-0.8, -0.4, 0.0], atol=1e-6)
    _, sharp = composite(rgb, alpha, mask, torch.ones(1, 3, 1, 3), 0.5)
    # (1 - e^(-2)) (1 + e^(-7)) = 0.86545
    np.testing.assert_allclose(sharp[0, 0, 0], [0.0, 0.86545, 1.0], atol=1e-5)


def test_encoder_and_discriminator_name_a_wrong_input(model):
    good = torch.zeros(1, 3, 512, 512)
    with pytest.raises(InputError, match="mask: got shape"):
        model.encoder(good, good, good[:, :1])
    with pytest.raises(InputError, match="rgb: got shape"):
        model.discriminator(good[..., :256])


def test_random_weights_are_seeded_and_reach_every_network():
    a, b, c = random_state_dict(1), random_state_dict(1), random_state_dict(2)
    key = PREFIXES["encoder"] + "convs.0.0.weight"
    assert torch.equal(a[key], b[key]) and not torch.equal(a[key], c[key])
    assert all(any(key.startswith(prefix) for key in a) for prefix in PREFIXES.values())
