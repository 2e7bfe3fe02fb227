"""Building blocks that several DINAR networks share: equalized layers, blurs and the residual trunk of
StyleGAN2 (appendix B)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT2 = math.sqrt(2.0)
BINOMIAL = (1.0, 3.0, 3.0, 1.0)


class FusedLeakyReLU(nn.Module):
    """`leaky_relu(x + bias, 0.2) * sqrt(2)` over channel 1 of x [B,C,...]."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return fused_leaky_relu(x, self.bias)


def fused_leaky_relu(x: Tensor, bias: Tensor) -> Tensor:
    """`leaky_relu(x + bias, 0.2) * sqrt(2)`; bias [C] belongs to axis 1 of x [B,C,...]."""
    shifted = x + bias.view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(shifted, 0.2, inplace=True) * SQRT2


class EqualConv2d(nn.Module):
    """Convolution with zero padding whose stored weight [out,in,k,k] is multiplied by `scale` = lr_mul /
    sqrt(in k^2) at run time."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        lr_mul: float = 1.0,
    ):
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels, kernel, kernel).normal_(0, 1 / lr_mul)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.stride = stride
        self.padding = padding
        self.lr_mul = lr_mul
        self.scale = lr_mul / math.sqrt(in_channels * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, *self.effective(), stride=self.stride, padding=self.padding)

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the plain convolution that this layer is (what folding needs)."""
        bias = self.bias if self.bias is None or self.lr_mul == 1.0 else self.bias * self.lr_mul
        return self.weight * self.scale, bias


class EqualLinear(nn.Module):
    """x [B,in] -> [B,out]; weight [out,in] scaled by lr_mul / sqrt(in), bias by lr_mul; `activate` adds the
    leaky ReLU of FusedLeakyReLU"""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        lr_mul: float = 1.0,
        bias_init: float = 0.0,
        activate: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features).normal_(0, 1 / lr_mul))
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))
        self.lr_mul = lr_mul
        self.activate = activate
        self.scale = lr_mul / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight * self.scale, self.bias * self.lr_mul
        return fused_leaky_relu(F.linear(x, weight), bias) if self.activate else F.linear(x, weight, bias)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always uses the running statistics: an avatar maker never trains these networks' norms,
    whatever `train()` says."""

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def binomial_kernel(gain: float = 1.0) -> Tensor:
    """The 4x4 blur outer([1,3,3,1]) / 64 times gain, f32[4,4]. Always real memory, also when networks are
    built on the meta device."""
    line = torch.tensor(BINOMIAL, dtype=torch.float32, device="cpu")
    return torch.outer(line, line) / line.sum() ** 2 * gain


def upfirdn(x: Tensor, kernel: Tensor, up: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Put `up`-1 zeros after each sample of x [B,C,H,W], zero-pad both axes by `pad` = (before, after),
    convolve with `kernel` [k,k].

    Result [B,C,up*H+sum(pad)-k+1,...]. A true convolution: the kernel is turned by 180 degrees.
    """
    batch, channels, height, width = x.shape
    if up > 1:
        x = F.pad(x.reshape(batch, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(batch, channels, height * up, width * up)
    x = F.pad(x, (*pad, *pad))
    taps = kernel.flip(0, 1).to(x.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(x, taps, groups=channels)


class Blur(nn.Module):
    """Low-pass x [B,C,H,W] with the binomial kernel; `gain` 4 restores the level after a 2x upsampling with
    zeros."""

    kernel: Tensor

    def __init__(self, pad: tuple[int, int], gain: float = 1.0, up: int = 1):
        super().__init__()
        self.register_buffer("kernel", binomial_kernel(gain))
        self.pad = pad
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        return upfirdn(x, self.kernel, self.up, self.pad)


class ConvLayer(nn.Sequential):
    """[Blur if downsample] -> EqualConv2d -> [FusedLeakyReLU]: [B,in,H,W] -> [B,out,H,W] or half the size.

    An activated layer's bias is in the activation, where lr_mul does not scale it; one without activation has
    none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        downsample: bool = False,
        activate: bool = True,
        lr_mul: float = 1.0,
    ):
        # StyleGAN2 centres the 4-tap blur together with the k-tap strided convolution: 2 + (k - 1) zeros in
        # all.
        layers: list[nn.Module] = [Blur(pad=((kernel + 2) // 2, (kernel + 1) // 2))] if downsample else []
        stride, padding = (2, 0) if downsample else (1, kernel // 2)
        layers.append(
            EqualConv2d(in_channels, out_channels, kernel, stride, padding, bias=False, lr_mul=lr_mul)
        )
        if activate:
            layers.append(FusedLeakyReLU(out_channels))
        super().__init__(*layers)


class DownBlock(nn.Module):
    """StyleGAN2 discriminator block: [B,in,H,W] -> [B,out,H/2,W/2], `(conv2(conv1(x)) + skip(x)) /
    sqrt(2)`."""

    def __init__(self, in_channels: int, out_channels: int, lr_mul: float):
        super().__init__()
        self.conv1 = ConvLayer(in_channels, in_channels, 3, lr_mul=lr_mul)
        self.conv2 = ConvLayer(in_channels, out_channels, 3, downsample=True, lr_mul=lr_mul)
        self.skip = ConvLayer(in_channels, out_channels, 1, downsample=True, activate=False, lr_mul=lr_mul)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / SQRT2


TRUNK_SIZE = 512
TRUNK_CHANNELS = (32, 64, 128, 256, 256, 256, 256, 256)  # at 512, 256, ... 4


class Trunk(nn.Module):
    """The StyleGAN2 discriminator body at 512x512, without minibatch statistics: [B,in,512,512] -> [B,out].

    Encoder and discriminator are this with different inputs, outputs and learning-rate multipliers.
    """

    def __init__(self, in_channels: int, out_features: int, lr_mul: float):
        super().__init__()
        first, last = TRUNK_CHANNELS[0], TRUNK_CHANNELS[-1]
        self.convs = nn.Sequential(
            ConvLayer(in_channels, first, 1, lr_mul=lr_mul),
            *(DownBlock(a, b, lr_mul) for a, b in zip(TRUNK_CHANNELS, TRUNK_CHANNELS[1:], strict=False)),
        )
        self.final_conv = ConvLayer(last, last, 3, lr_mul=lr_mul)
        self.final_linear = nn.Sequential(
            EqualLinear(last * 16, last, lr_mul, activate=True),
            EqualLinear(last, out_features, lr_mul),
        )

    def trunk(self, x: Tensor) -> Tensor:
        return self.final_linear(self.final_conv(self.convs(x)).flatten(1))
