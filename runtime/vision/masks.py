"""Masks: how much of each pixel is the person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .body_network import BodySeen


def sharp_mask(rgb: np.ndarray, seen: BodySeen, others: Sequence[BodySeen] = ()) -> np.ndarray:
    """f32[H,W] in 0..1: the body network's own mask."""
    return seen.mask()
