"""The body seen from texture space: which surface point each texel shows, and where a photo sees it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig

from .inputs import View

# surfaces more grazing than this (78 degrees) are not sampled: their colour is smeared over many texels
MIN_COS = 0.2
MASK_EROSION = (
    4  # pixels of a 1024-pixel photo, against background bleeding in; the published sampler erodes 5x5 at 512
)
# metres: a depth step this large inside the silhouette is the outline of a limb in front of something (paper
# 3.5)
OVERLAP_STEP = 0.03
OVERLAP_DILATION = (
    6  # pixels of a 1024-pixel photo kept away from such outlines, because fits are never exact
)
# metres by which a visible texel may lie behind the depth buffer; eyeballs lie only a little behind their
# lids
DEPTH_SLACK = 0.002
RIM_COS = 0.35  # |cosine| below which a vertex is on the rim of the body as the photo sees it
# pixels of a 1024-pixel photo that a rim colour is taken outwards of the body: that is where hair and clothes
# are
RIM_STEP = 8
RIM_DEPTH = 0.04  # metres by which a rim vertex may lie behind what is drawn there


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
    """Rasterize the atlas itself: texel (row i, column j) shows u = j/(size-1), v = i/(size-1), the way
    `gather_uv` reads it."""
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
    """Outlines of body parts that overlap others in the picture (paper 3.5), bool[H,W], from a depth buffer
    f32[H,W] (0 = empty).

    The paper finds them as colour edges of a body-part map minus the person's contour; with the depth at hand
    they are its steps.
    """
    covered = depth > 0
    kernel = np.ones((3, 3), np.uint8)
    near = cv2.erode(np.where(covered, depth, np.float32(1e9)), kernel)
    far = cv2.dilate(np.where(covered, depth, np.float32(0)), kernel)
    return covered & (far - near > OVERLAP_STEP)


@dataclass(frozen=True, eq=False)
class Sampled:
    """What one photo shows of the texture: rgb f32[T,T,3] in [0,1]; cosine f32[T,T] between surface and view;
    valid bool[T,T]."""

    rgb: np.ndarray
    cosine: np.ndarray
    valid: np.ndarray


class Projection:
    """The rig posed as in one photo, and what of the photo may be used: the eroded mask without overlap
    outlines (paper 3.5)."""

    def __init__(self, view: View, rig: Rig):
        self.view = view
        self.size = view.rgb.shape[:2]
        self.scale = max(self.size) / 1024
        self.vertices = kernels.lbs(rig.model, view.pose.body, view.pose.transl, view.pose.expression)
        self.normals = vertex_normals(self.vertices, rig.faces)
        projective, _ = kernels.project(self.vertices, view.camera.matrix)
        self.depth = kernels.rasterize(projective, rig.faces, self.size).depth
        allowed = cv2.erode(view.mask, _disc(MASK_EROSION * self.scale)) > 0.95
        self.allowed = allowed & (
            cv2.dilate(overlap_outlines(self.depth).astype(np.uint8), _disc(OVERLAP_DILATION * self.scale))
            == 0
        )
        self.rgb = view.rgb.astype(np.float32) / 255

    def pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y in pixels and z in metres of world points [...,3], f32."""
        matrix = self.view.camera.matrix
        h = points.astype(np.float64) @ matrix[:, :3].T + matrix[:, 3]
        z = np.maximum(h[..., 2], 1e-6)
        return (
            (h[..., 0] / z).astype(np.float32),
            (h[..., 1] / z).astype(np.float32),
            h[..., 2].astype(np.float32),
        )

    def cosine(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Cosine between unit normals and the direction to the camera, [...]."""
        ray = self.view.camera.position - points
        return (
            np.einsum("...c,...c->...", normals, ray) / np.maximum(np.linalg.norm(ray, axis=-1), 1e-12)
        ).astype(np.float32)

    def read(self, image: np.ndarray, x: np.ndarray, y: np.ndarray, smooth: bool = False) -> np.ndarray:
        """An image at pixel positions [n,m]; 0 outside. cv2.remap puts the centre of the first pixel at 0, we
        at 0.5."""
        return cv2.remap(
            image,
            x - 0.5,
            y - 0.5,
            cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )

    def sample(self, rig: Rig, tx: Texels) -> Sampled:
        """Sample the photo at every texel that it sees: in front, facing it, and where it may be used (paper
        3.2, 3.5).

        Texels pull from the photo instead of pixels being pushed into texels (Algorithm 1), so no gaps need
        averaging.
        """
        points, normals = tx.interpolate(rig, self.vertices), tx.interpolate(rig, self.normals)
        normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
        cosine = self.cosine(points, normals)
        x, y, z = self.pixels(points)
        front = self.read(self.depth, x, y)
        slope = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, MIN_COS)
        slack = DEPTH_SLACK + slope * z / float(self.view.camera.K[0, 0])
        inside = self.read(self.allowed.astype(np.uint8), x, y) > 0
        valid = (
            tx.covered & inside & (cosine > MIN_COS) & (z > kernels.NEAR) & (front > 0) & (z < front + slack)
        )
        return Sampled(self.read(self.rgb, x, y, smooth=True), np.where(tx.covered, cosine, 0), valid)

    def rim(self) -> tuple[np.ndarray, np.ndarray]:
        """Colours f32[V,3] for vertices on the rim of the body, and which vertices have one, bool[V].

        The photo does not see these surfaces, but it sees the hair or cloth that covers them, a few pixels
        outwards of the body; where there is none, the nearest usable pixel is what they most likely look
        like.
        """
        x, y, z = self.pixels(self.vertices)
        ox, oy, _ = self.pixels(self.vertices + self.normals * 0.01)
        outwards = np.stack([ox - x, oy - y], 1)
        outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-6)
        covered_depth = np.where(self.depth > 0, self.depth, np.float32(1e9))
        front = cv2.erode(covered_depth, _disc(RIM_STEP * self.scale))
        column = lambda a: np.ascontiguousarray(a, np.float32)[:, None]  # noqa: E731  (cv2.remap wants 2-D maps)
        front = self.read(front, column(x), column(y))[:, 0]
        outside = cv2.dilate((self.depth == 0).astype(np.uint8), _disc(RIM_STEP * self.scale))
        at_contour = (
            self.read(outside, column(x), column(y))[:, 0] > 0
        )  # the body's own contour, not folds within it
        on_rim = (
            at_contour
            & (np.abs(self.cosine(self.vertices, self.normals)) < RIM_COS)
            & (z < front + RIM_DEPTH)
        )
        _, label = cv2.distanceTransformWithLabels(
            (~self.allowed).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        flat = np.flatnonzero(self.allowed.ravel())
        source = np.zeros(label.max() + 1, np.int64)
        source[label.ravel()[flat]] = flat
        step = RIM_STEP * self.scale
        col = np.clip(x + step * outwards[:, 0], 0, self.size[1] - 1).astype(int)
        row = np.clip(y + step * outwards[:, 1], 0, self.size[0] - 1).astype(int)
        nearest = source[label[row, col]]
        far = np.hypot(nearest // self.size[1] - row, nearest % self.size[1] - col) > 3 * step
        return self.rgb.reshape(-1, 3)[nearest], on_rim & ~far


def _disc(radius: float) -> np.ndarray:
    size = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
