"""The known part of the texture copied over the inpainted one (Eq. 6)."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError


def copy_mask(closed: np.ndarray, binary_uv: np.ndarray | None = None) -> np.ndarray:
    """Weights of the known part, f32[T,T]: `closed` f[T,T] (B_fill) shrunk by a texel and softened, but not
    where islands of the atlas end.

    binary_uv f[T,T] in [0,1]: 1 where the atlas has surface; without it island borders shrink too. Quantised
    to 8 bits, as published.
    """
    m = closed.astype(np.float32)
    outside = None if binary_uv is None else 1 - binary_uv.astype(np.float32)
    if outside is not None:
        m = np.clip(m + outside, 0, 1)
    soft = cv2.blur(cv2.erode((m * 255).astype(np.uint8), np.ones((3, 3), np.uint8)), (3, 3))
    m = soft.astype(np.float32) / np.float32(255)
    return m if outside is None else np.clip(m - outside, 0, 1)


def copy_input_part(decoded: np.ndarray, source: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """T = T_res (1 - B) + T_j B (Eq. 6) on all channels: decoded, source f32[C,T,T], mask f32[T,T] or [1,T,T]
    (see `copy_mask`)."""
    if decoded.shape != source.shape or mask.shape[-2:] != decoded.shape[-2:]:
        raise InputError(
            f"textures and mask: got shapes {list(decoded.shape)}, {list(source.shape)}, {list(mask.shape)}; "
            "expected one size"
        )
    m = mask.astype(np.float32)
    return ((1 - m) * decoded + m * source).astype(np.float32)
