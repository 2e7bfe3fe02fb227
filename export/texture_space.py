"""The body seen from texture space: which surface point each texel shows, and where a photo sees it."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .. import kernels
from ..runtime.avatar import Rig
from .inputs import View

MIN_COS = 0.2             # surfaces more grazing than this (78 degrees) are not sampled: their colour is smeared over many texels
MASK_EROSION = 5          # pixels of a 1024-pixel photo, against background bleeding in; the published sampler erodes 5x5 at 512
OVERLAP_STEP = 0.03       # metres: a depth step this large inside the silhouette is the outline of a limb in front of something (paper 3.5)
OVERLAP_DILATION = 6      # pixels of a 1024-pixel photo kept away from such outlines, because fits are never exact
DEPTH_SLACK = 0.006       # metres by which a visible texel may lie behind the depth buffer


@dataclass(frozen=True, eq=False)
class Texels:
    """covered bool[T,T]; face i32[T,T] (-1 = none); barycentrics f32[T,T,3]."""

    covered: np.ndarray
    face: np.ndarray
    barycentrics: np.ndarray

    def interpolate(self, rig: Rig, per_vertex: np.ndarray) -> np.ndarray:
        """Vertex values [V,C] at every texel [T,T,C] (0 where nothing is)."""
        out = np.zeros((*self.face.shape, per_vertex.shape[1]), np.float32)
        corners = per_vertex[rig.faces[self.face[self.covered]]]
        out[self.covered] = np.einsum("nk,nkc->nc", self.barycentrics[self.covered], corners)
        return out


def texels(rig: Rig, size: int) -> Texels:
    """Rasterize the atlas itself: texel (row i, column j) shows u = j/(size-1), v = i/(size-1), the way `gather_uv` reads it."""
    plane = np.ones((len(rig.uv), 3), np.float32)
    plane[:, :2] = rig.uv * (size - 1) + 0.5
    raster = kernels.rasterize(plane, rig.uv_faces, (size, size), cull=False)
    return Texels(raster.triangle_id >= 0, raster.triangle_id, raster.barycentrics)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals f32[V,3], outwards."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    face_normal = np.cross(b - a, c - a)
    out = np.zeros_like(vertices, dtype=np.float64)
    for i in range(3):
        np.add.at(out, faces[:, i], face_normal)
    return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-20)).astype(np.float32)


def overlap_outlines(depth: np.ndarray) -> np.ndarray:
    """Outlines of body parts that overlap others in the picture (paper 3.5), bool[H,W], from a depth buffer f32[H,W] (0 = empty).

    The paper finds them as colour edges of a body-part map minus the person's contour; with the depth at hand they are its steps.
    """
    covered = depth > 0
    kernel = np.ones((3, 3), np.uint8)
    near = cv2.erode(np.where(covered, depth, np.float32(1e9)), kernel)
    far = cv2.dilate(np.where(covered, depth, np.float32(0)), kernel)
    return covered & (far - near > OVERLAP_STEP)


@dataclass(frozen=True, eq=False)
class Sampled:
    """What one photo shows of the texture: rgb f32[T,T,3] in [0,1]; cosine f32[T,T] between surface and view; valid bool[T,T]."""

    rgb: np.ndarray
    cosine: np.ndarray
    valid: np.ndarray


def sample_view(view: View, rig: Rig, tx: Texels) -> Sampled:
    """Sample a photo at every texel that it sees: in front, facing it, inside the eroded mask and away from overlap outlines (paper 3.2, 3.5).

    Texels pull from the photo instead of pixels being pushed into texels (Algorithm 1), so no gaps need averaging.
    """
    H, W = view.rgb.shape[:2]
    scale = max(H, W) / 1024
    vertices = kernels.lbs(rig.model, view.pose.body, view.pose.transl, view.pose.expression)
    projective, _ = kernels.project(vertices, view.camera.matrix)
    depth = kernels.rasterize(projective, rig.faces, (H, W)).depth
    points = tx.interpolate(rig, vertices)
    normals = tx.interpolate(rig, vertex_normals(vertices, rig.faces))
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
    ray = view.camera.position.astype(np.float32) - points
    distance = np.linalg.norm(ray, axis=2)
    cosine = np.einsum("hwc,hwc->hw", normals, ray) / np.maximum(distance, 1e-12)
    homogeneous = points @ view.camera.matrix[:, :3].T.astype(np.float32) + view.camera.matrix[:, 3].astype(np.float32)
    z = homogeneous[..., 2]
    xy = (homogeneous[..., :2] / np.maximum(z, 1e-6)[..., None]).astype(np.float32)

    allowed = (cv2.erode(view.mask, _disc(MASK_EROSION * scale)) > 0.95).astype(np.uint8)
    outlines = cv2.dilate(overlap_outlines(depth).astype(np.uint8), _disc(OVERLAP_DILATION * scale))
    allowed &= outlines == 0
    x, y = xy[..., 0] - 0.5, xy[..., 1] - 0.5        # cv2.remap puts the centre of the first pixel at 0
    rgb = cv2.remap(view.rgb.astype(np.float32) / 255, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.remap(allowed, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0) > 0
    front = cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    slope = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, MIN_COS)
    slack = DEPTH_SLACK + slope * z / float(view.camera.K[0, 0])
    valid = tx.covered & inside & (cosine > MIN_COS) & (z > kernels.NEAR) & (front > 0) & (z < front + slack)
    return Sampled(rgb, np.where(tx.covered, cosine, 0), valid)


def _disc(radius: float) -> np.ndarray:
    size = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
