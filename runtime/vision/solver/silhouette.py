"""The person's outline: how far a point is from the mask's edge, and which vertices lie on the body's outline."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.kernels import rasterize
from dinar_live.runtime.core.errors import InputError

from .body import Posed, SolverBody
from .camera import TO_CAMERA, Pinhole
from .columns import Columns, Equations

FIELD_SIDE = 640  # pixels of the longer side of the distance field; larger masks are shrunk
OUTLINE_SIDE = 448  # pixels of the longer side of the picture in which the body's outline is looked for
SPACING = 8  # pixels of that picture between two outline vertices, about
OUTSIDE = 0.004  # sigma of what sticks out of the mask, share of the stature
INSIDE = 0.010  # sigma of what stays inside: clothes and hair are wider than the body
CAUCHY = (1.5, 2.5)  # sigmas, inside and outside: a skirt far from the legs pulls hardly at all
AGREE = 0.5  # cosine between the outline's normal and the way to the mask's edge; below, a vertex inside is left out
EQUIVALENT = 60  # the outline weighs as much as so many independent points
HANDS = 20  # joints from here on are hands: not part of the outline, the masks' fingers are coarse


@dataclass(frozen=True, eq=False)
class DistanceField:
    """Signed distances to a mask's edge in pixels of the picture, positive inside, on a grid of `scale` grid cells
    per pixel. values f32[h,w]."""

    values: np.ndarray
    scale: float

    @classmethod
    def of(cls, mask: np.ndarray) -> DistanceField:
        """mask f32[H,W] in 0..1. Raises InputError where it is empty or full."""
        scale = min(1.0, FIELD_SIDE / max(mask.shape))
        small = cv2.resize(
            np.asarray(mask, np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        )
        inside = (small > 0.5).astype(np.uint8)
        if not inside.any() or inside.all():
            raise InputError("mask: marks nothing or everything, expected the person in white")
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(
            1 - inside, cv2.DIST_L2, 5
        )
        return cls(cv2.GaussianBlur(distance, (0, 0), 1.0) / scale, scale)

    def at(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances f64[n] at pixels f64[n,2] and their derivatives f64[n,2], bilinear; beyond the picture the
        field goes on with the slope 1 outwards."""
        h, w = self.values.shape
        grid = pixels * self.scale - 0.5
        inner = np.clip(grid, 0, [w - 1.001, h - 1.001])
        beyond = grid - inner
        c, r = inner.astype(int).T
        a, b = (inner - np.stack([c, r], 1)).T
        v = self.values
        v00, v01, v10, v11 = v[r, c], v[r, c + 1], v[r + 1, c], v[r + 1, c + 1]
        top, bottom = v00 + a * (v01 - v00), v10 + a * (v11 - v10)
        slope = np.stack([(1 - b) * (v01 - v00) + b * (v11 - v10), bottom - top], 1) * self.scale
        distance = top + b * (bottom - top) - np.abs(beyond).sum(1) / self.scale
        slope = np.where(beyond != 0, -np.sign(beyond), slope)
        return distance, slope


@dataclass(frozen=True, eq=False)
class Outline:
    """A mask's distance field, and of the body's outline, found at one pose, the vertices i[n] and their normals
    f64[n,2] in the picture, outwards."""

    field: DistanceField
    vertices: np.ndarray
    normals: np.ndarray


def add_outline(
    equations: Equations, columns: Columns, body: SolverBody, posed: Posed, pinhole: Pinhole, outline: Outline,
    stature: float,
) -> None:  # fmt: skip
    """Pull the body's outline to the mask's edge. stature: pixels.

    What stays inside pulls little, as clothes and hair are wider than the body, and only where the edge lies ahead:
    the insides of two legs under a skirt have none.
    """
    points = body.skinned(posed, outline.vertices, columns.free)
    pixels, jacobian = pinhole.project(points, posed, columns)
    distance, slope = outline.field.at(pixels)
    steep = np.maximum(np.linalg.norm(slope, axis=1), 1e-9)
    ahead = -np.einsum("ni,ni->n", slope, outline.normals) > AGREE * steep
    rows = np.einsum("ni,nik->nk", slope, jacobian)
    unit = stature * np.sqrt(max(len(pixels), EQUIVALENT) / EQUIVALENT)
    for used, sigma, cauchy in (
        ((distance > 0) & ahead, INSIDE, CAUCHY[0]),
        (distance <= 0, OUTSIDE, CAUCHY[1]),
    ):
        equations.add(distance[used], rows[used], sigma * unit, cauchy)


def silhouette(
    body: SolverBody, posed: Posed, pinhole: Pinhole, size: tuple[int, int], longest: int = OUTLINE_SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels the body covers, bool[h,w] in a picture shrunk to `longest` pixels at most, and its vertices
    there, f64[V,2]. size (height, width)."""
    scale = min(1.0, longest / max(size))
    h, w = (max(1, round(s * scale)) for s in size)
    x = body.vertices(posed) * TO_CAMERA
    projective = np.empty((len(x), 3))
    fx, fy = w / size[1], h / size[0]
    projective[:, 0] = fx * (pinhole.focal * x[:, 0] + pinhole.centre[0] * x[:, 2])
    projective[:, 1] = fy * (pinhole.focal * x[:, 1] + pinhole.centre[1] * x[:, 2])
    projective[:, 2] = x[:, 2]
    raster = rasterize(projective.astype(np.float32), body.body.faces, (h, w), threads=1)
    pixels = projective[:, :2] / np.maximum(projective[:, 2:], 0.01)
    return raster.triangle_id >= 0, pixels


def outline_of(
    body: SolverBody, posed: Posed, pinhole: Pinhole, size: tuple[int, int], field: DistanceField
) -> Outline:
    """The body's outline in a picture of `size` (height, width), about evenly spaced vertices without the
    hands, to be pulled to the edge of `field`'s mask."""
    covered, pixels = silhouette(body, posed, pinhole, size)
    inside = np.pad(covered, 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    signed = depth - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    inwards = np.stack(
        [cv2.Sobel(cv2.GaussianBlur(signed, (0, 0), 1.5), cv2.CV_32F, *d) for d in ((1, 0), (0, 1))], -1
    )
    cell = np.floor(pixels).astype(int)
    h, w = covered.shape
    there = (cell >= 1).all(1) & (cell[:, 0] < w - 1) & (cell[:, 1] < h - 1)
    there[there] = depth[cell[there, 1], cell[there, 0]] <= 1.5
    owner = body.skin_index[:, 0]
    found = np.flatnonzero(there & ((owner < HANDS) | ((owner >= 22) & (owner < 25))))
    block = (pixels[found] // SPACING).astype(int)
    _, first = np.unique(block[:, 0] * 100_000 + block[:, 1], return_index=True)
    vertices = found[np.sort(first)]
    normals = -inwards[cell[vertices, 1], cell[vertices, 0]].astype(np.float64)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return Outline(field, vertices, normals)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool masks."""
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 0.0
