"""How much planted feet slide, how far joints jerk and how deep soles go: a clip before and after `lock_feet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dinar_live.runtime.core.errors import MotionError

from . import kinematics
from . import reference_body as ref
from .foot_contacts import Contact, contacts, extent
from .foot_legs import Legs, added_turns, legs_of

if TYPE_CHECKING:
    from .motion import Motion


@dataclass(frozen=True)
class FootReport:
    """slide_before, slide_after: [K] mm, how far the mark of each contact goes while it lasts (the diagonal of the
    box around its path, heights too). added: degrees, the most by which a joint of the legs turns otherwise than
    before from one frame to the next. below_before, below_after: mm, how far the lowest sole is below the floor
    at most; the floor is where it is at its 5th percentile before."""

    slide_before: np.ndarray
    slide_after: np.ndarray
    added: float
    below_before: float
    below_after: float

    def __str__(self) -> str:
        def slides(mm):
            return f"{np.median(mm):.1f} (most {mm.max():.1f})"

        if not len(self.slide_before):
            return "no contacts"
        return (
            f"slide per contact {slides(self.slide_before)} -> {slides(self.slide_after)} mm; joints turn up to "
            f"{self.added:.2f} degrees a frame otherwise; deepest sole {self.below_before:.1f} -> {self.below_after:.1f} mm"
        )


def foot_report(
    before: Motion,
    after: Motion,
    *,
    rig_joints=None,
    sole: float | None = None,
    over: list[Contact] | None = None,
) -> FootReport:
    """Compares a clip with itself after a change to its legs.

    rig_joints: [55,3] rest joints, metres, of the avatar whose feet count, by default the open body's; sole: y of its
    soles at rest. over: the contacts that are looked at, by default all of `before`. Raises MotionError.
    """
    if before.frames != after.frames:
        raise MotionError(
            f"foot report: got clips of {before.frames} and {after.frames} frames, expected equal"
        )
    rest = ref.rest_joints() if rig_joints is None else np.asarray(rig_joints, np.float64)
    a, b = legs_of(before, rest, sole), legs_of(after, rest, sole)
    return report_legs(
        a, b, contacts(a.marks(), before.fps, kinematics.leg_length(rest)) if over is None else over
    )


def report_legs(before: Legs, after: Legs, over: list[Contact]) -> FootReport:
    """`foot_report` of two lower bodies."""
    was, now = before.marks(), after.marks()
    added = added_turns(before.world, after.world)
    low, deep = before.soles().min(axis=1), after.soles().min(axis=1)
    floor = np.percentile(low, 5)

    def slides(marks):
        return np.array([1000 * extent(marks[c.first : c.stop, c.side, c.mark]) for c in over])

    return FootReport(
        slides(was),
        slides(now),
        float(np.degrees(added.max())) if added.size else 0.0,
        1000 * max(float(floor - low.min()), 0.0),
        1000 * max(float(floor - deep.min()), 0.0),
    )
