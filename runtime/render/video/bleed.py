"""Colours for where nothing is, so that a lossy picture with alpha has no dark rim."""

from __future__ import annotations

import cv2
import numpy as np

REACH = 8  # pixels: half a block of the codec, and more than its chroma's grid


def bled(rgba: np.ndarray) -> np.ndarray:
    """u8[H,W,4] with straight alpha -> the same with the colours of the rim carried REACH pixels outwards, to
    where alpha is 0; beyond that the mean colour.

    Compression and the halved resolution of colour mix neighbours. Black beyond the rim would darken it.
    """
    alpha = rgba[..., 3]
    empty = alpha == 0
    if not empty.any() or empty.all():
        return rgba
    weight = (alpha > 127).astype(np.float32)
    if not weight.any():
        weight = (alpha > 0).astype(np.float32)
    planes = np.empty((*alpha.shape, 4), np.float32)
    planes[..., :3] = rgba[..., :3] * weight[..., None]
    planes[..., 3] = weight
    blurred = cv2.blur(planes, (2 * REACH + 1, 2 * REACH + 1))
    total = blurred[..., 3:]
    mean = planes[..., :3].sum((0, 1)) / weight.sum()
    near = np.where(total > 1e-3, blurred[..., :3] / np.maximum(total, 1e-3), mean)
    out = rgba.copy()
    out[empty, :3] = (near[empty] + 0.5).astype(np.uint8)
    return out
