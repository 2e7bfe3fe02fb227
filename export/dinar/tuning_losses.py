"""What RGB texture tuning minimises (paper appendix B, published weights 1, 1, 0.01, 0.1)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, mse_loss, softplus

from dinar_live.runtime.core.errors import InputError

ADVERSARIAL_WEIGHT = 0.01
R1_WEIGHT, R1_EVERY = 0.1, 16
LPIPS_CROP = 256  # pixels


def gradient_mask(normal_angles: np.ndarray) -> np.ndarray:
    """How much the photo may change each texel (appendix B), f32[T,T], from cosines f[T,T] in [0,1]: 0 below
    0.6, softened over 5x5."""
    angles = normal_angles.astype(np.float32)
    return cv2.blur(angles * np.maximum(1 - np.exp((np.float32(0.6) - angles) * 20), 0), (5, 5))


def tuning_raster(uv: Tensor, uv_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The UV raster that tuning renders with: uv [B,2,H,W] with background -1 (not -10) and uv_mask
    [B,1,H,W], both eroded by 3x3."""
    mask = -max_pool2d(-uv_mask, 3, stride=1, padding=1)
    return uv * mask - (1 - mask), mask


def loss_mask(uv: Tensor, segm: Tensor) -> Tensor:
    """Pixels that count, [B,1,H,W]: on the body (uv from `tuning_raster`) and on the person (segm
    [B,1,H,W])."""
    return (uv > -1).any(1, keepdim=True).to(segm) * segm


def generator_loss(
    fake: Tensor, real: Tensor, mask: Tensor, discriminator, lpips=None, crop: tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """The texture's losses by name, already weighted: mse, adversarial (non-saturating), and lpips on a crop
    at `crop` (left, top) if given.

    fake, real [B,3,H,W] in [-1,1], mask [B,1,H,W]; discriminator(rgb) -> [B,1]; lpips(a, b) -> a number per
    picture.
    """
    f, r = fake * mask, real * mask
    losses = {"mse": mse_loss(f, r), "adversarial": ADVERSARIAL_WEIGHT * softplus(-discriminator(f)).mean()}
    if lpips is not None:
        assert crop is not None
        x, y = crop
        window = (..., slice(y, y + LPIPS_CROP), slice(x, x + LPIPS_CROP))
        losses["lpips"] = lpips(f[window], r[window]).mean()
    return losses


def discriminator_loss(fake: Tensor, real: Tensor, mask: Tensor, discriminator) -> Tensor:
    """Non-saturating adversarial loss of the discriminator, weighted; arguments as in `generator_loss`, fake
    without gradient."""
    return ADVERSARIAL_WEIGHT * (
        softplus(-discriminator(real * mask)).mean() + softplus(discriminator(fake * mask)).mean()
    )


def r1_penalty(real: Tensor, discriminator) -> Tensor:
    """Lazy R1: (0.1 / 2) * 16 * |dD/dx|^2 at the unmasked photo [B,3,H,W]."""
    x = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return R1_WEIGHT / 2 * R1_EVERY * gradient.square().flatten(1).sum(1).mean()


def random_crop(pixels: np.ndarray, size: tuple[int, int], generator: torch.Generator) -> tuple[int, int]:
    """Left and top of a 256-pixel crop about a random one of the projected vertices f[V,2]; size (H, W).
    Raises InputError if smaller."""
    height, width = size
    half = LPIPS_CROP // 2
    if min(size) < LPIPS_CROP:
        raise InputError(
            f"picture: got {width}x{height} pixels, expected at least {LPIPS_CROP} a side for the LPIPS crop"
        )
    x, y = pixels[int(torch.randint(len(pixels), (1,), generator=generator))]

    def start(centre: float, side: int) -> int:
        return int(np.clip(int(centre), half, max(side - half - 1, half))) - half

    return start(x, width), start(y, height)
