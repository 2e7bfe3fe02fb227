"""The 51 face points on a posed body."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core.skeleton import JOINT_INDEX

from .anchors import FaceAnchors
from .body import Points, Posed, SolverBody

HEAD = JOINT_INDEX["head"]


def face_points(
    body: SolverBody, posed: Posed, anchors: FaceAnchors, offset: np.ndarray, free: np.ndarray
) -> Points:
    """Where the network sees them: on the skin, off by `offset` f64[51,2], metres along the head's x and y. free
    i[K]: joints that may turn."""
    n = len(anchors.corners)
    skin = body.skinned(posed, anchors.corners.reshape(-1), free)
    mix = lambda a: np.einsum("nk,nk...->n...", anchors.weights, a.reshape(n, 3, *a.shape[1:]))  # noqa: E731
    off = offset @ posed.world[HEAD][:, :2].T
    moves = body.ancestors[HEAD, free].astype(np.float64)
    return Points(mix(skin.x) + off, mix(skin.lever) + off[:, None] * moves[:, None], mix(skin.shape))
