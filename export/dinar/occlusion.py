"""Occlusion detector: outlines of limbs in front of the body, where fits are never exact, are not sampled
(paper 3.5, Fig. 9)."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError

from .rasterize_uv import BACKGROUND

CANNY = (150, 200)
CONTOUR_WIDTH = 2  # pixels
DILATIONS = 2  # of 3x3


def occlusion_outlines(uv: np.ndarray, part_colours: np.ndarray) -> np.ndarray:
    """Where one part of the body ends in front of another, bool[H,W]: edges of the rendered part colours
    without the person's own contour.

    uv f32[2,H,W] in [-1,1], background -10; part_colours f32[3,T,T], 0..255, smooth over the surface.
    """
    import torch
    from torch.nn.functional import grid_sample

    if uv.ndim != 3 or uv.shape[0] != 2 or part_colours.ndim != 3 or part_colours.shape[0] != 3:
        raise InputError(
            f"uv, part colours: got shapes {list(uv.shape)} and {list(part_colours.shape)}, expected [2,H,W] and [3,T,T]"
        )
    grid = torch.from_numpy(np.ascontiguousarray(uv.transpose(1, 2, 0), np.float32))[None]
    texture = torch.from_numpy(np.ascontiguousarray(part_colours, np.float32))[None]
    drawn = grid_sample(texture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0].numpy()
    picture = np.ascontiguousarray(drawn.transpose(1, 2, 0).astype(np.uint8))
    edges = cv2.Canny(picture, *CANNY)
    # BGR weights on RGB pixels, as published; only zero or not matters
    person = np.where(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) > 0, 255, 0).astype(np.uint8)
    contours, _ = cv2.findContours(person, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    inner = cv2.drawContours(edges.copy(), contours, -1, 0, CONTOUR_WIDTH)
    return cv2.dilate(inner, np.ones((3, 3), np.uint8), iterations=DILATIONS) > 0


def erode_occlusions(uv: np.ndarray, part_colours: np.ndarray) -> np.ndarray:
    """`uv` with the background value along occlusion outlines, f32[2,H,W]; arguments as in
    `occlusion_outlines`."""
    e = occlusion_outlines(uv, part_colours).astype(np.float32)
    return uv * (1 - e) + np.float32(BACKGROUND) * e
