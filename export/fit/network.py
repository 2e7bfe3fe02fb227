"""The light renderer network in torch, for training; layers and meaning are those of `light.py`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .light import WIDTH, layers, random_weights


class LightRenderer(nn.Module):
    """features [N,C+3,H,W] -> rgb [N,3,H,W], alpha [N,1,H,W], both in [0,1]. Starts as the textured mesh: the
    head's weights are zero."""

    def __init__(self, channels: int, width: int = WIDTH, seed: int = 0):
        super().__init__()
        self.channels = channels
        self.width = width
        weights = random_weights(channels, width, seed)
        self.convs = nn.ParameterDict(
            {name: nn.Parameter(torch.from_numpy(w)) for name, w in weights.items()}
        )
        nn.init.zeros_(self.convs["head"])
        self._table = {layer.name: layer for layer in layers(channels, width)}

    def _conv(self, name: str, x: Tensor) -> Tensor:
        layer, weight = self._table[name], self.convs[name]
        before, after = layer.padding
        if before != after:
            x, before = F.pad(x, (before, after, before, after)), 0
        return F.conv2d(x, weight, stride=layer.stride, padding=before)

    def correction(self, features: Tensor) -> Tensor:
        """What the network adds: [N,4,H,W], rgb and alpha."""
        c = self.channels
        x = torch.cat([features[:, :c], torch.zeros_like(features[:, c : c + 2]), features[:, c + 2 :]], 1)
        skip2 = F.relu(self._conv("encode2", F.relu(self._conv("stem", x))))
        skip4 = F.relu(self._conv("encode4", F.relu(self._conv("down4", skip2))))
        x = F.relu(self._conv("down8", skip4))
        x = F.relu(self._conv("bottom_b", F.relu(self._conv("bottom_a", x))))
        x = F.relu(F.interpolate(self._conv("up4", x), scale_factor=2, mode="nearest") + skip4)
        x = F.relu(self._conv("decode4", x))
        x = F.relu(F.interpolate(self._conv("up2", x), scale_factor=2, mode="nearest") + skip2)
        head = self._conv("head", F.relu(self._conv("decode2", x)))
        return torch.cat([F.pixel_shuffle(head[:, :12], 2), F.pixel_shuffle(head[:, 12:], 2)], 1)

    @staticmethod
    def base(features: Tensor) -> tuple[Tensor, Tensor]:
        """What it adds to: the textured mesh with softened outlines, rgb [N,3,H,W] and alpha [N,1,H,W]."""
        colour, mask = features[:, :3], features[:, -1:]
        alpha = F.avg_pool2d(mask, 3, 1, 1)
        return colour + (1 - mask) * F.avg_pool2d(colour, 3, 1, 1) / alpha.clamp(min=1 / 9), alpha

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        d, (rgb, alpha) = self.correction(features), self.base(features)
        return (rgb + d[:, :3]).clamp(0, 1), (alpha + d[:, 3:]).clamp(0, 1)

    def numpy_weights(self) -> dict[str, np.ndarray]:
        """The weights as `light.build_onnx` takes them."""
        out = {name: p.detach().float().cpu().numpy().copy() for name, p in self.convs.items()}
        out["stem"][:, self.channels : self.channels + 2] = 0
        return out
