"""New colours for garments, hair and skin: clusters recoloured with their shading kept, stripes,
checks, dots, tints."""

from __future__ import annotations

import cv2
import numpy as np

CLUSTERS = 4
SMALL = 96  # texels a side that clusters are looked for in
PATTERNS = ("stripes", "checks", "dots", "rings")

_clusters: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}


def lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """OpenCV's 8-bit CIELAB as floats [...,3] -> u8[...,3] RGB."""
    flat = np.clip(lab, 0, 255).astype(np.uint8).reshape(-1, 1, 3)
    return cv2.cvtColor(flat, cv2.COLOR_LAB2RGB).reshape(lab.shape)


def cloth_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour that clothes have, 8-bit CIELAB f64[3]: a third are near grey, the others may be
    vivid."""
    spread = 5 if rng.random() < 0.35 else 28
    return np.array([rng.uniform(25, 230), *(128 + rng.normal(0, spread, 2))])


def pattern(rng: np.random.Generator, height: int, width: int, period: tuple[float, float]) -> np.ndarray:
    """A printed pattern f32[H,W] in [0,1]: stripes, checks, dots or rings, in a random direction."""
    kind = rng.choice(PATTERNS, p=[0.45, 0.25, 0.2, 0.1])
    row, column = np.mgrid[0:height, 0:width].astype(np.float32)
    p = rng.uniform(*period)
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    a, b = column * np.cos(angle) + row * np.sin(angle), row * np.cos(angle) - column * np.sin(angle)
    wave = np.sin(2 * np.pi * a / p)
    level = rng.uniform(-0.4, 0.7)
    if kind == "stripes":
        return (wave > level).astype(np.float32)
    across = np.sin(2 * np.pi * b / p)
    if kind == "checks":
        return 0.5 * (wave > level).astype(np.float32) + 0.5 * (across > level)
    if kind == "dots":
        return (wave * across > rng.uniform(0.2, 0.6)).astype(np.float32)
    centre = rng.uniform(0, 1, 2) * (height, width)
    return (np.sin(2 * np.pi * np.hypot(row - centre[0], column - centre[1]) / p) > level).astype(np.float32)


def _clustered(key: str, texture: np.ndarray):
    """CIELAB f32[H,W,3], soft memberships f32[H,W,K] and cluster colours f32[K,3] of a texture; kept by
    key."""
    if key not in _clusters:
        scale = np.array([0.5, 1, 1], np.float32)
        small = cv2.resize(texture[..., :3], (SMALL, SMALL), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32) * scale
        cv2.setRNGSeed(1)
        label = np.zeros((len(lab), 1), np.int32)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
        _, _, centre = cv2.kmeans(lab, CLUSTERS, label, stop, 2, cv2.KMEANS_PP_CENTERS)
        full = cv2.cvtColor(np.ascontiguousarray(texture[..., :3]), cv2.COLOR_RGB2LAB).astype(np.float32)
        distance = np.stack([((full * scale - c) ** 2).sum(-1) for c in centre], -1)
        weight = np.exp(-distance / 120)
        weight /= weight.sum(-1, keepdims=True) + 1e-9
        _clusters[key] = full, weight.astype(np.float32), centre / scale
    return _clusters[key]


def recolour(key: str, texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A garment's texture u8[H,W,4] in other colours: clusters get new ones, shading stays; some get a
    print."""
    if rng.random() < 0.12:
        return texture
    full, weight, centre = _clustered(key, texture)
    new = centre.copy()
    for k in range(CLUSTERS):
        if rng.random() < 0.85:
            new[k] = cloth_colour(rng)
    for _ in range(rng.integers(0, 3)):
        new[rng.integers(CLUSTERS)] = new[rng.integers(CLUSTERS)]
    out = weight @ new + (full - weight @ centre) * np.array([1, 0.5, 0.5], np.float32)
    if rng.random() < 0.3:
        h, w = texture.shape[:2]
        print_ = pattern(rng, h, w, (0.012 * w, 0.09 * w)) * weight[..., rng.integers(CLUSTERS)]
        out += print_[..., None] * np.array([rng.uniform(-70, 70), *rng.normal(0, 25, 2)], np.float32)
    result = texture.copy()
    result[..., :3] = lab_to_rgb(out)
    return result


def fabric(rng: np.random.Generator, size: int = 256, colour: np.ndarray | None = None) -> np.ndarray:
    """A cloth texture u8[size,size,4] that repeats around (u): colour, weave, perhaps a print, a border
    at the hem.

    colour: 8-bit CIELAB f64[3], or None for any.
    """
    base = cloth_colour(rng) if colour is None else colour
    lab = np.tile(np.float32(base), (size, size, 1))
    noise = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), rng.uniform(0.6, 3))
    lab[..., 0] += noise / noise.std() * rng.uniform(0.5, 5)
    if rng.random() < 0.4:
        mask = pattern(rng, size, size, (6, 64))
        lab += mask[..., None] * np.array([rng.uniform(-80, 80), *rng.normal(0, 25, 2)], np.float32)
    if rng.random() < 0.25:  # a border at the hem (v = 0 is the last row)
        rows = int(size * rng.uniform(0.02, 0.15))
        lab[size - rows :] = cloth_colour(rng)
    if rng.random() < 0.15:
        lab[..., 0] += np.linspace(0, rng.uniform(-60, 60), size, dtype=np.float32)[:, None]
    return np.dstack([lab_to_rgb(lab), np.full((size, size), 255, np.uint8)])


def strands(rng: np.random.Generator, colour: np.ndarray, size: int = 128) -> np.ndarray:
    """A hair texture u8[size,size,4]: light and dark strands along v about a colour [3], sRGB 0..255."""
    noise = rng.normal(0, 1, (size, size)).astype(np.float32)
    along = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.8, sigmaY=14)
    light = 1 + 0.22 * along / along.std()
    rgb = np.clip(light[..., None] * np.float32(colour), 0, 255)
    return np.dstack([rgb, np.full((size, size), 255)]).astype(np.uint8)


def tinted(texture: np.ndarray, tint: np.ndarray) -> np.ndarray:
    """A texture u8[H,W,4] times an RGB tint [3]."""
    out = texture.copy()
    out[..., :3] = np.clip(texture[..., :3] * np.float32(tint), 0, 255)
    return out


def hair_tint(rng: np.random.Generator) -> np.ndarray:
    """From black to blond and grey, some dyed; RGB factors f64[3]."""
    tint = rng.uniform(0.2, 1.5) * np.array([1, rng.uniform(0.75, 1), rng.uniform(0.5, 1)])
    return tint * rng.uniform(0.5, 1.3, 3) if rng.random() < 0.08 else tint


def skin_tint(rng: np.random.Generator) -> np.ndarray:
    """Lighter, darker, redder or yellower skin; RGB factors f64[3]."""
    return rng.uniform(0.7, 1.1) * np.array([1, rng.uniform(0.93, 1.05), rng.uniform(0.88, 1.06)])
