"""The colour texture from the pictures of a capture: the mean of what every frame shows of a texel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.export.fill import extend, fill_texture
from dinar_live.export.texture_space import Texels
from dinar_live.runtime.avatar import Rig

from .frames import Frame
from .samples import surface_uv

SEEN = 1e-3  # sum of bilinear weights from which a texel counts as seen
KERNEL = np.ones((3, 3), np.uint8)


def rastered(rig: Rig, frame: Frame) -> kernels.Raster:
    """The rig in the frame's pose, seen by its camera."""
    vertices = kernels.lbs(rig.model, frame.pose.body, frame.pose.transl, frame.pose.expression)
    projective, _ = kernels.project(vertices, frame.matrix)
    return kernels.rasterize(projective, rig.faces, frame.size)


def mean_texture(rig: Rig, frames: Sequence[Frame], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Texture f32[T,T,3] and how much was seen of every texel f32[T,T] (sum of bilinear weights). Unseen
    texels take the nearest seen one's colour. Pixels at outlines are left out: they hold two surfaces."""
    colour, weight = np.zeros((3, size * size)), np.zeros(size * size)
    for frame in frames:
        uv, mask = surface_uv(rig, rastered(rig, frame))
        use = cv2.erode(((mask > 0) & (frame.picture[..., 3] == 255)).astype(np.uint8), KERNEL) > 0
        place = uv[use].astype(np.float64) * (size - 1)
        corner = np.clip(place.astype(int), 0, size - 2)
        fx, fy = (place - corner).T
        first = corner[:, 1] * size + corner[:, 0]
        values = frame.picture[use].astype(np.float64)
        for step, w in (
            (0, (1 - fx) * (1 - fy)),
            (1, fx * (1 - fy)),
            (size, (1 - fx) * fy),
            (size + 1, fx * fy),
        ):
            weight += np.bincount(first + step, w, size * size)
            for k in range(3):
                colour[k] += np.bincount(first + step, w * values[:, k], size * size)
    texture = (colour / (255 * np.maximum(weight, 1e-9))).T.reshape(size, size, 3)
    weight = weight.reshape(size, size)
    seen = weight > SEEN
    return np.ascontiguousarray(extend(texture, seen) if seen.any() else texture, np.float32), weight.astype(
        np.float32
    )


def filled_texture(rig: Rig, tx: Texels, texture: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`mean_texture` with what no frame shows diffused over the mesh, across the seams of the atlas;
    f32[T,T,3]."""
    confidence = np.clip(weight / 0.5, 0, 1) * tx.covered
    return np.ascontiguousarray(
        np.clip(extend(fill_texture(rig, tx, texture, confidence, []), tx.covered), 0, 1), np.float32
    )
