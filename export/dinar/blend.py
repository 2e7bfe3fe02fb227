"""Seams between textures: pyramid blending and Poisson blending (paper 3.2 names both as options)."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError

LEVELS = 4
TOLERANCE, MAX_ITERATIONS = 1e-4, 2000


def pyramid_blend(textures: np.ndarray, weights: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """Blend textures f[N,C,T,T] with weights f[N,T,T] band by band, f32[C,T,T]: coarse colours over wide,
    details over narrow seams.

    Weights are normalised per texel; texels without any get the plain mean. Raises InputError.
    """
    n, size = len(textures), textures.shape[-1]
    if textures.ndim != 4 or weights.shape != (n, *textures.shape[2:]) or n == 0:
        raise InputError(
            f"textures, weights: got shapes {list(textures.shape)} and {list(weights.shape)}, "
            "expected [N,C,T,T] and [N,T,T]"
        )
    if levels < 1 or size % (1 << levels):
        raise InputError(
            f"levels: got {levels} for {size} texels a side, expected a size that halves that often"
        )
    total = weights.sum(0)
    w = np.where(total > 0, weights / np.maximum(total, 1e-12), 1 / n).astype(np.float32)
    out = []
    for level in range(levels + 1):
        out.append(0)
        for i in range(n):
            out[level] = out[level] + _band(textures[i], levels, level) * _shrunk(w[i], level)[..., None]
    result = out[levels]
    for level in range(levels - 1, -1, -1):
        result = cv2.pyrUp(result).reshape(out[level].shape) + out[level]
    return np.ascontiguousarray(result.transpose(2, 0, 1))


def _shrunk(image: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        image = cv2.pyrDown(image)
    return image


def _band(texture: np.ndarray, levels: int, level: int) -> np.ndarray:
    """Level `level` of the Laplacian pyramid, [t,t,C]."""
    image = _shrunk(np.ascontiguousarray(texture.transpose(1, 2, 0), np.float32), level)
    shape = (*image.shape[:2], texture.shape[0])
    image = image.reshape(shape)
    return image if level == levels else image - cv2.pyrUp(cv2.pyrDown(image)).reshape(shape)


def poisson_blend(
    base: np.ndarray, source: np.ndarray, inside: np.ndarray, covered: np.ndarray | None = None
) -> np.ndarray:
    """`source` within `inside`, shifted smoothly so that it meets `base` on the border without a seam,
    f32[C,T,T] (Perez et al. 2003).

    base, source f[C,T,T]; inside bool[T,T]; covered bool[T,T]: texels with surface, so that gaps of the atlas
    are no border.
    The shift is harmonic: Laplace's equation with base - source on the border, by conjugate gradients. Parts
    that touch no border keep the source. Raises InputError.
    """
    if base.shape != source.shape or inside.shape != base.shape[1:]:
        raise InputError(
            f"base, source, inside: got shapes {list(base.shape)}, {list(source.shape)}, {list(inside.shape)}; "
            "expected [C,T,T] twice and [T,T]"
        )
    covered = np.ones_like(inside, bool) if covered is None else covered.astype(bool)
    unknown = inside.astype(bool) & covered
    border = covered & ~unknown
    links = _around(
        covered.astype(np.float64)
    )  # texels on the surface only, so that gaps neither pull nor hold
    out = base.astype(np.float32).copy()
    for c in range(len(base)):
        gap = base[c].astype(np.float64) - source[c]
        shift = _laplace(unknown, links, _around(np.where(border, gap, 0.0)) * unknown)
        out[c][unknown] = (source[c] + shift)[unknown]
    return out


def _around(plane: np.ndarray) -> np.ndarray:
    """Sum of the four neighbours."""
    p = np.pad(plane, 1)
    return p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]


def _laplace(unknown: np.ndarray, links: np.ndarray, right: np.ndarray) -> np.ndarray:
    x = np.zeros_like(right)
    residual = right.copy()
    inverse = unknown / np.maximum(links, 1)
    z = inverse * residual
    direction, rz = z.copy(), float((residual * z).sum())
    limit = TOLERANCE**2 * max(rz, 1e-30)
    for _ in range(MAX_ITERATIONS):
        if rz <= limit:
            break
        applied = (links * direction - _around(direction)) * unknown
        step = rz / max(float((direction * applied).sum()), 1e-300)
        x += step * direction
        residual -= step * applied
        z = inverse * residual
        rz, before = float((residual * z).sum()), rz
        direction = z + rz / before * direction
    return x
