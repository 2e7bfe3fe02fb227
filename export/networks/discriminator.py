"""Discriminator D of the texture tuning (DINAR section 3.4)."""

from __future__ import annotations

from torch import Tensor

from .blocks import TRUNK_SIZE, Trunk
from .shapes import expect


class Discriminator(Trunk):
    """Realism of a masked picture; 7.2 M parameters, 31.8 GFLOP."""

    def __init__(self):
        super().__init__(in_channels=3, out_features=1, lr_mul=1.0)

    def forward(self, rgb: Tensor) -> Tensor:
        """rgb [B,3,512,512] in [-1,1], masked -> logit [B,1], positive for real. Raises InputError for other
        shapes."""
        expect("rgb", rgb, (None, 3, TRUNK_SIZE, TRUNK_SIZE))
        return self.trunk(rgb)
