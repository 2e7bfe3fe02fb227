"""What a frame's silhouette says about the mesh: every contour vertex gives one linear equation for its
offset."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.export.texture_space import vertex_normals
from dinar_live.runtime.avatar import Rig

from .frames import Frame, pixels_per_metre, skinning

OUTWARD = 0.25  # metres: long hair stands this far off the back
INWARD = 0.04  # metres: people are rarely fatter than their clothes
STEP = 0.5  # pixels between looks along a normal
REACH_OUT, REACH_IN = 80, 40  # pixels looked along it at most
DEPTH_SLACK = 0.03  # metres between a contour vertex and what is drawn just inside of it
BORDER = 2  # pixels of the picture's border that say nothing: the person goes on beyond


class Equations(NamedTuple):
    """sum over k of row[i,k] . offset[vertex[i,k]] = target[i]; vertex i64[n,k], row f64[n,k,3], target
    f64[n]."""

    vertex: np.ndarray
    row: np.ndarray
    target: np.ndarray


class Edges:
    """The mesh's edges with the two faces beside each."""

    def __init__(self, faces: np.ndarray):
        pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
        owner = np.tile(np.arange(len(faces)), 3)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs, owner = pairs[order], owner[order]
        same = (pairs[1:] == pairs[:-1]).all(1)
        self._faces = faces
        self._pairs = pairs[:-1][same]
        self._left = owner[:-1][same]
        self._right = owner[1:][same]

    def contour(self, xy: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Vertices on edges between a face that is seen and one that is not; xy [V,2] in pixels, ahead
        bool[V] of the camera."""
        a, b, c = (xy[self._faces[:, i]] for i in range(3))
        ab, ac = b - a, c - a
        front = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0] > 0
        on = (front[self._left] != front[self._right]) & ahead[self._pairs].all(1)
        return np.unique(self._pairs[on])


def contour_equations(rig: Rig, frame: Frame, offset: np.ndarray, edges: Edges) -> Equations:
    """Equations (metres) that bring the outline of `rig` with offset f64[V,3] to the outline of the frame's
    alpha."""
    linear, shift, rest = skinning(rig, frame.pose)
    vertices = (np.einsum("vab,vb->va", linear, rest + offset) + shift).astype(np.float32)
    projective, _ = kernels.project(vertices, frame.matrix)
    depth = kernels.rasterize(projective, rig.faces, frame.size).depth
    z = projective[:, 2].astype(np.float64)
    ahead = z > kernels.NEAR
    xy = projective[:, :2] / np.where(ahead, z, 1)[:, None]
    vertex = edges.contour(xy, ahead)
    x, z = xy[vertex], z[vertex]
    jacobian = pixels_per_metre(frame.matrix, x, z)
    flat = np.einsum("nab,nb->na", jacobian, vertex_normals(vertices, rig.faces)[vertex].astype(np.float64))
    length = np.linalg.norm(flat, axis=1)
    normal = flat / np.maximum(length, 1e-9)[:, None]
    scale = np.linalg.norm(frame.matrix[0, :3]) / z  # pixels per metre, about
    # it must be an outer outline: drawn here, with nothing drawn outwards of it
    to_empty = cv2.distanceTransform((depth > 0).astype(np.uint8), cv2.DIST_L2, 5)
    keep = (
        (length > 0.5 * scale)
        & (read(to_empty, x) <= 2)
        & (np.abs(read(depth, x - 1.5 * normal) - z) < DEPTH_SLACK)
    )
    keep &= read(depth, x + 2.5 * normal) == 0
    vertex, x, normal, scale, jacobian = (a[keep] for a in (vertex, x, normal, scale, jacobian))
    distance, found = _distance_to_outline(frame.picture[..., 3], x, normal, scale)
    metres = distance / scale
    end = x + distance[:, None] * normal
    height, width = frame.size
    found &= (end > BORDER).all(1) & (end[:, 0] < width - BORDER) & (end[:, 1] < height - BORDER)
    found &= (metres < OUTWARD) & (metres > -INWARD)
    vertex = np.asarray(vertex[found], np.int64)
    row = np.einsum("na,nab,nbc->nc", normal[found], jacobian[found], linear[vertex]) / scale[found][:, None]
    return Equations(
        vertex[:, None], row[:, None], metres[found] + np.einsum("na,na->n", row, offset[vertex])
    )


def _distance_to_outline(
    alpha: np.ndarray, x: np.ndarray, normal: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from x [n,2] along normal [n,2] to where alpha u8[H,W] crosses one half, outwards from inside
    the person, inwards from outside; and whether it does, bool[n]."""
    widest = scale.max(initial=1)
    out, back = (
        int(np.ceil(min(d * widest, most) / STEP)) for d, most in ((OUTWARD, REACH_OUT), (INWARD, REACH_IN))
    )
    steps = np.arange(-back, out + 1) * STEP
    line = read(
        alpha.astype(np.float32) / 255,
        x[:, None] + steps[None, :, None] * normal[:, None],
        cv2.BORDER_REPLICATE,
    )
    inside = line > 0.5
    outwards = np.argmax(~inside[:, back:], 1) + back  # the first step that is outside
    inwards = back - np.argmax(inside[:, back::-1], 1) + 1  # the step after the last one inside
    begins_inside = inside[:, back]
    after = np.where(begins_inside, outwards, inwards)
    found = np.where(begins_inside, ~inside[:, back:].all(1), inside[:, : back + 1].any(1)) & (
        after < len(steps)
    )
    after = np.where(found, after, 1)
    rows = np.arange(len(x))
    a, b = line[rows, after - 1], line[rows, after]
    return steps[after - 1] + STEP * np.clip((a - 0.5) / np.maximum(a - b, 1e-6), 0, 1), found


def read(image: np.ndarray, xy: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """Bilinear values of an image [H,W] at pixel positions [...,2] (the first pixel's centre is at 0.5)."""
    shape = xy.shape[:-1]
    xy = np.ascontiguousarray(
        xy.reshape(len(xy), int(np.prod(shape[1:], dtype=int)), 2), np.float32
    ) - np.float32(0.5)
    if not len(xy):
        return np.zeros(shape, np.float32)
    return cv2.remap(image, xy[..., 0], xy[..., 1], cv2.INTER_LINEAR, borderMode=border).reshape(shape)
