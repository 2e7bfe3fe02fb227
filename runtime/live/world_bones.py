"""From bones in the world to bones in their parents, for performers that do not send SMPL-X's tree."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import PARENTS

from .humanoid import ROOT


def parents_of(bones: int) -> np.ndarray:
    """int[55]: the nearest joint above each that is among `bones` (as bits), 0 without one."""
    parents = np.zeros(ROOT, int)
    for j, p in enumerate(PARENTS):
        while p > 0 and not bones >> p & 1:
            p = PARENTS[p]
        parents[j] = max(p, 0)
    return parents


def local_bones(
    positions: np.ndarray, rotations: np.ndarray, parents: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Local positions [56,3] and rotations [56,4], as CalibratedHumanoid wants them, of the same in the world
    ([55,3] metres and [55,4], quaternions w, x, y, z); the model's root stays where it is."""
    up = rot.conjugate(rotations[parents])
    local_positions, local_rotations = np.zeros((ROOT + 1, 3)), np.zeros((ROOT + 1, 4))
    local_positions[:ROOT] = rot.rotate(up, positions - positions[parents])
    local_rotations[:ROOT] = rot.multiply(up, rotations)
    local_positions[0], local_rotations[0] = positions[0], rotations[0]
    local_rotations[ROOT, 0] = 1.0
    return local_positions, local_rotations
