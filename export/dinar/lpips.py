"""LPIPS with VGG16 (Zhang et al. 2018) from weight files that the user brings: no backbone ships here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinar_live.export.checkpoint import weight_entries
from dinar_live.runtime.core.errors import CheckpointError

# VGG16 in torchvision's numbering: convolutions of the five stages, each followed by ReLU; pooling lies
# between stages
STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
CHANNELS = (64, 128, 256, 512, 512)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10


class Lpips(nn.Module):
    """Perceptual distance of pictures [B,3,H,W] in [-1,1], f32[B,1,1,1]; frozen."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: dict[str, Tensor], heads: dict[str, Tensor]):
        """backbone: features.N.weight and .bias of torchvision's VGG16; heads: linK.model.1.weight [1,C,1,1]
        of the lpips package."""
        super().__init__()
        wanted = [
            (f"features.{i}.{kind}", backbone)
            for stage in STAGES
            for i in stage
            for kind in ("weight", "bias")
        ]
        wanted += [(f"lin{k}.model.1.weight", heads) for k in range(len(STAGES))]
        if missing := [name for name, source in wanted if name not in source]:
            raise CheckpointError(
                f"LPIPS: {len(missing)} weights are missing ({', '.join(missing[:4])}, ...), expected VGG16 and its lin0..lin4"
            )
        for name, source in wanted:
            self.register_buffer(name.replace(".", "_"), source[name].float())
        for k, channels in enumerate(CHANNELS):
            if self.get_buffer(f"lin{k}_model_1_weight").shape != (1, channels, 1, 1):
                raise CheckpointError(
                    f"LPIPS: lin{k}.model.1.weight has another shape than [1,{channels},1,1]; is it the head for VGG16?"
                )
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def _features(self, x: Tensor) -> list[Tensor]:
        out = []
        for k, stage in enumerate(STAGES):
            x = F.max_pool2d(x, 2) if k else x
            for i in stage:
                x = F.relu(
                    F.conv2d(
                        x,
                        self.get_buffer(f"features_{i}_weight"),
                        self.get_buffer(f"features_{i}_bias"),
                        padding=1,
                    )
                )
            out.append(x / (x.square().sum(1, keepdim=True).sqrt() + EPSILON))
        return out

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each pair."""
        pairs = zip(
            self._features((a - self.shift) / self.scale),
            self._features((b - self.shift) / self.scale),
            strict=True,
        )
        total = torch.zeros_like(a[:, :1, :1, :1])
        for k, (x, y) in enumerate(pairs):
            total = total + F.conv2d((x - y).square(), self.get_buffer(f"lin{k}_model_1_weight")).mean(
                (2, 3), keepdim=True
            )
        return total


def load_lpips(backbone, heads) -> Lpips:
    """From a VGG16 file and the heads file of the lpips package (weights/v0.1/vgg.pth), each .safetensors or
    a torch file of today's (zip) format, read as data. Raises CheckpointError naming the file."""

    loaded = []
    for path in (backbone, heads):
        _, entries = weight_entries(path)
        loaded.append({name: entry.load() for name, entry in entries.items()})
    return Lpips(*loaded).eval()
