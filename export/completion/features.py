"""What a photo says about every texel: its colours and outline at shells around the body, and how the
photo sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.pose import Pose

from .atlas import Atlas

SHELLS = (0.0, 0.01, 0.025, 0.05, 0.09, 0.14)  # metres off the body, along its normal
REACH_STEPS = np.arange(
    0.0, 0.25, 0.0125
)  # metres along the normal that are looked at for the end of the person
VISIBLE_SLACK = 0.012  # metres by which a visible texel may lie behind the depth buffer
VISIBLE_COS = 0.15
MAX_GAP = 0.5  # metres
CENTRE = np.array([0, -0.3, 0], np.float32)  # of the body in the T-pose
PER_SHELL = 4  # premultiplied RGB and alpha
SEEN = len(SHELLS) * PER_SHELL + 4  # shells, cosine, visible, gap, reach
OWN = SEEN + 6  # and rest place and normal
PLANES = OWN + SEEN + 2  # and the mirrored texel's, covered, skin
SOURCES = 2 * len(SHELLS)  # shells that colours can be copied from: own and mirrored
OTHER = (
    SEEN + 1
)  # planes more of a network that looks at two photos: what the other one sees, and that it is there
BASES = (0, OWN, PLANES)  # planes where shells begin: own, mirrored, the other photo's
Pixels = Callable[[float], tuple[np.ndarray, np.ndarray]]  # x and y [n] at metres along the normal
WIDTH = 256  # cv2.remap takes pictures, not lists: rows of this many points


def premultiply(rgba: np.ndarray) -> np.ndarray:
    """u8[H,W,4] with straight alpha as premultiplied f32[H,W,4] in [0,1]."""
    out = rgba.astype(np.float32) / 255
    out[..., :3] *= out[..., 3:]
    return out


def _read(image: np.ndarray, x: np.ndarray, y: np.ndarray, how: int) -> np.ndarray:
    """Values [n,...] of an image at pixel positions [n]; 0 outside. The first pixel's centre is at
    0.5."""
    n, pad = len(x), -len(x) % WIDTH
    grid = [np.pad(a - 0.5, (0, pad)).reshape(-1, WIDTH).astype(np.float32) for a in (x, y)]
    out = cv2.remap(image, grid[0], grid[1], how, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return out.reshape(-1, *out.shape[2:])[:n]


def texel_features(atlas: Atlas, rig: Rig, pose: Pose, matrix: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Features f32[n,OWN] of the covered texels from one photo.

    picture f32[H,W,4] premultiplied in [0,1]; matrix f64[3,4] = K @ world_to_camera[:3] in its pixels.
    Columns: for each
    shell RGBA; cosine to the camera; visible; gap (metres behind what is in front, x2); reach (metres
    to the end of the
    person along the normal, x4); rest place about the body's centre x2; rest normal.
    """
    vertices = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)
    projective, _ = kernels.project(vertices, matrix)
    depth = kernels.rasterize(projective, rig.faces, picture.shape[:2]).depth
    place = atlas.at(vertices)
    normal = atlas.at(atlas.normals(vertices))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    eye = -np.linalg.solve(matrix[:, :3], matrix[:, 3])
    ray = eye - place
    cosine = np.einsum("nc,nc->n", normal, ray) / np.linalg.norm(ray, axis=1)
    base, along = place @ matrix[:, :3].T + matrix[:, 3], normal @ matrix[:, :3].T

    def pixels(step: float) -> tuple[np.ndarray, np.ndarray]:
        h = base + step * along
        z = np.maximum(h[:, 2], kernels.NEAR)
        return (h[:, 0] / z).astype(np.float32), (h[:, 1] / z).astype(np.float32)

    columns = [_read(picture, *pixels(s), cv2.INTER_LINEAR) for s in SHELLS]
    front = _read(depth, *pixels(0.0), cv2.INTER_NEAREST)
    z = base[:, 2]
    visible = (front > 0) & (z < front + VISIBLE_SLACK) & (cosine > VISIBLE_COS)
    gap = np.clip(z - front, 0, MAX_GAP) * (front > 0)
    columns.append(np.stack([cosine, visible, 2 * gap, 4 * _reach(picture, pixels)], 1))
    rest = atlas.at(rig.model.vertices)
    rest_normal = atlas.at(atlas.normals(rig.model.vertices))
    return np.concatenate([*columns, 2 * (rest - CENTRE), rest_normal], 1).astype(np.float32)


def _reach(picture: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Metres f32[n] along the normal until alpha falls below one half for the first time."""
    alpha = np.ascontiguousarray(picture[..., 3])
    values = np.stack([_read(alpha, *pixels(s), cv2.INTER_LINEAR) for s in REACH_STEPS])
    outside = values < 0.5
    first = np.where(outside.any(0), outside.argmax(0), len(REACH_STEPS) - 1)
    before = np.maximum(first - 1, 0)
    rows = np.arange(values.shape[1])
    a, b = values[before, rows], values[first, rows]
    t = np.clip((a - 0.5) / np.maximum(a - b, 1e-6), 0, 1)
    step = REACH_STEPS[before] + t * (REACH_STEPS[first] - REACH_STEPS[before])
    return np.where(first > 0, step, 0).astype(np.float32)


def mirrored(atlas: Atlas, features: np.ndarray) -> np.ndarray:
    """The features [...,n,OWN] of the same photo of the mirrored person."""
    out = features[..., atlas.mirror, :].copy()
    out[..., SEEN] *= -1
    out[..., SEEN + 3] *= -1
    return out


def planes_of(photos: int) -> int:
    """Input planes of a network that looks at one photo or two."""
    return PLANES + (photos - 1) * OTHER


def sources_of(photos: int) -> int:
    """Shells that a network of one photo or two can copy from."""
    return SOURCES + (photos - 1) * len(SHELLS)


def input_planes(
    atlas: Atlas, features: np.ndarray, others: Sequence[np.ndarray | None] | None = None
) -> np.ndarray:
    """Features [N,n,OWN] as the network's input f32[N,PLANES,T,T]: own, the mirrored texel's, covered,
    skin.

    others: for a network of two photos, N features [n,OWN] of another photo of the same person, or None
    where there is none; f32[N,PLANES+OTHER,T,T] then.
    """
    N, n, _ = features.shape
    T = atlas.size
    out = np.zeros((N, planes_of(1 if others is None else 2), T * T), np.float32)
    own = features.astype(np.float32, copy=False).transpose(0, 2, 1)
    out[:, :OWN, atlas.flat] = own
    out[:, OWN : OWN + SEEN, atlas.flat] = own[:, :SEEN][:, :, atlas.mirror]
    out[:, PLANES - 2, atlas.flat] = 1
    out[:, PLANES - 1, atlas.flat] = atlas.skin
    for k, other in enumerate(others or ()):
        if other is not None:
            out[k, PLANES:-1, atlas.flat] = other[:, :SEEN]
            out[k, -1, atlas.flat] = 1
    return out.reshape(N, -1, T, T)
