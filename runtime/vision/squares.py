"""Squares of a picture, turned and drawn small: what the networks look at."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .landmarks import Crop


def to_cv(matrix: np.ndarray) -> np.ndarray:
    """A map [2,3] between pixels with centres at +0.5, as OpenCV wants it: centres at whole numbers."""
    m = matrix.copy()
    m[:, 2] += m[:, :2] @ [0.5, 0.5] - 0.5
    return m


def drawn(rgb: np.ndarray, crop: Crop, n: int) -> np.ndarray:
    """The square as u8[n,n,3], black outside of the picture. A much larger one is shrunk first, against aliasing."""
    if crop.side <= 2 * n:
        return cv2.warpAffine(rgb, to_cv(crop.matrix(n)), (n, n), flags=cv2.INTER_LINEAR)
    factor = 2 ** int(math.log2(crop.side / n))
    reach = crop.side * (abs(math.cos(crop.angle)) + abs(math.sin(crop.angle))) / 2 + 2 * factor
    height, width = rgb.shape[:2]
    x0, x1 = (int(np.clip(v, 0, width)) for v in (crop.x - reach, crop.x + reach + 1))
    y0, y1 = (int(np.clip(v, 0, height)) for v in (crop.y - reach, crop.y + reach + 1))
    if x1 <= x0 or y1 <= y0:
        return np.zeros((n, n, 3), np.uint8)
    size = max(1, round((x1 - x0) / factor)), max(1, round((y1 - y0) / factor))
    small = cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
    fx, fy = size[0] / (x1 - x0), size[1] / (y1 - y0)
    # from the small picture's pixels to the square's: undo the cut and the shrinking, then as usual
    m = crop.matrix(n) @ np.array([[1 / fx, 0, x0], [0, 1 / fy, y0], [0, 0, 1]])
    return cv2.warpAffine(small, to_cv(m), (n, n), flags=cv2.INTER_LINEAR)


def shifted(crop: Crop, dx: float, dy: float, scale: float) -> Crop:
    """Moved by parts of its side along its own axes, then scaled."""
    c, s = math.cos(crop.angle), math.sin(crop.angle)
    return Crop(
        crop.x + crop.side * (c * dx - s * dy),
        crop.y + crop.side * (s * dx + c * dy),
        crop.side * scale,
        crop.angle,
    )


def square_between(a: np.ndarray, b: np.ndarray, degrees: float, scale: float, dy: float = 0.0) -> Crop:
    """The square around a that reaches to b, turned so that a to b points to `degrees` in it (counter-clockwise from
    its right), moved by dy of its side and scaled."""
    d = np.asarray(b, float) - np.asarray(a, float)
    angle = math.radians(degrees) - math.atan2(-d[1], d[0])
    angle = (angle + math.pi) % (2 * math.pi) - math.pi
    side = max(2 * float(np.hypot(*d)), 1e-3)
    return shifted(Crop(float(a[0]), float(a[1]), side, angle), 0.0, dy, scale)


def turned_back(xyz: np.ndarray, crop: Crop) -> np.ndarray:
    """Points [k,3] on the axes of a square's network, on those of the picture."""
    c, s = math.cos(crop.angle), math.sin(crop.angle)
    return xyz @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def anchors(size: int, strides: tuple[int, ...], per_cell: tuple[int, ...]) -> np.ndarray:
    """Centres f32[k,2] of a single-shot detector's cells, in 0..1; their sizes are 1."""
    out = []
    for stride, n in zip(strides, per_cell, strict=True):
        m = -(-size // stride)
        grid = (np.arange(m) + 0.5) / m
        y, x = np.meshgrid(grid, grid, indexing="ij")
        out.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), n, axis=0))
    return np.concatenate(out).astype(np.float32)
