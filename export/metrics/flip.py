"""LDR-FLIP: the difference a person sees when flipping between two pictures (Andersson et al. 2020, "FLIP: A
Difference Evaluator for Alternating Images", Proc. ACM CGIT 3(2))."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

PIXELS_PER_DEGREE = 67.0  # a 4K screen 0.7 m wide seen from 0.7 m, the paper's default
# Contrast sensitivity as sums of Gaussians (a1, b1, a2, b2), paper section 4.1.1: achromatic, red-green,
# blue-yellow.
CONTRAST = ((1.0, 0.0047, 0.0, 1e-5), (1.0, 0.0053, 0.0, 1e-5), (34.1, 0.04, 13.5, 0.025))
COLOUR_POWER, COLOUR_KNEE, COLOUR_SHARE = 0.7, 0.4, 0.95  # q_c, p_c, p_t
FEATURE_WIDTH, FEATURE_POWER = 0.082, 0.5  # w in degrees, q_f


def _rgb_to_xyz() -> np.ndarray:
    """Linear sRGB to XYZ f64[3,3], from the primaries and the D65 white of IEC 61966-2-1."""
    xy = np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]])
    primaries = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy.sum(1)) / xy[:, 1]])
    white = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
    return primaries * np.linalg.solve(primaries, white)


RGB_TO_XYZ = _rgb_to_xyz()
# XYZ relative to white, so that white is (1, 1, 1)
RGB_TO_RELATIVE = (RGB_TO_XYZ / RGB_TO_XYZ.sum(1, keepdims=True)).astype(np.float32)
RELATIVE_TO_RGB = np.linalg.inv(RGB_TO_RELATIVE.astype(np.float64)).astype(np.float32)
# YCxCz, linear opponent colours: Y = 116 y - 16, Cx = 500 (x - y), Cz = 200 (y - z)
RELATIVE_TO_OPPONENT = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]], np.float32)
OPPONENT_OFFSET = np.array([-16, 0, 0], np.float32)
OPPONENT_TO_RELATIVE = np.linalg.inv(RELATIVE_TO_OPPONENT.astype(np.float64)).astype(np.float32)


def _linear(rgb: np.ndarray) -> np.ndarray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def _hunt_lab(relative: np.ndarray) -> np.ndarray:
    """XYZ relative to white [...,3] to CIELAB whose colourfulness grows with lightness (the Hunt effect)."""
    d = 6 / 29
    f = np.where(relative > d**3, np.cbrt(relative), relative / (3 * d * d) + 4 / 29)
    lightness = 116 * f[..., 1] - 16
    chroma = 0.01 * lightness
    return np.stack(
        [lightness, chroma * 500 * (f[..., 0] - f[..., 1]), chroma * 200 * (f[..., 1] - f[..., 2])], -1
    )


def _hyab(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    d = a - b
    return np.abs(d[..., 0]) + np.sqrt(d[..., 1] ** 2 + d[..., 2] ** 2)


_GREEN_BLUE = _hunt_lab(np.eye(3)[1:] @ RGB_TO_RELATIVE.T.astype(np.float64))
MAX_COLOUR = float(_hyab(*_GREEN_BLUE) ** COLOUR_POWER)  # of sRGB green and blue, the largest there is


@cache
def _contrast_kernels(ppd: float) -> list[list[tuple[float, np.ndarray]]]:
    """For each opponent channel, Gaussians as (weight, 1-D kernel f32[n] of sum 1)."""
    widest = max(max(b1, b2) for _, b1, _, b2 in CONTRAST)
    radius = int(np.ceil(3 * np.sqrt(widest / (2 * np.pi**2)) * ppd))
    x2 = (np.arange(-radius, radius + 1) / ppd) ** 2
    out = []
    for a1, b1, a2, b2 in CONTRAST:
        parts = []
        for a, b in ((a1, b1), (a2, b2)):
            g = np.exp(-(np.pi**2) * x2 / b)
            if a:
                parts.append((a * np.sqrt(np.pi / b) * g.sum() ** 2, (g / g.sum()).astype(np.float32)))
        total = sum(w for w, _ in parts)
        out.append([(w / total, g) for w, g in parts])
    return out


@cache
def _feature_kernels(ppd: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1-D kernels: Gaussian of sum 1; its first and its second derivative, positive and negative weights of
    sum 1 and -1."""
    sigma = 0.5 * FEATURE_WIDTH * ppd
    radius = int(np.ceil(3 * sigma))
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    g = np.exp(-(x**2) / (2 * sigma**2))

    def balanced(k: np.ndarray) -> np.ndarray:
        return np.where(k > 0, k / k[k > 0].sum(), k / -k[k < 0].sum()).astype(np.float32)

    return (g / g.sum()).astype(np.float32), balanced(-x * g), balanced((x**2 / sigma**2 - 1) * g)


def _filter(x: np.ndarray, horizontal: np.ndarray, vertical: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(x, cv2.CV_32F, horizontal, vertical, borderType=cv2.BORDER_REPLICATE)


def _seen(relative: np.ndarray, ppd: float) -> np.ndarray:
    """What the eye makes of a picture's colours: blurred by its contrast sensitivity, as Hunt-adjusted
    CIELAB."""
    opponent = relative @ RELATIVE_TO_OPPONENT.T + OPPONENT_OFFSET
    blurred = np.empty_like(opponent)
    for c, parts in enumerate(_contrast_kernels(ppd)):
        channel = np.ascontiguousarray(opponent[..., c])
        blurred[..., c] = sum(w * _filter(channel, g, g) for w, g in parts)
    rgb = np.clip((blurred - OPPONENT_OFFSET) @ (RELATIVE_TO_RGB @ OPPONENT_TO_RELATIVE).T, 0, 1)
    return _hunt_lab(rgb @ RGB_TO_RELATIVE.T)


def _features(y: np.ndarray, ppd: float) -> tuple[np.ndarray, np.ndarray]:
    """Strength of edges and of points in the luminance y [H,W]."""
    g, first, second = _feature_kernels(ppd)
    edges, points = (np.hypot(_filter(y, k, g), _filter(y, g, k)) for k in (first, second))
    return edges, points


def flip_map(truth: np.ndarray, picture: np.ndarray, ppd: float = PIXELS_PER_DEGREE) -> np.ndarray:
    """FLIP of each pixel f32[H,W] in [0,1], 0 = no visible difference; its mean is the FLIP of the pair.

    truth, picture: f32[H,W,3] in [0,1], sRGB-encoded. ppd: pixels per degree of the viewer's eye. Raises
        ValueError.
    """
    if truth.shape != picture.shape or truth.ndim != 3 or truth.shape[2] != 3:
        raise ValueError(
            f"pictures: got shapes {list(truth.shape)} and {list(picture.shape)}, expected twice the same [H,W,3]"
        )
    relative = [
        _linear(np.clip(p.astype(np.float32, copy=False), 0, 1)).astype(np.float32) @ RGB_TO_RELATIVE.T
        for p in (truth, picture)
    ]
    colour = _hyab(*(_seen(r, ppd) for r in relative)) ** COLOUR_POWER
    knee = COLOUR_KNEE * MAX_COLOUR
    colour = np.where(
        colour < knee,
        COLOUR_SHARE / knee * colour,
        COLOUR_SHARE + (colour - knee) / (MAX_COLOUR - knee) * (1 - COLOUR_SHARE),
    )
    edges, points = zip(*(_features(np.ascontiguousarray(r[..., 1]), ppd) for r in relative), strict=True)
    feature = np.maximum(np.abs(edges[0] - edges[1]), np.abs(points[0] - points[1])) / np.sqrt(2)
    return np.clip(colour, 0, 1) ** (1 - np.clip(feature**FEATURE_POWER, 0, 1)).astype(np.float32)
