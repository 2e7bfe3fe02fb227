"""SSIM (Wang et al. 2004) and MS-SSIM (Wang et al. 2003) of colour pictures."""

from __future__ import annotations

import cv2
import numpy as np

WINDOW, SIGMA = 11, 1.5  # pixels
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, five scales
MIN_SIDE = WINDOW << (len(SCALE_WEIGHTS) - 1)  # 176 pixels: the window must fit the smallest scale


def _checked(a: np.ndarray, b: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    if a.shape != b.shape or a.ndim != 3 or min(a.shape[:2]) < least:
        raise ValueError(
            f"pictures: got shapes {list(a.shape)} and {list(b.shape)}, expected twice the same [H,W,C] of at least {least}"
        )
    return a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)


def _blur(x: np.ndarray) -> np.ndarray:
    """Gaussian mean of every window that lies whole inside the picture."""
    r = WINDOW // 2
    return cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA)[r:-r, r:-r]


def _terms(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per channel f64[C]: mean SSIM, and mean of its contrast and structure term alone."""
    c1, c2 = K1**2, K2**2
    # about 0.5, because var = E[x^2] - E[x]^2 in f32 loses less for small values
    p, q = a - 0.5, b - 0.5
    mean_a, mean_b = _blur(p), _blur(q)
    var = _blur(p * p + q * q) - mean_a * mean_a - mean_b * mean_b
    cov = _blur(p * q) - mean_a * mean_b
    cs = (2 * cov + c2) / (var + c2)
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    l = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return (l * cs).mean((0, 1), dtype=np.float64), cs.mean((0, 1), dtype=np.float64)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of pictures f32[H,W,C] in [0,1], H and W >= 11: Gaussian window 11x11 of sigma 1.5, windows
    inside the picture, mean over channels. Raises ValueError."""
    return float(_terms(*_checked(a, b, WINDOW))[0].mean())


def _halved(x: np.ndarray) -> np.ndarray:
    """Mean of 2x2 pixels; an odd last row or column is repeated."""
    x = np.pad(x, ((0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)), mode="edge")
    return 0.25 * (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2])


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Five-scale SSIM of pictures f32[H,W,C] in [0,1], H and W >= 176, mean over channels. Raises ValueError.

    A negative contrast and structure term (pictures that are each other's negative) counts as 0, because its
    power is undefined.
    """
    a, b = _checked(a, b, MIN_SIDE)
    product = np.ones(a.shape[2])
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        whole, cs = _terms(a, b)
        product *= np.maximum(whole if scale == len(SCALE_WEIGHTS) - 1 else cs, 0) ** weight
    return float(product.mean())
