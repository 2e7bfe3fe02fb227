"""Masks: how much of each pixel is the person.

The body network's own mask is 256 pixels a side and takes people behind along. So what lies far from the person's
bones, or nearer to somebody else's, is taken off; then GrabCut (Rother and others, 2004) decides by colour within
a narrow band around the outline; then each pixel along it is mixed of the colours to both sides, at full size.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from . import envelope
from .body_network import BodySeen

_LARGEST = 900  # pixels a side for GrabCut
_ROUNDS = 3
_BAND = 3.6  # of the network's own pixels: so far off may its outline be
_VISIBLE = 0.6  # of a limb's ends: so sure, its bone is the person whatever the mask says
_FLESH = 0.35  # torso lengths from the bones: there the network's mask is believed
_PERHAPS = 0.05  # of the network: where it sees less, a bone is wrong rather than the mask
_NOISE = 0.0006  # variance of a plain colour, all three channels
_UNLIKE = 0.04  # squared distance of two colours, all three channels
_SURE = 6.0  # twice the logarithm of how much likelier a web's colour is in the background
_ISLAND = 0.02  # of the largest piece: smaller ones are dropped


def sharp_mask(rgb: np.ndarray, seen: BodySeen, others: Sequence[BodySeen] = ()) -> np.ndarray:
    """f32[H,W] in 0..1. rgb: u8[H,W,3]; others: people in the picture whose pixels are not this person's."""
    coarse = own_mask(seen, others)
    rows, columns = np.nonzero(coarse > 0.5)
    if len(rows) == 0:
        return coarse
    band = max(3.0, _BAND * seen.crop.side / len(seen.probability))
    height, width = coarse.shape
    y0, y1 = max(int(rows.min() - 3 * band), 0), min(int(rows.max() + 3 * band) + 1, height)
    x0, x1 = max(int(columns.min() - 3 * band), 0), min(int(columns.max() + 3 * band) + 1, width)
    window = np.s_[y0:y1, x0:x1]
    out = np.zeros_like(coarse)
    out[window] = _cut(rgb[window], coarse[window], _sure(seen, coarse, band)[window], band)
    return out


def _sure(seen: BodySeen, coarse: np.ndarray, band: float) -> np.ndarray:
    """u8[H,W]: 1 where the person certainly is, by mask and bones together."""
    core = envelope.bones(seen, seen.size, np.ones(2), 0.05, _VISIBLE) * (coarse > 0.5)
    near = envelope.distance(seen) < _FLESH
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(band) + 1, 2 * int(band) + 1))
    deep = cv2.erode((coarse > 0.5).astype(np.uint8), disc)
    return np.where((core > 0) | (near & ((coarse > 0.97) | (deep > 0))), 1, 0).astype(np.uint8)


def own_mask(seen: BodySeen, others: Sequence[BodySeen] = ()) -> np.ndarray:
    """The network's mask f32[H,W] without what lies far from the person's bones or is rather somebody else's."""
    far = envelope.distance(seen)
    mask = seen.mask()
    body = envelope.bones(seen, seen.size, np.ones(2), 0.12, _VISIBLE) * (mask > _PERHAPS)
    body = 0.6 * cv2.GaussianBlur(body.astype(np.float32), (0, 0), 1.0)
    mask = np.maximum(mask * envelope.reach(far), body)
    for other in others:
        theirs = envelope.distance(other)
        nearer = other.mask() * _closeness(theirs) > mask * _closeness(far)
        mask[nearer & (theirs < far)] = 0
    return mask


def _closeness(far: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * np.square(far / 0.2))


def _cut(rgb: np.ndarray, coarse: np.ndarray, drawing: np.ndarray, band: float) -> np.ndarray:
    height, width = coarse.shape
    factor = min(1.0, _LARGEST / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    hard = _grab(
        small,
        cv2.resize(coarse, size, interpolation=cv2.INTER_AREA),
        cv2.resize(drawing, size, interpolation=cv2.INTER_NEAREST),
        max(2, round(band * factor)),
    )
    hard = _without_webs(small, hard, max(2, round(band * factor)))
    soft = cv2.GaussianBlur(hard.astype(np.float32), (0, 0), 0.7)
    soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
    return _mixed(rgb, soft, 1.5 / factor)


def _mixed(rgb: np.ndarray, soft: np.ndarray, width: float) -> np.ndarray:
    """The outline's pixels as mixtures of the colours inside and outside of it, where those differ: f32[h,w].
    width: pixels to each side of the outline that are looked at."""
    r = max(1, round(width))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
    inside = cv2.erode((soft > 0.5).astype(np.uint8), disc)
    outside = 1 - cv2.dilate((soft > 0.5).astype(np.uint8), disc)
    free = (inside == 0) & (outside == 0)
    colour = rgb.astype(np.float32) / 255
    F, spread_f = _nearby(colour, inside, 1.5 * r + 1)
    B, spread_b = _nearby(colour, outside, 1.5 * r + 1)
    d = F - B
    gap = (d * d).sum(-1)
    share = np.clip(((colour - B) * d).sum(-1) / np.maximum(gap, 1e-6), 0, 1)
    trust = gap / (gap + 4 * (spread_f + spread_b) + 0.01)
    return np.where(free, trust * share + (1 - trust) * soft, inside).astype(np.float32)


def _nearby(colour: np.ndarray, where: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean f32[h,w,3] and variance f32[h,w] of the colours near each pixel, of those that are marked."""
    weight = where.astype(np.float32)
    total = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-4)
    mean = cv2.GaussianBlur(colour * weight[..., None], (0, 0), sigma) / total[..., None]
    square = cv2.GaussianBlur((colour * colour).sum(-1) * weight, (0, 0), sigma) / total
    return mean, np.maximum(square - (mean * mean).sum(-1), 0)


def _grab(rgb: np.ndarray, coarse: np.ndarray, drawing: np.ndarray, band: int) -> np.ndarray:
    """u8[h,w], 1 = person: GrabCut, free within `band` pixels of the coarse outline."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside = (coarse > 0.5).astype(np.uint8)
    labels = np.where(inside > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[(cv2.dilate(inside, disc) == 0) | (coarse < 0.02)] = cv2.GC_BGD
    labels[drawing > 0] = cv2.GC_FGD
    sure = [np.count_nonzero(labels == kind) for kind in (cv2.GC_FGD, cv2.GC_BGD)]
    if min(sure) < 32:  # too few colours to learn from
        return inside
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(1)  # the same mask each time
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    cv2.grabCut(bgr, labels, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return _without_islands(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8))


def _without_webs(rgb: np.ndarray, hard: np.ndarray, reach: int) -> np.ndarray:
    """Without what has the background's colour and lies open to it, between fingers or under an ear, where the
    network's mask is too coarse. reach: pixels from the outline, of which such a web is at most."""
    colour = rgb.astype(np.float32) / 255
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    outside, inside = 1 - cv2.dilate(hard, disc), cv2.erode(hard, disc)
    B, spread_b = _nearby(colour, outside, reach)
    F, spread_f = _nearby(colour, inside, reach)
    of_background, of_person = (
        np.square(colour - mean).sum(-1) / (spread + _NOISE) + 3 * np.log(spread + _NOISE)
        for mean, spread in ((B, spread_b), (F, spread_f))
    )
    unlike = np.square(F - B).sum(-1) > _UNLIKE + 2 * (
        spread_f + spread_b
    )  # nothing is to be told on a white shirt
    near = unlike & (cv2.distanceTransform(hard, cv2.DIST_L2, 5) <= reach)
    web = (
        (hard > 0)
        & near
        & (of_background < of_person - _SURE)
        & (of_background < 9 + 3 * np.log(spread_b + _NOISE))
    )
    web = cv2.morphologyEx(web.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, pieces = cv2.connectedComponents(np.maximum(web, 1 - hard))
    open_to = np.unique(pieces[hard == 0])
    return np.where((web > 0) & np.isin(pieces, open_to), 0, hard).astype(np.uint8)


def _without_islands(hard: np.ndarray) -> np.ndarray:
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(hard)
    if count <= 2:
        return hard
    areas = stats[1:, cv2.CC_STAT_AREA]
    return np.isin(pieces, 1 + np.flatnonzero(areas > _ISLAND * areas.max())).astype(np.uint8)
