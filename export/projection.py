"""Avatars from photos without any learned weights: the photos are projected onto the body and merged
(`--method projection`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from dinar_live.runtime.avatar import Avatar, RendererSpec, Rig
from dinar_live.runtime.core.errors import InputError

from .checks import make_checks
from .fill import extend, fill_texture
from .inputs import View
from .texture_space import Projection, Sampled, Texels, texels

TAU = 0.1  # paper Eq. 5: sharpness of the softmax over views; the published code uses 10 * cosine
MIN_TEXTURE, MAX_TEXTURE = 64, 4096  # texels a side
MIN_SEEN = 0.02  # of the surface
FEATHER = 10  # texels of a 1024-texel texture over which a view fades out towards what it does not see


class Shape(Protocol):
    """What projection needs of a `Body`."""

    @property
    def kind(self) -> str: ...

    def rig(self, betas: np.ndarray) -> Rig: ...


def merge_views(rgbs: np.ndarray, cosines: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge views by how frontally each sees a texel (paper Eq. 5): softmax(cosine / tau) over the views that
    see it.

    rgbs [N,T,T,3], cosines [N,T,T], weights [N,T,T] in [0,1] (0 = not seen). Returns rgb [T,T,3] and the
    confidence [T,T] = the largest weight.
    """
    w = weights * np.exp((cosines - 1) / TAU)
    total = w.sum(0)
    rgb = (w[..., None] * rgbs).sum(0) / np.maximum(total, 1e-12)[..., None]
    return rgb.astype(np.float32), weights.max(0)


def feathered(valid: np.ndarray, covered: np.ndarray, width: float) -> np.ndarray:
    """valid bool[T,T] as weights in [0,1] that rise over `width` texels from what is not valid, or over half
    of what a small patch (an eye) has.
    Borders of the atlas's islands do not count."""
    whole = extend(valid, covered).astype(np.uint8)
    inside = cv2.distanceTransform(whole, cv2.DIST_L2, 5)
    patches, label = cv2.connectedComponents(whole)
    label = np.asarray(label, np.int64)
    deepest = np.zeros(patches, np.float32)
    np.maximum.at(deepest, label.ravel(), inside.ravel())
    t = np.clip((inside - 1) / np.clip(0.5 * deepest[label], 1, width), 0, 1)
    return np.where(valid, t * t * (3 - 2 * t), 0).astype(np.float32)


def mean_betas(views: Sequence[View]) -> np.ndarray:
    """The views' mean shape f32[B]."""
    longest = max(len(v.betas) for v in views)
    return np.mean([np.pad(v.betas, (0, longest - len(v.betas))) for v in views], 0).astype(np.float32)


def check_expressions(views: Sequence[View], rig: Rig) -> None:
    """InputError where a fit has more expression coefficients than the body."""
    for v in views:
        if len(v.pose.expression) > rig.expressions:
            raise InputError(
                f"{v.name}: the fit has {len(v.pose.expression)} expression coefficients, this body has {rig.expressions}"
            )


def seen_shares(views: Sequence[View], sampled: Sequence[Sampled], tx: Texels) -> dict[str, float]:
    """Shares of the surface that each view sees, and all together ("seen"). InputError where they see next to
    nothing."""
    figures = {
        f"seen by {v.name}": float(s.valid.sum() / tx.covered.sum())
        for v, s in zip(views, sampled, strict=True)
    }
    figures["seen"] = float(np.any([s.valid for s in sampled], 0).sum() / tx.covered.sum())
    if figures["seen"] < MIN_SEEN:
        raise InputError(
            f"photos: only {100 * figures['seen']:.1f} % of the body's surface is visible in the masks; do photo, mask and fit belong "
            f"together?"
        )
    return figures


def project_photos(
    views: Sequence[View], body: Shape, *, name: str, texture_size: int = 1024, licence: str = ""
) -> tuple[Avatar, dict[str, float]]:
    """Build an avatar from one or more views of one person.

    Returns the avatar (renderer `texture`) and figures: the share of the surface seen, and by each view.
    Raises InputError.
    """
    if not views:
        raise InputError("photos: got none, expected at least one --photo with --mask and --smplx")
    if not MIN_TEXTURE <= texture_size <= MAX_TEXTURE:
        raise InputError(f"texture size: got {texture_size}, expected {MIN_TEXTURE}..{MAX_TEXTURE}")
    rig = body.rig(mean_betas(views))
    check_expressions(views, rig)
    tx = texels(rig, texture_size)
    projections = [Projection(v, rig) for v in views]
    sampled = [p.sample(rig, tx) for p in projections]
    figures = seen_shares(views, sampled, tx)
    weights = np.stack([feathered(s.valid, tx.covered, FEATHER * texture_size / 1024) for s in sampled])
    rgb, confidence = merge_views(
        np.stack([s.rgb for s in sampled]), np.stack([s.cosine for s in sampled]), weights
    )
    texture = extend(fill_texture(rig, tx, rgb, confidence, [p.rim() for p in projections]), tx.covered)
    texture = np.ascontiguousarray(np.clip(texture * 255 + 0.5, 0, 255).astype(np.uint8))
    avatar = Avatar(
        name=name,
        rig=rig,
        renderers={"texture": RendererSpec(texture, samples=2)},
        body_kind=body.kind,
        licence=licence,
        provenance={"method": "projection", "photos": [v.name for v in views], "texture_size": texture_size},
    )
    return make_checks(avatar, [v.pose for v in views]), figures
