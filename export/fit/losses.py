"""What a rendered picture is held to: colour over white, alpha, structure (SSIM) and edges at several
scales."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHA = 0.5
SQUARE = 2.0
STRUCTURE = 0.1
EDGES = 0.5
SCALES = 3
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # of SSIM (Wang et al. 2004), for values in [0,1]


def picture_loss(rgb: Tensor, alpha: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Scalar. rgb [N,3,H,W] straight and alpha [N,1,H,W] as the network gives them, truth [N,4,H,W]
    premultiplied, weight [N,1,H,W]."""
    picture = rgb * alpha + 1 - alpha
    target = truth[:, :3] + 1 - truth[:, 3:]
    total = weight.sum().clamp(min=1)
    error = (picture - target) * weight
    loss = (
        error.abs().sum() / 3
        + SQUARE * (error**2).sum() / 3
        + ALPHA * ((alpha - truth[:, 3:]) * weight).abs().sum()
    ) / total
    loss = loss + STRUCTURE * (1 - ((_ssim(picture * weight, target * weight) * weight).sum() / (3 * total)))
    a, b, w = picture, target, weight
    for _ in range(SCALES):
        for axis in (2, 3):
            d = (
                (a.diff(dim=axis) - b.diff(dim=axis)).abs()
                * w.narrow(axis, 1, w.shape[axis] - 1)
                * w.narrow(axis, 0, w.shape[axis] - 1)
            )
            loss = loss + EDGES / SCALES / 2 * d.sum() / (
                3 * total * a.shape[2] * a.shape[3] / picture.shape[2] / picture.shape[3]
            )
        a, b, w = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2), -F.max_pool2d(-w, 2)
    return loss


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM map [N,3,H,W]; the window is weighted as in the paper, borders by zeros."""
    x = torch.arange(WINDOW, device=a.device, dtype=a.dtype) - WINDOW // 2
    g = torch.exp(-(x**2) / (2 * SIGMA**2))
    g = (g / g.sum()).expand(a.shape[1], 1, 1, WINDOW)

    def blur(t: Tensor) -> Tensor:
        t = F.conv2d(t, g, padding=(0, WINDOW // 2), groups=t.shape[1])
        return F.conv2d(t, g.transpose(2, 3), padding=(WINDOW // 2, 0), groups=t.shape[1])

    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    return (2 * ma * mb + C1) * (2 * vab + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2))
