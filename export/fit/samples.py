"""Training pictures: crops of a capture's frames, turned and scaled together with their cameras, the mesh
rasterized anew each time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig

from .frames import Frame

TURN = 0.5  # radians, at most; about the viewing axis
SCALE = 1.5  # at most, and its inverse
AROUND = 17  # pixels
# share of crops that are only shifted by whole pixels: what is resampled is softer than what was taken
PLAIN = 0.4


class Batch(NamedTuple):
    """uv f32[N,S,S,2] in [0,1] (0 off the mesh), mask f32[N,S,S] of the mesh; truth f32[N,4,S,S]
    premultiplied RGBA in [0,1]; weight f32[N,S,S], 1 on and around the person, 0 far away, where everything
    is right anyway, and where the picture ends."""

    uv: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    weight: np.ndarray


class Crops:
    """Crops of one person's frames, `plain` of them only shifted by whole pixels."""

    def __init__(
        self, rig: Rig, frames: Sequence[Frame], size: int = 256, seed: int = 0, plain: float = PLAIN
    ):
        self._rig = rig
        self._frames = frames
        self._size = size
        self._seed = seed
        self._plain = plain
        self._inside = [np.flatnonzero(f.picture[..., 3] > 127) for f in frames]

    def batch(self, step: int, count: int) -> Batch:
        """The crops of one step; the same step gives the same crops."""
        rng = np.random.default_rng((self._seed, step))
        items = [self._crop(int(f), rng) for f in rng.integers(0, len(self._frames), count)]
        return Batch(*(np.stack(a) for a in zip(*items, strict=True)))

    def _crop(self, f: int, rng: np.random.Generator):
        picture, S = self._frames[f].picture, self._size
        place = self._inside[f][rng.integers(len(self._inside[f]))] if len(self._inside[f]) else 0
        row, column = divmod(int(place), picture.shape[1])
        spot = rng.uniform(0.2, 0.8, 2) * S  # where in the crop that point of the person lies
        if rng.random() < self._plain:
            affine = np.array([[1.0, 0, round(spot[0]) - column], [0, 1, round(spot[1]) - row]])
            flags = cv2.INTER_NEAREST
        else:
            turn, scale = rng.uniform(-TURN, TURN), SCALE ** rng.uniform(-1, 1)
            linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
            affine = np.c_[linear, spot - linear @ (column + 0.5, row + 0.5)]
            flags = cv2.INTER_CUBIC
        centres = affine.copy()  # cv2 puts the centre of the first pixel at 0, we at 0.5
        centres[:, 2] += 0.5 * affine[:, :2].sum(1) - 0.5
        truth = cv2.warpAffine(picture, centres, (S, S), flags=flags)
        weight = (
            cv2.warpAffine(np.ones(picture.shape[:2], np.float32), centres, (S, S), flags=cv2.INTER_LINEAR)
            > 0.999
        )
        weight &= cv2.dilate(truth[..., 3], np.ones((AROUND, AROUND), np.uint8)) > 5
        uv, mask = self._surface(self._frames[f], affine)
        return (
            uv,
            mask,
            np.ascontiguousarray(truth.transpose(2, 0, 1).astype(np.float32) / 255),
            weight.astype(np.float32),
        )

    def _surface(self, frame: Frame, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uv f32[S,S,2] and mask f32[S,S] seen through the frame's camera followed by `affine` [2,3] in
        pixels."""
        vertices = kernels.lbs(
            self._rig.model, frame.pose.body, frame.pose.transl, frame.pose.expression, threads=1
        )
        projective, _ = kernels.project(vertices, np.vstack([affine, [0, 0, 1]]) @ frame.matrix)
        return surface_uv(
            self._rig, kernels.rasterize(projective, self._rig.faces, (self._size, self._size), threads=1)
        )


def surface_uv(rig: Rig, raster: kernels.Raster) -> tuple[np.ndarray, np.ndarray]:
    """uv f32[H,W,2] in [0,1] (0 where nothing is) and mask f32[H,W] of a raster."""
    uv = np.zeros((*raster.triangle_id.shape, 2), np.float32)
    mask = raster.triangle_id >= 0
    corners = rig.uv[rig.uv_faces[raster.triangle_id[mask]]]
    uv[mask] = np.einsum("nk,nkc->nc", raster.barycentrics[mask], corners)
    return uv, mask.astype(np.float32)
