"""Image encoder E (DINAR section 3.1): one picture of a person to one style vector."""

from __future__ import annotations

import torch
from torch import Tensor

from .blocks import TRUNK_SIZE, Trunk
from .shapes import expect

STYLE_SIZE = 512


class Encoder(Trunk):
    """Style vector of a person; 7.4 M parameters, 31.9 GFLOP."""

    def __init__(self):
        super().__init__(in_channels=5, out_features=STYLE_SIZE, lr_mul=0.01)

    def forward(self, rgb: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
        """Encode a cropped photo (DINAR section 3.1).

        rgb [B,3,512,512] in [-1,1] with the background at -1, mask [B,1,512,512] in {0,1}, noise
        [B,1,512,512] ~ N(0,1), which the published model draws anew at every call. Returns style [B,512].
        Raises InputError for other shapes.
        """
        expect("rgb", rgb, (None, 3, TRUNK_SIZE, TRUNK_SIZE))
        expect("mask", mask, (rgb.shape[0], 1, TRUNK_SIZE, TRUNK_SIZE))
        expect("noise", noise, (rgb.shape[0], 1, TRUNK_SIZE, TRUNK_SIZE))
        return self.trunk(torch.cat([rgb, mask, noise], 1))
