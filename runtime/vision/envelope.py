"""The space around a person's bones that clothes and hair may fill: what keeps a mask off other people."""

from __future__ import annotations

import cv2
import numpy as np

from .body_network import BodySeen

# Limbs as pairs of points; the hands and feet reach to their tips.
_LIMBS = (
    *((11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20)),
    *((23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32)),
)
_TORSO = (11, 12, 24, 23)
_NEAR = 0.25  # of the torso's length: fully the person's
_FAR = 0.65  # nothing of the person is further away
_SHIFT = 3  # bits of sub-pixel places for OpenCV's drawing
_DRAWN = 512  # pixels: the distance is smooth, so it is computed small


def torso_length(seen: BodySeen) -> float:
    """Pixels between the middles of shoulders and hips, or what the rest of the body makes of it where that is
    foreshortened."""
    p = seen.points
    spine = np.linalg.norm(p[[11, 12]].mean(0) - p[[23, 24]].mean(0))
    spread = np.ptp(p[:33], axis=0).max()
    return float(max(spine, 0.2 * spread, 4.0))


def bones(
    seen: BodySeen, size: tuple[int, int], scale: np.ndarray, width: float, visibility: float = 0.0
) -> np.ndarray:
    """The person drawn with limbs `width` torso lengths wide: u8[h,w], 1 inside. size: (h, w) of the drawing; scale:
    f64[2], its pixels per pixel of the picture; visibility: of both ends of the limbs that are drawn."""
    out = np.zeros(size, np.uint8)
    p = seen.points[:33] * scale
    length = torso_length(seen) * float(scale.mean())
    thick = max(1, round(width * length))
    fixed = np.round(np.clip(p - 0.5, -1e4, 1e4) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(out, [fixed[list(_TORSO)]], 1, cv2.LINE_8, _SHIFT)
    for a, b in _LIMBS:
        if min(seen.visibility[a], seen.visibility[b]) < visibility:
            continue
        cv2.line(out, tuple(fixed[a].tolist()), tuple(fixed[b].tolist()), 1, thick, cv2.LINE_8, _SHIFT)
    neck = fixed[[11, 12]].mean(0).astype(np.int32)
    cv2.line(out, tuple(neck.tolist()), tuple(fixed[0].tolist()), 1, thick, cv2.LINE_8, _SHIFT)
    head = fixed[[7, 8]].mean(0).astype(np.int32)
    radius = max(1, round(0.5 * width * length + 0.12 * length))
    cv2.circle(out, tuple(head.tolist()), radius << _SHIFT, 1, -1, cv2.LINE_8, _SHIFT)
    return out


def distance(seen: BodySeen) -> np.ndarray:
    """f32[H,W]: how far each pixel of the picture is from the person's bones, in torso lengths."""
    height, width = seen.size
    factor = min(1.0, _DRAWN / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    scale = np.array([size[1] / width, size[0] / height])
    far = np.asarray(cv2.distanceTransform(1 - bones(seen, size, scale, 0.02), cv2.DIST_L2, 5), np.float32)
    far /= torso_length(seen) * float(scale.mean())
    return cv2.resize(far, (width, height), interpolation=cv2.INTER_LINEAR)


def reach(far: np.ndarray) -> np.ndarray:
    """f32[H,W] from 1 near the bones to 0 where nothing of the person can be; far: of `distance`."""
    t = np.clip((_FAR - far) / (_FAR - _NEAR), 0, 1)
    return t * t * (3 - 2 * t)
