"""Merging the textures of several views (paper 3.2)."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core.errors import InputError

TAU = 0.1  # sharpness; the published code multiplies by 10


def view_weights(normal_angles: np.ndarray, tau: float = TAU) -> np.ndarray:
    """w = softmax over views of lambda / tau: normal_angles [N,1,T,T] in [0,1], f32[N,1,T,T]. Where no view
    sees a texel all are 1/N."""
    scaled = normal_angles.astype(np.float64) / tau
    w = np.exp(scaled - scaled.max(0, keepdims=True))
    return (w / w.sum(0, keepdims=True)).astype(np.float32)


def merge_textures(textures: np.ndarray, normal_angles: np.ndarray, tau: float = TAU) -> np.ndarray:
    """T = sum_i T_i w_i (Eq. 5), all channels, the masks too: textures [N,C,T,T], normal_angles [N,1,T,T]
    (cosines), f32[C,T,T]."""
    if (
        textures.ndim != 4
        or normal_angles.shape != (len(textures), 1, *textures.shape[2:])
        or not len(textures)
    ):
        raise InputError(
            f"textures, normal angles: got shapes {list(textures.shape)} and {list(normal_angles.shape)}, "
            "expected [N,C,T,T] and [N,1,T,T]"
        )
    w = view_weights(normal_angles, tau).astype(np.float64)
    return (textures * w).sum(0).astype(np.float32)
