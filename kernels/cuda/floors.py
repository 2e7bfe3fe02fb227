"""How little memory traffic each step could do with: what a measured time is to be compared with."""

from __future__ import annotations

import numpy as np


def floor_bytes(
    body,
    scene,
    target,
    rgba,
    *,
    rgb=None,
    depth: bool = False,
    samples: int = 1,
    turned: int | None = None,
    expressions: int | None = None,
    covered: float = 1.0,
) -> dict[str, int]:
    """Bytes that a frame reads and writes in device memory at least, by step: lbs, rasterize, gather,
    compose.

    Every array is read or written once, as if all else (texels of neighbours, vertices of faces, tables)
    stayed in the caches; where the whole frame stays in the cache of the GPU, times may be shorter than these
    bytes over the memory's bandwidth.
    body, scene, target: DeviceBody, DeviceScene, RasterTarget; rgba [views,Hf,Wf,4] and rgb (the network's
        output; None = the features):
    anything with shape and dtype. turned: joints whose rotation is not zero (None = all); expressions:
    coefficients that are not zero (None = all); covered: share of the window's samples that show the body,
    for texels.
    """
    views, pixels = target.views, target.views * target.height * target.width
    element = np.dtype(scene.dtype).itemsize
    turned, used = (
        (body.joints - 1 if turned is None else turned),
        (body.expressions if expressions is None else expressions),
    )
    skinning = body.vertices * (12 + 6 * body.slots + 4) + 12 * used * body.expression_rows
    pose_dirs = 0 if body.features is None else 9 * turned * 12 * body.vertices
    projective = 12 * views * body.vertices
    network = np.dtype(scene.dtype if rgb is None else rgb.dtype).itemsize
    picture = views * rgba.shape[1] * rgba.shape[2]
    window = (
        picture if pixels // samples**2 > picture else pixels // samples**2
    )  # what of the window lies in the picture, at most
    return {
        "lbs": skinning + pose_dirs + projective,
        "rasterize": 8 * pixels + views * 12 * scene.faces.shape[0] + projective,
        "gather": 8 * pixels
        + (scene.channels + 3) * element * pixels
        + (4 * pixels if depth else 0)
        + int(covered * min(pixels * scene.channels * element, scene.texture.nbytes)),
        "compose": 4 * picture
        + window * samples**2 * (4 * network + element)
        + (4 * (picture + window * samples**2) if depth else 0),
    }
