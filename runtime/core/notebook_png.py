"""`notebook_png`: a frame as a notebook shows it."""

from __future__ import annotations

import numpy as np


def notebook_png(rgba: np.ndarray, straight: bool = False) -> bytes:
    """u8[H,W,4], sRGB, premultiplied unless `straight` -> a PNG with alpha, whose colour is straight as PNG
    wants it."""
    import cv2  # not for those who only read poses and cameras

    bgra = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
    if not straight:
        alpha = np.maximum(bgra[..., 3:].astype(np.uint16), 1)
        bgra[..., :3] = np.minimum((bgra[..., :3] * np.uint16(255) + alpha // 2) // alpha, 255)
    return cv2.imencode(".png", bgra)[1].tobytes()
