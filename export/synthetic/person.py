"""A synthetic person."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.avatar import Rig

from .lofts import Loft


@dataclass(eq=False)
class Person:
    """A built person: parts in the T-pose (dicts of the builder with a `role`), the builder's flat
    arrays, the rig.

    joints f64[55,3] and rig are in the T-pose. drapes: skirts and coats over both legs.
    """

    parts: list[dict]
    flat: dict
    rig: Rig
    drapes: list[Loft] = field(default_factory=list)

    @property
    def joints(self) -> np.ndarray:
        """Joints f64[55,3] in the T-pose."""
        return self.flat["joints"]

    def part(self, role: str) -> dict:
        """The first part of this role."""
        return next(p for p in self.parts if p["role"] == role)
