"""Trees of joints, given as the parent of each."""

from __future__ import annotations

from collections.abc import Sequence


def path_to(joint: int, parents: Sequence[int]) -> list[int]:
    """The joints from the root to `joint`, both included."""
    path = [joint]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return path[::-1]
