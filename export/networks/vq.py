"""Vector-quantized autoencoder of textures (DINAR section 3.3): [B,21,256,256] to the latent [B,6,64,64] that
is diffused, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import FrozenBatchNorm2d
from .shapes import expect

TEXTURE_CHANNELS = 21
LATENT_CHANNELS = 6
CODES = 8192
LEVEL_CHANNELS = (64, 128, 256)
TEXTURE_SIZE, LATENT_SIZE = 256, 64
DISTANCE_ROWS = 512  # positions per block of the distance matrix: 16 MB at a time


def activation(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.01)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(16, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """x [B,in,H,W] -> [B,out,H,W]: two pre-activated 3x3 convolutions around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self.projects = in_channels != out_channels

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(activation(self.norm1(x)))
        h = self.conv2(activation(self.norm2(h)))
        return (self.nin_shortcut(x) if self.projects else x) + h


class AttnBlock(nn.Module):
    """Single-head self-attention over the H*W positions of x [B,C,H,W], residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # [B,1,HW,C]: one head, tokens before channels; scores are scaled by C^-1/2
        q, k, v = (
            layer(h).flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
            for layer in (self.q, self.k, self.v)
        )
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.squeeze(1).transpose(1, 2).reshape(x.shape))


class Resample(nn.Module):
    """3x3 convolution after doubling the size (nearest), or with stride 2 after one zero row and column at
    the far side."""

    def __init__(self, channels: int, down: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(
            F.pad(x, (0, 1, 0, 1)) if self.down else F.interpolate(x, scale_factor=2.0, mode="nearest")
        )


class Level(nn.Module):
    """The residual blocks of one resolution and the change to the next."""

    def __init__(self, channels: list[int], change: str | None = None):
        """channels: before and after each block. change: "downsample" or "upsample", the published name of
        what follows the blocks; None at the last resolution."""
        super().__init__()
        self.block = nn.Sequential(*(ResnetBlock(a, b) for a, b in zip(channels, channels[1:], strict=False)))
        self._change = change
        if change is not None:
            self.add_module(change, Resample(channels[-1], down=change == "downsample"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return x if self._change is None else self.get_submodule(self._change)(x)


class Middle(nn.Module):
    """Block, attention, block at the latent's resolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class TextureEncoder(nn.Module):
    """[B,21,256,256] -> [B,6,64,64]."""

    def __init__(self):
        super().__init__()
        top = LEVEL_CHANNELS[-1]
        self.conv_in = nn.Conv2d(TEXTURE_CHANNELS, LEVEL_CHANNELS[0], 3, padding=1)
        self.down = nn.ModuleList()
        below = LEVEL_CHANNELS[0]
        for i, channels in enumerate(LEVEL_CHANNELS):
            last = i + 1 == len(LEVEL_CHANNELS)
            self.down.append(Level([below, channels, channels], None if last else "downsample"))
            below = channels
        self.mid = Middle(top)
        self.norm_out = norm(top)
        self.conv_out = nn.Conv2d(top, LATENT_CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(activation(self.norm_out(self.mid(x))))


class TextureDecoder(nn.Module):
    """[B,6,64,64] -> [B,21,256,256]; the colour and mask channels pass small tails of their own."""

    def __init__(self):
        super().__init__()
        top = LEVEL_CHANNELS[-1]
        self.conv_in = nn.Conv2d(LATENT_CHANNELS, top, 3, padding=1)
        self.mid = Middle(top)
        levels = []
        below = top
        for i in reversed(range(len(LEVEL_CHANNELS))):
            channels = LEVEL_CHANNELS[i]
            levels.append(Level([below, channels, channels, channels], "upsample" if i > 0 else None))
            below = channels
        self.up = nn.ModuleList(reversed(levels))  # stored finest first, run coarsest first
        self.norm_out = norm(below)
        self.conv_out = nn.Conv2d(below, TEXTURE_CHANNELS, 3, padding=1)
        self.rgb_proc = _tail(3)
        self.segm_proc = _tail(2)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(list(self.up)):
            x = level(x)
        x = self.conv_out(activation(self.norm_out(x)))
        return torch.cat([x[:, :16], self.rgb_proc(x[:, 16:19]), self.segm_proc(x[:, 19:21])], 1)


def _tail(channels: int) -> nn.Sequential:
    return nn.Sequential(
        FrozenBatchNorm2d(channels), nn.LeakyReLU(0.01), nn.Conv2d(channels, channels, 3, padding=1)
    )


class Codebook(nn.Module):
    """8192 codes of 6 numbers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CODES, LATENT_CHANNELS)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [B,6,h,w] -> (nearest codes [B,6,h,w], their indices int64 [B,h,w]); on a tie the lower index.

        Distances are summed from differences, not expanded into squares and a product: equal codes then tie
        exactly and rounding cannot choose between near ones.
        """
        codes = self.embedding.weight
        points = z.movedim(1, -1).reshape(-1, LATENT_CHANNELS).to(codes.dtype)
        nearest = []
        for rows in points.split(DISTANCE_ROWS):
            distance = torch.zeros(len(rows), CODES, dtype=codes.dtype, device=codes.device)
            for c in range(LATENT_CHANNELS):
                delta = rows[:, c, None] - codes[None, :, c]
                distance.addcmul_(delta, delta)
            nearest.append(distance.argmin(1))
        indices = torch.cat(nearest).reshape(z.shape[0], *z.shape[2:])
        return self.embedding(indices).movedim(-1, 1).contiguous(), indices


class VQModel(nn.Module):
    """Texture autoencoder; 13.9 M parameters, encoder 96.5 and decoder 178.2 GFLOP."""

    def __init__(self):
        super().__init__()
        self.encoder = TextureEncoder()
        self.decoder = TextureDecoder()
        self.quantize = Codebook()
        self.quant_conv = nn.Conv2d(LATENT_CHANNELS, LATENT_CHANNELS, 1)
        self.post_quant_conv = nn.Conv2d(LATENT_CHANNELS, LATENT_CHANNELS, 1)

    def encode(self, x: Tensor) -> Tensor:
        """Texture [B,21,256,256] -> latent [B,6,64,64], not quantized: what is diffused (section 3.3).
        InputError for other shapes."""
        expect("texture", x, (None, TEXTURE_CHANNELS, TEXTURE_SIZE, TEXTURE_SIZE))
        return self.quant_conv(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Latent [B,6,64,64] -> texture [B,21,256,256], quantizing first; unbounded. InputError for other
        shapes."""
        expect("latent", z, (None, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE))
        return self.decode_codes(self.quantize(z)[0])

    def decode_codes(self, quantized: Tensor) -> Tensor:
        """As decode, from latents that are quantized already."""
        return self.decoder(self.post_quant_conv(quantized))

    def forward(self, x: Tensor) -> Tensor:
        """Texture through both halves, [B,21,256,256] -> [B,21,256,256]."""
        return self.decode(self.encode(x))
