"""What is behind the person: a camera that stands still shows it as the person turns, and it makes better masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

LEAST_SEEN, LEAST_SHARE = 3, 0.15  # frames, and share of all, that must show a place without the person
CLEAR = 6  # pixels of the coarse mask's surroundings that may still be the person
STRIP = 64  # rows at a time, for memory
NOISE = 4.0  # of 255: no camera is better
SAME, OTHER = 0.85, 5.0  # standard deviations: closer (all around) is background, further is not
AROUND = 1.5  # pixels that "all around" means: a plain shirt before a plain wall differs in grain
SHADOW = (0.6, 0.97)  # of the background's light, in its own colour: a shadow, which says nothing
SHADOW_COLOUR = 0.06  # how far a shadow's colour may be from the background's, of its light
BAND = 0.05  # of the person's height to both sides of a mask's outline that may change
GRAIN = 0.7  # pixels by which both are blurred before they are compared
HOLE = 7  # pixels across: so large must what looks like background be, deep within the person
STEADY = 8.0  # of 255: where the background itself changes more (a tree, a screen) it says nothing


class Background:
    """colour f32[H,W,3], 0..255; spread f32[H,W], standard deviation; known bool[H,W]."""

    def __init__(self, colour: np.ndarray, spread: np.ndarray, known: np.ndarray):
        self.colour = colour
        self.spread = spread
        self.known = known
        self._smooth = cv2.GaussianBlur(colour, (0, 0), GRAIN)

    @classmethod
    def of(cls, rgbs: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Background:
        """From frames u8[H,W,3] of a camera that stands still and their masks f32[H,W]: the median of what is seen
        beside the person."""
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CLEAR + 1, 2 * CLEAR + 1))
        free = [cv2.dilate((m > 0.1).astype(np.uint8), disc) == 0 for m in masks]
        height, width = masks[0].shape
        colour, spread = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
        count = np.stack(free).sum(0)
        for y in range(0, height, STRIP):
            rows = np.s_[y : y + STRIP]
            stack = np.stack([r[rows] for r in rgbs]).astype(np.float32)
            stack[~np.stack([f[rows] for f in free])] = np.nan
            some = count[rows] > 0
            if not some.any():
                continue
            middle = np.nanmedian(stack[:, some], axis=0)
            colour[rows][some] = middle
            off = np.abs(stack[:, some] - middle).mean(-1)
            spread[rows][some] = 1.48 * np.nanmedian(off, axis=0)
        known = (count >= max(LEAST_SEEN, LEAST_SHARE * len(masks))) & (spread < STEADY)
        return cls(colour, np.maximum(spread, NOISE), known)

    def evidence(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a frame u8[H,W,3]: where it surely is not the background, and where it looks just like it: bool[H,W]."""
        picture = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), GRAIN)
        off = np.sqrt(((picture - self._smooth) ** 2).mean(-1)) / self.spread
        light = picture.sum(-1) / np.maximum(self.colour.sum(-1), 1.0)
        tint = np.abs(picture - light[..., None] * self.colour).max(-1) / np.maximum(picture.max(-1), 8.0)
        shadow = (light > SHADOW[0]) & (light < SHADOW[1]) & (tint < SHADOW_COLOUR)
        near = np.sqrt(cv2.GaussianBlur(off * off, (0, 0), AROUND))
        return self.known & (off > OTHER) & ~shadow, self.known & (near < SAME)

    def better(self, rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The mask f32[H,W] of a frame, its outline moved to where the background begins, and its edge's pixels as
        mixtures of person and background."""
        inside = (mask > 0.5).astype(np.uint8)
        rows = np.flatnonzero(inside.any(1))
        if not len(rows):
            return mask
        reach = max(3, round(BAND * np.ptp(rows)))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        band = (cv2.dilate(inside, disc) > 0) & (cv2.erode(inside, disc) == 0)
        other, same = self.evidence(rgb)
        hole = cv2.morphologyEx(
            same.astype(np.uint8), cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (HOLE, HOLE))
        )
        hard = np.where(band & other, 1, np.where((band & same) | (hole > 0), 0, inside)).astype(np.uint8)
        small = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        hard = cv2.morphologyEx(cv2.morphologyEx(hard, cv2.MORPH_CLOSE, small), cv2.MORPH_OPEN, small)
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(hard)
        if count > 1:
            hard = (pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
        return self._soft(rgb, hard)

    def _soft(self, rgb: np.ndarray, hard: np.ndarray) -> np.ndarray:
        small = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        core, around = cv2.erode(hard, small, iterations=2), cv2.dilate(hard, small)
        edge = (core == 0) & (around > 0)
        picture = rgb.astype(np.float32)
        share = cv2.GaussianBlur(core.astype(np.float32), (0, 0), 2.5)
        person = cv2.GaussianBlur(picture * core[..., None], (0, 0), 2.5) / np.maximum(share, 1e-4)[..., None]
        d = person - self.colour
        gap = (d * d).sum(-1)
        alpha = np.clip(((picture - self.colour) * d).sum(-1) / np.maximum(gap, 1e-3), 0, 1)
        trust = self.known * (share > 1e-3) * gap / (gap + 3 * (4 * self.spread) ** 2)
        soft = cv2.GaussianBlur(hard.astype(np.float32), (0, 0), 0.6)
        return np.where(edge, trust * alpha + (1 - trust) * soft, hard).astype(np.float32)
