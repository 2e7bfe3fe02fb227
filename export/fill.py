"""Colours for what no photo shows: diffused over the surface of the mesh, so that they cross the seams of the
atlas."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dinar_live.runtime.avatar import Rig

from .texture_space import Texels

SMOOTHING_STEPS = 400
RIM_CONFIDENCE = (
    0.55  # of colours guessed at the rim of the body: enough to steer, smoothed by the neighbours
)
TEETH, TONGUE = (0.60, 0.56, 0.50), (0.45, 0.22, 0.21)  # sRGB, in the shade of the mouth


def extend(image: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """`image` [T,T,...] with every uncovered texel taking the value of the nearest covered one, so that
    bilinear reads at island borders see no gap."""
    _, label = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = np.asarray(label, np.int64)
    source = np.zeros(label.max() + 1, np.int64)
    flat = np.flatnonzero(covered.ravel())
    source[label.ravel()[flat]] = flat
    return image.reshape(-1, *image.shape[2:])[source[label]]


def components(faces: np.ndarray, vertices: int) -> np.ndarray:
    """Connected component of every vertex, int[V], numbered by their lowest vertex."""
    label = np.arange(vertices)
    i, j = _edges(faces)
    while True:
        lowest = label.copy()
        np.minimum.at(lowest, i, label[j])
        lowest = lowest[lowest]
        if np.array_equal(lowest, label):
            return label
        label = lowest


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every mesh edge in both directions, once, sorted by the first vertex."""
    pairs = np.concatenate([faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))])
    pairs = np.unique(pairs, axis=0)
    return pairs[:, 0], pairs[:, 1]


def diffuse(faces: np.ndarray, colour: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Harmonic fill: vertices keep their colour [V,C] as far as their confidence [V] in [0,1] says, the
    others become the mean of their neighbours.
    Components without any confident vertex keep `colour`."""
    i, j = _edges(faces)
    V = len(colour)
    known = confidence > 0.5
    value = np.where(known[:, None], colour, 0).astype(np.float64)
    weight = known.astype(np.float64)
    while True:  # first guess: grow inwards from what is known
        total = np.bincount(i, weight[j], V)
        new = (weight == 0) & (total > 0)
        if not new.any():
            break
        for c in range(value.shape[1]):
            value[new, c] = (np.bincount(i, weight[j] * value[j, c], V) / np.maximum(total, 1))[new]
        weight[new] = 1
    unreached = weight == 0
    value[unreached] = colour[unreached]
    degree = np.maximum(np.bincount(i, minlength=V), 1)
    keep = np.where(known, confidence, 0.0)[:, None]
    for _ in range(SMOOTHING_STEPS):
        mean = np.stack([np.bincount(i, value[j, c], V) for c in range(value.shape[1])], 1) / degree[:, None]
        value = np.where(unreached[:, None], value, keep * colour + (1 - keep) * mean)
    return value


def fill_texture(
    rig: Rig,
    tx: Texels,
    rgb: np.ndarray,
    confidence: np.ndarray,
    rims: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> np.ndarray:
    """Complete a partial texture: rgb f32[T,T,3] where confidence f32[T,T] in [0,1] is high, else colours
    diffused over the mesh; blended in between.

    rims: per view, colours f32[V,3] and bool[V], guesses that guide the diffusion where no texel of a vertex
        is seen.
    """
    T, V = len(rgb), len(rig.model.vertices)
    column, row = (
        np.clip(np.rint(rig.uv[rig.uv_faces.ravel(), a] * (T - 1)).astype(int), 0, T - 1) for a in (0, 1)
    )
    vertex = rig.faces.ravel()
    weight = confidence[row, column].astype(np.float64)
    total = np.bincount(vertex, weight, V)
    count = np.maximum(np.bincount(vertex, minlength=V), 1)
    colour = (
        np.stack([np.bincount(vertex, weight * rgb[row, column, c], V) for c in range(3)], 1)
        / np.maximum(total, 1e-9)[:, None]
    )
    colour = _hidden_parts(rig, colour, total > 0)
    confident = total / count
    if rims:
        votes = sum(on.astype(np.float64) for _, on in rims)
        guess = sum(on[:, None] * c for c, on in rims) / np.maximum(votes, 1)[:, None]
        unseen = (confident < RIM_CONFIDENCE) & (votes > 0)
        colour = np.where(unseen[:, None], guess, colour)
        confident = np.where(unseen, RIM_CONFIDENCE, confident)
    filled = tx.interpolate(rig, diffuse(rig.faces, colour, confident).astype(np.float32))
    return confidence[..., None] * rgb + (1 - confidence[..., None]) * filled


def _hidden_parts(rig: Rig, colour: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Parts that no photo shows at all are inside the mouth: the largest is the tongue, the others are
    teeth."""
    label = components(rig.faces, len(colour))
    names, sizes = np.unique(label, return_counts=True)
    hidden = [n for n in names[np.argsort(-sizes)] if not seen[label == n].any()]
    for k, name in enumerate(hidden):
        colour[label == name] = TONGUE if k == 0 else TEETH
    return colour
