"""The texture that the networks take: 16 learned channels, RGB, and two masks (Eq. 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dinar_live.runtime.core.errors import InputError

from .sampling import SampledTexture

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

RGB = slice(16, 19)
CLOSED, INPAINT = 19, 20


def assemble_texture(generated: np.ndarray, sampled: SampledTexture) -> np.ndarray:
    """T = T_gen + T_rgb + masks (Eq. 2), f32[21,T,T]: generated f32[16,T,T], RGB in [0,1], closed mask,
    inpaint mask (= closed - sampled).

    The paper lists B_smp and B_fill; the published networks take B_fill and B_fill - B_smp.
    """
    size = sampled.values.shape[1]
    if generated.shape != (16, size, size) or sampled.values.shape[0] != 3:
        raise InputError(
            f"texture: got {list(generated.shape)} generated and {list(sampled.values.shape)} sampled channels, "
            f"expected [16,{size},{size}] and [3,{size},{size}]"
        )
    rgb = sampled.values.astype(np.float32) / np.float32(255)
    return np.concatenate(
        [
            generated.astype(np.float32),
            rgb,
            sampled.closed.astype(np.float32),
            sampled.inpaint.astype(np.float32),
        ]
    )


def texture_mask(texture: Array) -> Array:
    """B_fill, [..., 1, T, T] of a texture [..., 21, T, T]."""
    return texture[..., CLOSED : CLOSED + 1, :, :]
