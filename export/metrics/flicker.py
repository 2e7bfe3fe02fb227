"""Temporal flicker: how much the picture of a moving surface changes although the surface itself only
moves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer

from .pictures import on_white

SAME_SURFACE = 0.01  # metres: depths nearer than this to each other are the same part of the body


class Surface:
    """What of a posed body is seen where: made per frame, to find in one frame the surface points of
    another."""

    def __init__(self, rig: Rig, pose: Pose, camera: Camera, size: tuple[int, int]):
        """size (height, width) in pixels."""
        vertices = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)
        self._faces = rig.faces
        self.projective, _ = kernels.project(vertices, camera.matrix)
        self.raster = kernels.rasterize(self.projective, rig.faces, size)

    def seen_in(self, other: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pixels of this frame whose surface point is seen in the `other`: rows i64[n], columns i64[n],
        and f64[n,2] = (x, y) of the point there, in pixels. All four pixels around that place show the same
        part of the body, so sampling there mixes nothing else in.
        """
        rows, columns = np.nonzero(self.raster.triangle_id >= 0)
        corners = other.projective[self._faces[self.raster.triangle_id[rows, columns]]].astype(np.float64)
        point = np.einsum("nk,nkc->nc", self.raster.barycentrics[rows, columns], corners)
        z = point[:, 2]
        xy = point[:, :2] / np.where(z > kernels.NEAR, z, np.inf)[:, None]
        height, width = other.raster.triangle_id.shape
        x, y = (np.floor(xy - 0.5).astype(np.int64)).T
        there = (z > kernels.NEAR) & (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
        rows, columns, xy, x, y, z = (a[there] for a in (rows, columns, xy, x, y, z))
        same = np.ones(len(z), bool)
        for dy in (0, 1):
            for dx in (0, 1):  # an empty pixel has depth 0
                same &= np.abs(other.raster.depth[y + dy, x + dx] - z) < SAME_SURFACE
        return rows[same], columns[same], xy[same]


def sample(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Bilinear samples f64[n,C] of image [H,W,C] at xy f64[n,2] pixels (centres at .5), which lie between
    pixel centres."""
    base = np.floor(xy - 0.5).astype(np.int64)
    (fx, fy), (x, y) = (xy - 0.5 - base).T[..., None], base.T
    top = image[y, x] * (1 - fx) + image[y, x + 1] * fx
    return top * (1 - fy) + (image[y + 1, x] * (1 - fx) + image[y + 1, x + 1] * fx) * fy


def flicker(renderer: Renderer, frames: Iterable[tuple[Pose, Camera]]) -> float:
    """Mean absolute difference, in steps of 0..255, between each frame and the one before warped onto it by
    the motion of the mesh, over the pixels visible in both; mean over pairs of consecutive `frames`. The
    renderer returns premultiplied colour (as by default).

    Not 0 for a static texture: sampling twice blurs, and light that the renderer moves over the surface
    counts too. NaN for fewer than two frames, or where nothing is visible in both.
    """
    before, values = None, []
    for pose, camera in frames:
        surface = Surface(renderer.avatar.rig, pose, camera, renderer.size)
        picture = on_white(renderer.render(pose, camera).rgba, premultiplied=True)
        if before is not None:
            rows, columns, xy = surface.seen_in(before[0])
            if len(rows):
                values.append(255 * float(np.abs(picture[rows, columns] - sample(before[1], xy)).mean()))
        before = surface, picture
    return float(np.mean(values)) if values else float("nan")
