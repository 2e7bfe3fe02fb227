"""The completion network: a small U-Net over the atlas that copies from the photo, paints what cannot
be copied, and
says how far the person's surface is from the body's (torch, for training and for writing the ONNX
file)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import BASES, PER_SHELL, SHELLS, planes_of, sources_of

PATCH = 4  # texels a side that one cell of the U-Net holds
LEVELS = (1, 2, 3, 4, 4)  # widths
OFFSET_SCALE = 0.1  # metres
ERROR_RANGE = (-7.0, -1.0)  # of the log of the expected error in metres
NOT_PERSON = 8.0  # how strongly sources outside the mask are refused
UNUSED = -3.0  # logit of the other photo's sources before training


def heads(photos: int) -> dict[str, int]:
    """Channels of each output of a network that looks at one photo or two."""
    return {"weights": sources_of(photos) + 1, "colour": 3, "offset": 3, "error": 1, "drape": 1}


class Block(nn.Module):
    """Two convolutions with a skip. [N,i,H,W] -> [N,o,H,W]."""

    def __init__(self, i: int, o: int):
        super().__init__()
        self.first = nn.Conv2d(i, o, 3, padding=1)
        self.norm1 = nn.GroupNorm(8, o)
        self.second = nn.Conv2d(o, o, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, o)
        self.skip = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norm1(self.first(x)))
        return F.silu(self.norm2(self.second(h)) + self.skip(x))


class CompletionNetwork(nn.Module):
    """planes f32[N,planes_of(photos),T,T] -> dict of f32[N,C,T,T]:

    weights (sources_of(photos) + 1, sum 1: how much of each shell to copy, the last: of `free`), free (3, a
    painted colour in [0,1]),
    offset (3, metres in the rest pose), error (1, log of the offset's expected error in metres), drape
    (1, logit of:
    this is cloth that hangs over both legs).
    """

    def __init__(self, width: int = 40, photos: int = 1):
        super().__init__()
        c = [width * k for k in LEVELS]
        self.width = width
        self.photos = photos
        self.heads = heads(photos)
        count = sum(self.heads.values())
        self.enter = nn.Conv2d(planes_of(photos) * PATCH * PATCH, width, 1)
        self.down = nn.ModuleList(Block(c[max(i - 1, 0)], c[i]) for i in range(len(c)))
        self.middle = Block(2 * c[-1], c[-1])
        self.up = nn.ModuleList(Block(c[i + 1] + c[i], c[i]) for i in range(len(c) - 2, -1, -1))
        self.leave = nn.Conv2d(width, count * PATCH * PATCH, 3, padding=1)
        weight, bias = self.leave.parameters()
        nn.init.zeros_(weight)
        nn.init.zeros_(bias)
        with torch.no_grad():
            bias = bias.view(count, PATCH * PATCH)
            bias[0] = 1  # copy what lies on the body, at first
            bias[sources_of(1) : sources_of(photos)] = UNUSED
            bias[-2] = -4.0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h, skips = self.enter(F.pixel_unshuffle(x, PATCH)), []
        for i, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if i else h)
            skips.append(h)
        h = self.middle(torch.cat([h, h.mean((2, 3), keepdim=True).expand_as(h)], 1))
        for i, block in enumerate(self.up):
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0, mode="nearest"), skips[-2 - i]], 1))
        out = dict(
            zip(
                self.heads,
                F.pixel_shuffle(self.leave(h), PATCH).split(list(self.heads.values()), 1),
                strict=True,
            )
        )
        bases = BASES[: 1 + self.photos]
        alpha = torch.cat([x[:, b + 3 : b + len(SHELLS) * PER_SHELL : PER_SHELL] for b in bases], 1)
        refused = torch.cat([NOT_PERSON * (1 - alpha), torch.zeros_like(alpha[:, :1])], 1)
        return {
            "weights": torch.softmax(out["weights"] - refused, 1),
            "free": torch.sigmoid(out["colour"]),
            "offset": OFFSET_SCALE * out["offset"],
            "error": out["error"].clamp(*ERROR_RANGE),
            "drape": out["drape"],
        }


def blend(planes: Tensor, weights: Tensor, free: Tensor) -> Tensor:
    """The colour f32[N,3,T,T] that the weights and the free colour mean, at the network's own
    resolution."""
    shells = len(SHELLS) * PER_SHELL
    bases = BASES[: (weights.shape[1] - 1) // len(SHELLS)]
    source = torch.cat([planes[:, b : b + shells].unflatten(1, (len(SHELLS), PER_SHELL)) for b in bases], 1)
    rgb = (source[:, :, :3] / source[:, :, 3:].clamp_min(0.05)).clamp(0, 1)
    return (weights[:, :-1, None] * rgb).sum(1) + weights[:, -1:] * free
