"""Full-size checkpoints of seeded random weights, for tests and for measuring without the published ones."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .model import EMA, PREFIXES, UNET, DinarModel, UvLayout, ema_name, required

DISPLAY_LAYERS = (
    "rgb_head.8.weight",
    "segm_head.14.weight",
)  # halved: tanh and sigmoid stay off their limits


class RandomStateDict(Mapping[str, Tensor]):
    """Published names to weights that are drawn when asked for, each from its own seed: small in memory, the
    same in any order."""

    def __init__(self, seed: int = 0, uv_layout: UvLayout | None = None, ema: bool = False):
        self.seed = seed
        with torch.device("meta"):
            model = DinarModel(uv_layout=uv_layout)
        self._plan = {
            key: value for key, value in model.state_dict().items() if ema or not key.startswith(EMA)
        }
        names = [name for name, _ in required(model.unet).named_parameters()]
        self._parameter_of = {EMA + ema_name(name): UNET + name for name in names}

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan)

    def spec(self, key: str) -> tuple[torch.dtype, tuple[int, ...]]:
        """Type and shape of an entry, without drawing it."""
        return self._plan[key].dtype, tuple(self._plan[key].shape)

    def __getitem__(self, key: str) -> Tensor:
        plan = self._plan[key]
        if not plan.is_meta:
            return plan.clone()
        if plan.dtype == torch.int64:
            return torch.zeros(plan.shape, dtype=torch.int64)
        rng = torch.Generator().manual_seed((zlib.crc32(key.encode()) << 20) ^ self.seed)
        draw = torch.randn(plan.shape, generator=rng)
        return _scaled(self._parameter_of.get(key, key), draw)


def _scaled(key: str, x: Tensor) -> Tensor:
    """Turn standard normal x into a plausible weight, so that signals neither vanish nor saturate through the
    depth of a network."""
    owner, leaf = key.split(".")[-2:]
    if leaf == "running_mean":
        return x.mul_(0.1)
    if leaf == "running_var":
        return x.abs_().add_(0.5)
    if leaf.startswith("noise_") or leaf == "input":
        return x
    if leaf == "bias":
        return x.mul_(0.1).add_(1.0 if owner == "modulation" else 0.0)
    if owner == "noise":
        return x.mul_(0.1)
    if x.ndim == 1:
        return x.mul_(0.1).add_(1.0)
    if owner == "embedding":
        return x.mul_(0.5)
    if key.startswith(PREFIXES["encoder"]):
        return x.mul_(100.0)
    if key.startswith((PREFIXES["generator"], PREFIXES["renderer"], PREFIXES["discriminator"])):
        return x.mul_(0.5) if key.endswith(DISPLAY_LAYERS) else x
    return x.div_(math.sqrt(math.prod(x.shape[1:])))


def random_state_dict(
    seed: int = 0, uv_layout: UvLayout | None = None, *, ema: bool = False
) -> RandomStateDict:
    """A mapping as `load_checkpoint` takes it: every network, the schedule, and the three layout keys where
    `uv_layout` is given.

    `ema` adds a moving average that differs from the raw U-Net weights (1.5 GB more in a file).
    """
    return RandomStateDict(seed, uv_layout, ema)
