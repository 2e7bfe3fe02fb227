"""Rasters of the body for the networks: texture coordinates, and any values that vertices carry."""

from __future__ import annotations

import numpy as np

from dinar_live import kernels

BACKGROUND = -10.0  # of both texture coordinates where nothing is
NEAREST = 1e-5  # metres; the published rasterizer leaves out faces with a nearer vertex
TINY = 1e-6  # kernels.rasterize wants a near plane


def rasterize_values(
    projective: np.ndarray, faces: np.ndarray, values: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Vertex values f32[V,C] seen in each pixel, f32[C,H,W], 0 where nothing is.

    projective f32[V,3] = (px*z, py*z, z), faces i32[F,3] counter-clockwise seen from outside (others are
    culled), size (H, W). Perspective-correct; the pixel in row i, column j is sampled at (j+0.5, i+0.5).
    """
    kept = np.ascontiguousarray(faces[(projective[faces, 2] >= NEAREST).all(1)], np.int32)
    raster = kernels.rasterize(np.ascontiguousarray(projective, np.float32), kept, size, near=TINY)
    seen = raster.triangle_id >= 0
    out = np.zeros((values.shape[1], *size), np.float32)
    corners = values[kept[raster.triangle_id[seen]]].astype(np.float32)
    out[:, seen] = np.einsum("nk,nkc->cn", raster.barycentrics[seen], corners)
    return out


def rasterize_uv(
    projective: np.ndarray, faces: np.ndarray, uv: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates as the networks take them: uv f32[2,H,W] in [-1,1] with background -10, mask
    f32[1,H,W] (paper 3.1, R).

    uv f32[V,2] in [0,1], v down, one per vertex of `projective` (see `Layout`); arguments as in
    `rasterize_values`.
    """
    uv01 = rasterize_values(projective, faces, uv, size)
    mask = (uv01 > 0).any(0, keepdims=True)
    return np.where(mask, 2 * uv01 - 1, np.float32(BACKGROUND)), np.asarray(mask, np.float32)


def rasterize_colours(
    projective: np.ndarray, faces: np.ndarray, colours: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Vertex colours f32[V,C] as a picture f32[C,H,W] and its mask f32[1,H,W]: pixels where any channel is
    positive."""
    picture = rasterize_values(projective, faces, colours, size)
    mask = np.asarray((picture > 0).any(0, keepdims=True), np.float32)
    return picture * mask, mask
