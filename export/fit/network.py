"""The networks of `half.py` in torch, for training; layers and meaning are the same."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .half import Rung, layers, random_weights


def to_blocks(x: Tensor) -> Tensor:
    """[N,C,H,W] -> [N,4*C,H/2,W/2]: the four pixels of each block one after the other."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def from_blocks(x: Tensor) -> Tensor:
    """The reverse of `to_blocks`."""
    n, c, h, w = x.shape
    return x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


class HalfRenderer(nn.Module):
    """What the mesh shows [N,4,H,W] (colour and mask) and neural channels [N,C,H/2,W/2] -> rgb [N,3,H,W], alpha
    [N,1,H,W], both in [0,1]. Starts as the textured mesh: the head's weights are zero."""

    def __init__(self, rung: Rung, seed: int = 0):
        super().__init__()
        self.rung = rung
        weights = random_weights(rung, seed)
        self.convs = nn.ParameterDict(
            {name: nn.Parameter(torch.from_numpy(w)) for name, w in weights.items()}
        )
        nn.init.zeros_(self.convs["head"])
        self._table = {layer.name: layer for layer in layers(rung)}

    def _conv(self, name: str, x: Tensor) -> Tensor:
        layer, weight = self._table[name], self.convs[name]
        before, _ = layer.padding  # as much after, or (2x2, stride 2) none
        return F.conv2d(x, weight, stride=layer.stride, padding=before)

    def blocks(self, features: Tensor) -> Tensor:
        """The network as its ONNX file has it: features [N,16+C,h,w] -> correction [N,16,h,w]."""
        skip2 = F.relu(self._conv("encode2", F.relu(self._conv("stem", features))))
        skip4 = F.relu(self._conv("encode4", F.relu(self._conv("down4", skip2))))
        x = F.relu(self._conv("down8", skip4))
        x = F.relu(self._conv("bottom_b", F.relu(self._conv("bottom_a", x))))
        x = F.relu(F.interpolate(self._conv("up4", x), scale_factor=2, mode="nearest") + skip4)
        x = F.relu(self._conv("decode4", x))
        x = F.relu(F.interpolate(self._conv("up2", x), scale_factor=2, mode="nearest") + skip2)
        return self._conv("head", F.relu(self._conv("decode2", x)))

    def correction(self, seen: Tensor, neural: Tensor) -> Tensor:
        """What the network adds: [N,4,H,W], rgb and alpha."""
        features = torch.cat([to_blocks(seen), neural], 1)
        return from_blocks(self.blocks(features.contiguous(memory_format=torch.channels_last)))

    @staticmethod
    def base(seen: Tensor) -> tuple[Tensor, Tensor]:
        """What it adds to: the textured mesh with softened outlines, rgb [N,3,H,W] and alpha [N,1,H,W]."""
        colour, mask = seen[:, :3], seen[:, 3:]
        alpha = F.avg_pool2d(mask, 3, 1, 1)
        return colour + (1 - mask) * F.avg_pool2d(colour, 3, 1, 1) / alpha.clamp(min=1 / 9), alpha

    def forward(self, seen: Tensor, neural: Tensor) -> tuple[Tensor, Tensor]:
        d, (rgb, alpha) = self.correction(seen, neural), self.base(seen)
        return (rgb + d[:, :3]).clamp(0, 1), (alpha + d[:, 3:]).clamp(0, 1)

    def numpy_weights(self) -> dict[str, np.ndarray]:
        """The weights as `half.build_onnx` takes them."""
        return {name: p.detach().float().cpu().numpy().copy() for name, p in self.convs.items()}
