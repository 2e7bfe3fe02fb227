"""Texture generator G (DINAR section 3.1): a style vector to the 16 generated channels of the neural texture,
by StyleGAN2 synthesis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinar_live.runtime.core.errors import InputError

from .blocks import Blur, EqualLinear, FusedLeakyReLU
from .encoder import STYLE_SIZE
from .shapes import expect

TEXTURE_CHANNELS = 16
CHANNELS = {4: 256, 8: 256, 16: 256, 32: 256, 64: 256, 128: 128, 256: 64}
NOISE_SIZES = (4, *(size for size in list(CHANNELS)[1:] for _ in range(2)))


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels a style scales; demodulated to unit variance; `upsample` doubles the
    size (StyleGAN2 section 2.2).

    Scaling the activations around one shared convolution equals the published per-sample weights and needs no
    grouped convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        demodulate: bool = True,
        upsample: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel, kernel))
        self.modulation = EqualLinear(STYLE_SIZE, in_channels, bias_init=1.0)
        if upsample:
            self.blur = Blur(pad=(1, 1), gain=4.0)
        self.scale = 1 / math.sqrt(in_channels * kernel * kernel)
        self.demodulate = demodulate
        self.upsample = upsample
        self.padding = kernel // 2

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x [B,in,H,W], style [B,512] -> [B,out,H,W], or [B,out,2H,2W] with upsample."""
        scales = self.modulation(style)  # [B,in]
        weight = self.weight[0] * self.scale  # [out,in,k,k]
        x = x * scales[:, :, None, None]
        if self.upsample:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        else:
            x = F.conv2d(x, weight, padding=self.padding)
        if self.demodulate:
            energy = F.linear(scales.square(), weight.square().sum((2, 3)))
            x = x * torch.rsqrt(energy + 1e-8)[:, :, None, None]
        return self.blur(x) if self.upsample else x


class NoiseStrength(nn.Module):
    """x + weight * noise; noise [1 or B,1,H,W]."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.weight * noise


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, upsample: bool = False):
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, upsample=upsample)
        self.noise = NoiseStrength()
        self.activate = FusedLeakyReLU(out_channels)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        return self.activate(self.noise(self.conv(x, style), noise))


class ToTexture(nn.Module):
    """1x1 projection to the texture's channels, added to the upsampled texture of the level below."""

    def __init__(self, in_channels: int, upsample: bool = True):
        super().__init__()
        if upsample:
            self.upsample = Blur(pad=(2, 1), gain=4.0, up=2)
        self.conv = ModulatedConv2d(in_channels, TEXTURE_CHANNELS, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, TEXTURE_CHANNELS, 1, 1))

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None = None) -> Tensor:
        texture = self.conv(x, style) + self.bias
        return texture if below is None else texture + self.upsample(below)


class ConstantInput(nn.Module):
    """The learned 4x4 map that synthesis starts from."""

    def __init__(self):
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, CHANNELS[4], 4, 4))


class NoiseMaps(nn.Module):
    """The stored noise maps noise_i [1,1,s,s], s in NOISE_SIZES; iterates like a list, so it can be passed as
    `noise`."""

    def __init__(self):
        super().__init__()
        for i, size in enumerate(NOISE_SIZES):
            self.register_buffer(f"noise_{i}", torch.randn(1, 1, size, size))

    def __len__(self) -> int:
        return len(NOISE_SIZES)

    def __getitem__(self, i: int) -> Tensor:
        return getattr(self, f"noise_{range(len(self))[i]}")

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))


class Generator(nn.Module):
    """Neural texture of a style; no mapping network: the style modulates all 14 layers. 8.1 M parameters,
    23.1 GFLOP."""

    def __init__(self):
        super().__init__()
        sizes = list(CHANNELS)
        self.input = ConstantInput()
        self.conv1 = StyledConv(CHANNELS[4], CHANNELS[4])
        self.to_rgb1 = ToTexture(CHANNELS[4], upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for below, size in zip(sizes, sizes[1:], strict=False):
            self.convs.append(StyledConv(CHANNELS[below], CHANNELS[size], upsample=True))
            self.convs.append(StyledConv(CHANNELS[size], CHANNELS[size]))
            self.to_rgbs.append(ToTexture(CHANNELS[size]))
        self.noises = NoiseMaps()

    def fresh_noise(self, batch: int = 1, rng: torch.Generator | None = None) -> list[Tensor]:
        """13 new maps [B,1,s,s] ~ N(0,1), drawn on the CPU (so that a seed gives the same texture on every
        device)."""
        at = self.input.input
        return [
            torch.randn(batch, 1, size, size, generator=rng, device="cpu").to(at.device, at.dtype)
            for size in NOISE_SIZES
        ]

    def forward(self, style: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Synthesize the generated part of the texture (DINAR section 3.1).

        style [B,512]; noise = 13 maps [1 or B,1,s,s] with s in NOISE_SIZES, e.g. `generator.noises` (the
        stored ones), or None for fresh N(0,1) noise per sample, as published. Returns [B,16,256,256],
        unbounded. Raises InputError for other shapes.
        """
        expect("style", style, (None, STYLE_SIZE))
        maps = self.fresh_noise(style.shape[0]) if noise is None else list(noise)
        if len(maps) != len(NOISE_SIZES):
            raise InputError(
                f"noise: got {len(maps)} maps, expected {len(NOISE_SIZES)} with sizes {list(NOISE_SIZES)}"
            )
        for i, (n, size) in enumerate(zip(maps, NOISE_SIZES, strict=True)):
            expect(f"noise[{i}]", n, (1 if n.ndim and n.shape[0] == 1 else style.shape[0], 1, size, size))

        x = self.input.input.expand(style.shape[0], -1, -1, -1)
        x = self.conv1(x, style, maps[0])
        texture = self.to_rgb1(x, style)
        for j, to_texture in enumerate(self.to_rgbs):
            x = self.convs[2 * j](x, style, maps[1 + 2 * j])
            x = self.convs[2 * j + 1](x, style, maps[2 + 2 * j])
            texture = to_texture(x, style, texture)
        return texture
