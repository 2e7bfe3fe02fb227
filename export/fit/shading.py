"""What a frame's colours say about the mesh: where the texture lies beside the picture's, the surface must
move under it."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig

from .contours import Equations
from .frames import Frame, pixels_per_metre, skinning

STEP_LIMIT = (
    0.03  # metres: a depth step this large is an outline within the person, across which nothing is compared
)
GRADIENT = 0.01  # colour per pixel below which a place says nothing about where it is
KERNEL = np.ones((3, 3), np.uint8)


def shading_equations(
    rig: Rig,
    frame: Frame,
    offset: np.ndarray,
    texture: np.ndarray,
    sigma: float,
    count: int,
    rng: np.random.Generator,
) -> Equations:
    """Equations (colour in [0,1]) for the three vertices under up to `count` pixels, three each: the
    brightness constancy of optical flow, with the flow made by the offsets.

    rig: with the offset f64[V,3] already in it (see with_offsets). texture f32[T,T,3]: what the surface looks
    like. sigma: pixels by which both pictures are blurred first, about as far as the surface may be off.
    """
    linear, shift, rest = skinning(rig, frame.pose)
    vertices = (np.einsum("vab,vb->va", linear, rest) + shift).astype(np.float32)
    projective, _ = kernels.project(vertices, frame.matrix)
    raster = kernels.rasterize(projective, rig.faces, frame.size)
    drawn = raster.triangle_id >= 0
    both = (drawn & (frame.picture[..., 3] == 255)).astype(np.float32)
    render = np.ascontiguousarray(
        kernels.gather_uv(raster, rig.uv, rig.uv_faces, texture)[:3].transpose(1, 2, 0)
    )
    picture = frame.picture[..., :3].astype(np.float32) / 255
    share = np.maximum(cv2.GaussianBlur(both, (0, 0), sigma), 1e-3)[..., None]
    render, picture = (
        cv2.GaussianBlur(a * both[..., None], (0, 0), sigma) / share for a in (render, picture)
    )
    middle = (render + picture) / 2
    gradient = (
        np.stack(
            [cv2.Sobel(middle, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(middle, cv2.CV_32F, 0, 1, ksize=3)], -1
        )
        / 8
    )
    far = cv2.dilate(raster.depth, KERNEL)
    near = cv2.erode(np.where(drawn, raster.depth, np.float32(1e9)), KERNEL)
    good = (
        cv2.erode(
            ((both > 0) & (far - near < STEP_LIMIT)).astype(np.uint8), KERNEL, iterations=max(1, int(sigma))
        )
        > 0
    )
    rows, columns = np.nonzero(good & (np.sqrt((gradient**2).sum((2, 3))) > GRADIENT))
    if len(rows) > count:
        chosen = rng.choice(len(rows), count, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    z = raster.depth[rows, columns].astype(np.float64)
    corners = rig.faces[raster.triangle_id[rows, columns]].astype(np.int64)
    jacobian = pixels_per_metre(frame.matrix, np.stack([columns + 0.5, rows + 0.5], 1), z)
    along = np.einsum(
        "nca,nab->ncb", gradient[rows, columns].astype(np.float64), jacobian
    )  # colour per metre
    row = np.einsum(
        "nk,ncb,nkbd->nckd", raster.barycentrics[rows, columns].astype(np.float64), along, linear[corners]
    )
    row = row.reshape(-1, 3, 3)
    vertex = np.repeat(corners, 3, 0)
    target = (render - picture)[rows, columns].astype(np.float64).ravel()
    return Equations(vertex, row, target + np.einsum("nkd,nkd->n", row, offset[vertex]))
