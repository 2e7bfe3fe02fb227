"""Nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.spatial import KDTree

LEAF = 16  # points; which of two equally near points is found depends on it


def tree_of(points: np.ndarray) -> KDTree:
    """A search tree over points f64[N,D]."""
    from scipy.spatial import KDTree

    return KDTree(points, leafsize=LEAF)
