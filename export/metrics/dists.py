"""DISTS (Ding et al. 2020, "Image Quality Assessment: Unifying Structure and Texture Similarity") from weight
files that the user brings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinar_live.export.checkpoint import weight_entries
from dinar_live.export.dinar.lpips import CHANNELS, STAGES
from dinar_live.runtime.core.errors import CheckpointError

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures VGG16 was trained on
ALL_CHANNELS = 3 + sum(CHANNELS)  # the picture itself counts as the first stage
SMOOTH = 1e-6


class Dists(nn.Module):
    """Distance of pictures [B,3,H,W] in [0,1], sides of at least 16: f32[B], 0 = equal; frozen."""

    mean: Tensor
    deviation: Tensor
    hann: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, backbone: dict[str, Tensor], weights: dict[str, Tensor]):
        """backbone: features.N.weight and .bias of torchvision's VGG16; weights: alpha and beta [1,1475,1,1]
        of the DISTS authors."""
        super().__init__()
        wanted = [
            (f"features.{i}.{kind}", backbone)
            for stage in STAGES
            for i in stage
            for kind in ("weight", "bias")
        ]
        wanted += [("alpha", weights), ("beta", weights)]
        if missing := [name for name, source in wanted if name not in source]:
            raise CheckpointError(
                f"DISTS: {len(missing)} weights are missing ({', '.join(missing[:4])}, ...), expected VGG16 and its alpha and beta"
            )
        for name, source in wanted:
            self.register_buffer(name.replace(".", "_"), source[name].float())
        for name in ("alpha", "beta"):
            if self.get_buffer(name).shape != (1, ALL_CHANNELS, 1, 1):
                raise CheckpointError(
                    f"DISTS: {name} has shape {list(self.get_buffer(name).shape)}, expected [1,{ALL_CHANNELS},1,1]"
                )
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        hann = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("hann", (hann[:, None] * hann[None])[None, None])

    def _pooled(self, x: Tensor) -> Tensor:
        """Root of the windowed mean square, every second pixel: pooling without aliases."""
        kernel = self.hann.expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()

    def _features(self, x: Tensor) -> list[Tensor]:
        out, x = [x], (x - self.mean) / self.deviation
        for k, stage in enumerate(STAGES):
            x = self._pooled(x) if k else x
            for i in stage:
                x = F.relu(
                    F.conv2d(
                        x,
                        self.get_buffer(f"features_{i}_weight"),
                        self.get_buffer(f"features_{i}_bias"),
                        padding=1,
                    )
                )
            out.append(x)
        return out

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance of each pair."""
        texture, structure = [], []
        for x, y in zip(self._features(a), self._features(b), strict=True):
            mx, my = x.mean((2, 3)), y.mean((2, 3))
            dx, dy = x - mx[..., None, None], y - my[..., None, None]
            texture.append((2 * mx * my + SMOOTH) / (mx**2 + my**2 + SMOOTH))
            structure.append(
                (2 * (dx * dy).mean((2, 3)) + SMOOTH) / ((dx**2).mean((2, 3)) + (dy**2).mean((2, 3)) + SMOOTH)
            )
        alpha, beta = self.alpha.flatten(), self.beta.flatten()
        likeness = torch.cat(texture, 1) @ alpha + torch.cat(structure, 1) @ beta
        return 1 - likeness / (alpha.sum() + beta.sum())


def load_dists(backbone, weights) -> Dists:
    """From a VGG16 file and the authors' weights.pt, each .safetensors or a torch file of today's (zip)
    format, read as data. Raises CheckpointError naming the file."""
    loaded = []
    for path in (backbone, weights):
        _, entries = weight_entries(path)
        loaded.append({name: entry.load() for name, entry in entries.items()})
    return Dists(*loaded).eval()
