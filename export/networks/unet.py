"""Diffusion U-Net over texture latents (DINAR section 3.3): predicts the noise in x_t given the latent of the
partial texture."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shapes import expect
from .vq import LATENT_CHANNELS

CONDITION_CHANNELS = LATENT_CHANNELS + 1
MODEL_CHANNELS = 256
MULTIPLIERS = (1, 2, 3, 4)
BLOCKS_PER_LEVEL = 2
HEADS = 8
TIME_CHANNELS = 4 * MODEL_CHANNELS
MAX_PERIOD = 10_000.0


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels, eps=1e-5)


def timestep_embedding(t: Tensor, channels: int = MODEL_CHANNELS) -> Tensor:
    """Sinusoids of the time steps t [B]: f32[B,channels], cosines first, frequencies 10000^(-k/half)."""
    half = channels // 2
    frequency = torch.exp(
        -math.log(MAX_PERIOD) / half * torch.arange(half, dtype=torch.float32, device=t.device)
    )
    phase = t.float()[:, None] * frequency
    return torch.cat([phase.cos(), phase.sin()], 1)


class ResBlock(nn.Module):
    """x [B,in,H,W], emb [B,1024] -> [B,out,H,W]; `resample` "down" averages 2x2, "up" doubles (nearest),
    inside the block."""

    def __init__(self, in_channels: int, out_channels: int, resample: str | None = None):
        super().__init__()
        self.in_layers = nn.Sequential(
            norm(in_channels), nn.SiLU(), nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(TIME_CHANNELS, out_channels))
        # Dropout is 0 in the published configuration; the place is kept for the numbering of the layers.
        self.out_layers = nn.Sequential(
            norm(out_channels), nn.SiLU(), nn.Identity(), nn.Conv2d(out_channels, out_channels, 3, padding=1)
        )
        self.skip_connection = (
            nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
        )
        self.resample = resample

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = F.silu(self.in_layers[0](x))
        if self.resample == "down":
            x, h = F.avg_pool2d(x, 2), F.avg_pool2d(h, 2)
        elif self.resample == "up":
            x, h = (
                F.interpolate(x, scale_factor=2.0, mode="nearest"),
                F.interpolate(h, scale_factor=2.0, mode="nearest"),
            )
        h = self.in_layers[2](h) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class AttentionBlock(nn.Module):
    """Self-attention with 8 heads over the positions of x [B,C,H,W], residual. Each head's channels of `qkv`
    are its q, k and v in turn."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [B,T,C]
        qkv = F.linear(tokens, self.qkv.weight[:, :, 0], self.qkv.bias)
        q, k, v = qkv.view(batch, height * width, HEADS, 3, channels // HEADS).permute(
            3, 0, 2, 1, 4
        )  # each [B,heads,T,C/heads]
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, height * width, channels)
        h = F.linear(h, self.proj_out.weight[:, :, 0], self.proj_out.bias)
        return x + h.transpose(1, 2).reshape(batch, channels, height, width)


class Stage(nn.ModuleList):
    """Layers in a row, of which the residual blocks also get the time embedding."""

    def __init__(self, *layers: nn.Module):
        super().__init__(layers)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNet(nn.Module):
    """Noise predictor; 387 M parameters, 301 GFLOP per call.

    Computes in the type of its weights: `unet.to(torch.bfloat16)` or `.half()` (CUDA) and
        `.to(memory_format=torch.channels_last)` work.
    """

    def __init__(self):
        super().__init__()
        base = MODEL_CHANNELS
        last = len(MULTIPLIERS) - 1
        self.time_embed = nn.Sequential(
            nn.Linear(base, TIME_CHANNELS), nn.SiLU(), nn.Linear(TIME_CHANNELS, TIME_CHANNELS)
        )
        self.preproc_rgb = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
        self.preproc_segm = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1))

        # Attention at 32x32, 16x16 and 8x8: everywhere but at the latent's own 64x64.
        self.input_blocks = nn.ModuleList(
            [Stage(nn.Conv2d(LATENT_CHANNELS + CONDITION_CHANNELS, base, 3, padding=1))]
        )
        kept = [base]
        channels = base
        for level, multiplier in enumerate(MULTIPLIERS):
            for _ in range(BLOCKS_PER_LEVEL):
                layers: list[nn.Module] = [ResBlock(channels, multiplier * base)]
                channels = multiplier * base
                if level > 0:
                    layers.append(AttentionBlock(channels))
                self.input_blocks.append(Stage(*layers))
                kept.append(channels)
            if level < last:
                self.input_blocks.append(Stage(ResBlock(channels, channels, "down")))
                kept.append(channels)

        self.middle_block = Stage(
            ResBlock(channels, channels), AttentionBlock(channels), ResBlock(channels, channels)
        )

        self.output_blocks = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(MULTIPLIERS))):
            for i in range(BLOCKS_PER_LEVEL + 1):
                layers = [ResBlock(channels + kept.pop(), multiplier * base)]
                channels = multiplier * base
                if level > 0:
                    layers.append(AttentionBlock(channels))
                    if i == BLOCKS_PER_LEVEL:
                        layers.append(ResBlock(channels, channels, "up"))
                self.output_blocks.append(Stage(*layers))
        self.out = nn.Sequential(
            norm(channels), nn.SiLU(), nn.Conv2d(channels, LATENT_CHANNELS, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Predict the noise eps (DINAR section 3.3).

        x [B,6,64,64] the noisy latent, t [B] its time step in 0..999, cond [B,7,64,64] the latent of the
        partial texture and the mask of what is known. Returns [B,6,64,64] in the type of x. Any height and
        width that are multiples of 8 work. Raises InputError for other shapes.
        """
        expect("x", x, (None, LATENT_CHANNELS, None, None))
        expect("t", t, (x.shape[0],))
        expect("cond", cond, (x.shape[0], CONDITION_CHANNELS, *x.shape[2:]))
        dtype = next(self.out[2].parameters()).dtype
        h = torch.cat([x, cond], 1).to(dtype)
        # Channels 8:11 and 11:13 pass convolutions of their own. In a texture the last five are colour and
        # masks; published so for latents.
        h = torch.cat([h[:, :8], self.preproc_rgb(h[:, 8:11]), self.preproc_segm(h[:, 11:13])], 1)
        emb = self.time_embed(timestep_embedding(t).to(dtype))
        kept = []
        for stage in self.input_blocks:
            h = stage(h, emb)
            kept.append(h)
        h = self.middle_block(h, emb)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, kept.pop()], 1), emb)
        return self.out(h).to(x.dtype)
