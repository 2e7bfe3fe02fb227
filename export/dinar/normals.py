"""How frontally the photo sees each point of the body: lambda of Eq. 5."""

from __future__ import annotations

import numpy as np

from .rasterize_uv import rasterize_colours


def vertex_normals(projective: np.ndarray, K: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals f32[V,3] in the camera frame, pointing into the body, so that z > 0 faces
    the camera.

    projective [V,3] = K @ x_camera, K [3,3], faces i[F,3] counter-clockwise seen from outside. Vertices
    without a face get 0.
    """
    points = projective.astype(np.float64) @ np.linalg.inv(np.asarray(K, np.float64)).T
    a, b, c = (points[faces[:, i]] for i in range(3))
    inward = np.cross(c - b, b - a)
    total = np.stack(
        [np.bincount(faces.ravel(), np.repeat(inward[:, i], 3), len(points)) for i in range(3)], 1
    )
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def normal_map(projective: np.ndarray, K: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cosine between the surface and the optical axis in each pixel, u8[1,H,W] (255 = frontal), as it is
    sampled into the texture.

    The cosine is with the axis, not with the ray of the pixel, and interpolated normals are not normalised
    again (published code).
    """
    picture, mask = rasterize_colours(projective, faces, vertex_normals(projective, K, faces), size)
    return (np.clip(picture[2:3], 0, 1) * mask * 255).astype(np.uint8)
