"""Neural renderer (DINAR section 3.2): a neural texture seen through a UV map to a picture and its alpha."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinar_live.runtime.core.errors import InputError

from .blocks import EqualConv2d, FrozenBatchNorm2d, FusedLeakyReLU
from .shapes import expect
from .vq import TEXTURE_CHANNELS

UV_CHANNELS, MASK_CHANNELS = 8, 4
FEATURE_CHANNELS = 16
WIDTHS = (64, 128, 256, 512)
RESBLOCKS = 3
SIZE_MULTIPLE = 2 ** (len(WIDTHS) - 1)
THRESHOLD_FALL, THRESHOLD_RISE, THRESHOLD_WIDTH = 20.0, 70.0, 0.2


def conv_norm_act(in_channels: int, out_channels: int, bias: bool, stride: int = 1) -> list[nn.Module]:
    return [
        EqualConv2d(in_channels, out_channels, 3, stride, 1, bias),
        FrozenBatchNorm2d(out_channels),
        FusedLeakyReLU(out_channels),
    ]


def preprocessor(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        *conv_norm_act(in_channels, out_channels, bias=False),
        *conv_norm_act(out_channels, out_channels, bias=False),
    )


def head(hidden: int, final: nn.Module) -> nn.Sequential:
    c = FEATURE_CHANNELS
    layers: list[nn.Module] = [FrozenBatchNorm2d(c), FusedLeakyReLU(c)]
    for _ in range(hidden):
        layers += conv_norm_act(c, c, bias=False)
    return nn.Sequential(*layers, EqualConv2d(c, 3, 3, padding=1), final)


class ReflectResBlock(nn.Module):
    """x [B,512,h,w] -> same: two 3x3 convolutions with reflected borders, residual, no activation at the
    end."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            EqualConv2d(channels, channels, 3),
            FrozenBatchNorm2d(channels),
            FusedLeakyReLU(channels),
            nn.ReflectionPad2d(1),
            EqualConv2d(channels, channels, 3),
            FrozenBatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ImageUNet(nn.Module):
    """[B,33,H,W] -> features [B,16,H,W]; H and W are multiples of 8. There is no skip at full resolution."""

    def __init__(self):
        super().__init__()
        first = WIDTHS[0]
        self.start = nn.Sequential(
            nn.ReflectionPad2d(3),
            EqualConv2d(TEXTURE_CHANNELS + UV_CHANNELS + MASK_CHANNELS, first, 7),
            FrozenBatchNorm2d(first),
            FusedLeakyReLU(first),
        )
        pairs = list(zip(WIDTHS, WIDTHS[1:], strict=False))
        self.downsamples = nn.ModuleList(
            nn.Sequential(*conv_norm_act(a, b, bias=True, stride=2)) for a, b in pairs
        )
        self.resblocks = nn.Sequential(*(ReflectResBlock(WIDTHS[-1]) for _ in range(RESBLOCKS)))
        self.upsamples = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                *conv_norm_act(2 * b, b // 2, bias=True),
            )
            for _, b in reversed(pairs)
        )
        self.final = nn.Sequential(nn.ReflectionPad2d(3), EqualConv2d(first, FEATURE_CHANNELS, 7))

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        kept = []
        for down in self.downsamples:
            x = down(x)
            kept.append(x)
        x = self.resblocks(x)
        for up in self.upsamples:
            x = up(torch.cat([x, kept.pop()], 1))
        return self.final(x)


def composite(
    rgb: Tensor, alpha: Tensor, uv_mask: Tensor, background: Tensor | None = None, threshold: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Put rgb [B,3,H,W] in [0,1] over `background` [B or 1,3,H,W] in [0,1] (None: black) -> (rgb in [-1,1],
    alpha [B,1,H,W]).

    alpha [B,1,H,W] becomes 1 wherever the body projects (uv_mask [B,1,H,W]); `threshold` tau != 0 then
    sharpens it, as published only over a background.
    """
    a = (alpha + uv_mask).clamp(0, 1)
    if threshold != 0 and background is not None:
        fall = 1 - torch.exp((threshold - a) * THRESHOLD_FALL)
        rise = 1 + torch.exp((a - threshold - THRESHOLD_WIDTH) * THRESHOLD_RISE)
        a = (fall * rise).clamp(0, 1)
    out = rgb * a
    if background is not None:
        out = out + background * (1 - a)
    return 2 * out - 1, a


class Renderer(nn.Module):
    """Deferred neural renderer; 19.0 M parameters, 466.7 GFLOP at 512x512. Its norms always run with their
    stored statistics.

    forward = bake_texture -> sample -> render_sampled -> composite. The first depends on the texture only, so
    an avatar does it once; render_sampled is the network that runs per frame.
    """

    def __init__(self):
        super().__init__()
        self.ntex_preproc = preprocessor(TEXTURE_CHANNELS, TEXTURE_CHANNELS)
        self.uv_preproc = preprocessor(2, UV_CHANNELS)
        self.uv_mask_preproc = preprocessor(1, MASK_CHANNELS)
        self.model = ImageUNet()
        self.rgb_head = head(2, nn.Tanh())
        self.segm_head = head(4, nn.Sigmoid())

    def bake_texture(self, texture: Tensor) -> Tensor:
        """Neural texture [B,21,T,T] -> the texture that is sampled, [B,21,T,T]."""
        return self.ntex_preproc(texture)

    @staticmethod
    def sample(baked: Tensor, uv: Tensor, uv_mask: Tensor) -> Tensor:
        """Baked texture [B,C,T,T] seen through uv [B,2,H,W] in [-1,1] (u, v; outside reads 0) and uv_mask
        [B,1,H,W] -> [B,C,H,W]."""
        grid = uv.permute(0, 2, 3, 1)
        return F.grid_sample(baked, grid, mode="bilinear", padding_mode="zeros", align_corners=True) * uv_mask

    def image_features(self, sampled: Tensor, uv: Tensor, uv_mask: Tensor) -> Tensor:
        """sampled [B,21,H,W], uv [B,2,H,W] with -10 off the body, uv_mask [B,1,H,W] -> features of the image
        U-Net [B,16,H,W]."""
        return self.model(torch.cat([sampled, self.uv_preproc(uv), self.uv_mask_preproc(uv_mask)], 1))

    def render_sampled(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The network of one frame: features [B,24,H,W] = sampled texture 21, u, v, mask -> (rgb [B,3,H,W],
        alpha [B,1,H,W]).

        Both are in [0,1] and uncomposed: what `renderers/dinar/model.onnx` computes.
        """
        c = TEXTURE_CHANNELS
        image = self.image_features(features[:, :c], features[:, c : c + 2], features[:, c + 2 : c + 3])
        return (self.rgb_head(image) + 1) / 2, self.segm_head(image)[:, :1]

    def forward(
        self,
        uv: Tensor,
        uv_mask: Tensor,
        texture: Tensor,
        background: Tensor | None = None,
        threshold: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Render a textured body (DINAR section 3.2).

        uv [B,2,H,W] in [-1,1] with -10 off the body, uv_mask [B,1,H,W] in {0,1}, texture [B,21,256,256],
        background [B or 1,3,H,W] in [0,1] (None: black); H and W are multiples of 8. `threshold` 0 in
        reconstruction, 0.5 in the published videos. Returns rgb [B,3,H,W] in [-1,1] and alpha [B,1,H,W] in
        [0,1]. Raises InputError for other shapes.
        """
        batch, _, height, width = _check_sizes(uv)
        expect("uv_mask", uv_mask, (batch, 1, height, width))
        expect("texture", texture, (batch, TEXTURE_CHANNELS, None, None))
        if background is not None:
            expect(
                "background",
                background,
                (1 if background.ndim and background.shape[0] == 1 else batch, 3, height, width),
            )
        sampled = self.sample(self.bake_texture(texture), uv, uv_mask)
        rgb, alpha = self.render_sampled(torch.cat([sampled, uv, uv_mask], 1))
        return composite(rgb, alpha, uv_mask, background, threshold)


def _check_sizes(uv: Tensor) -> torch.Size:
    expect("uv", uv, (None, 2, None, None))
    if uv.shape[2] % SIZE_MULTIPLE or uv.shape[3] % SIZE_MULTIPLE or 0 in uv.shape:
        raise InputError(
            f"uv: got a picture of {uv.shape[2]}x{uv.shape[3]}, expected multiples of {SIZE_MULTIPLE}"
        )
    return uv.shape
