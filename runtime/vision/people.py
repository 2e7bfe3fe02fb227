"""Who is in a picture: how much of each person can be seen, in a photographer's words, and which one is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dinar_live.runtime.core.errors import InputError

from .body_network import BodySeen
from .landmarks import POINTS

_VISIBLE = 0.5
_MARGIN = 0.01  # of the picture: so far outside may a point lie before it counts as cut off
# From the bottom up; each names what is missing if all from there down are fine.
_PARTS = (
    ("head", (0, 2, 5)),
    ("shoulders", (11, 12)),
    ("hips", (23, 24)),
    ("knees", (25, 26)),
    ("feet", (27, 28, 31, 32)),
)
_TORSO = (11, 12, 23, 24)
_SAME = 0.35  # of the torso's length: so near are two sightings of one person
_OVERLAP = 0.6  # of two boxes of points, intersection over union: one person, seen right and wrong


def box(seen: BodySeen) -> np.ndarray:
    """x0, y0, x1, y1 of a person's points, pixels."""
    points = seen.points[:POINTS]
    return np.concatenate([points.min(0), points.max(0)])


def height_of(seen: BodySeen) -> float:
    """Pixels from the highest to the lowest point."""
    x0, y0, x1, y1 = box(seen)
    return float(max(y1 - y0, x1 - x0))


def outside(seen: BodySeen) -> tuple[str, ...]:
    """The parts of the body that the picture cuts off: of head, shoulders, hips, knees, feet."""
    height, width = seen.size
    p, edge = seen.points, _MARGIN * max(height, width)
    out = (p[:, 0] < -edge) | (p[:, 1] < -edge) | (p[:, 0] > width + edge) | (p[:, 1] > height + edge)
    return tuple(name for name, ids in _PARTS if out[list(ids)].any())


def hidden(seen: BodySeen) -> tuple[str, ...]:
    """The parts within the picture that cannot be seen well, because something is in front of them."""
    cut = outside(seen)
    v = seen.visibility
    return tuple(name for name, ids in _PARTS[1:] if name not in cut and v[list(ids)].max() < _VISIBLE)


def whole(seen: BodySeen) -> bool:
    """Whether all of a person, from head to feet, is in the picture and to be seen."""
    return not outside(seen) and not hidden(seen)


def described(seen: BodySeen) -> str:
    """How much of a person is there, in a few words."""
    size = f"{height_of(seen):.0f} px tall"
    if cut := outside(seen):
        return f"cut off ({', '.join(cut)} outside the picture), {size}"
    if covered := hidden(seen):
        return f"partly hidden ({', '.join(covered)}), {size}"
    return f"whole, {size}"


def distinct(seen: Sequence[BodySeen]) -> list[BodySeen]:
    """Without second sightings of the same person (the first one stays), from left to right."""
    kept: list[BodySeen] = []
    for one in seen:
        if not any(_same(one, other) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda s: float(s.points[list(_TORSO), 0].mean()))


def _same(a: BodySeen, b: BodySeen) -> bool:
    ids = list(_TORSO)
    gap = np.linalg.norm(a.points[ids] - b.points[ids], axis=1).mean()
    length = max(np.linalg.norm(s.points[[11, 12]].mean(0) - s.points[[23, 24]].mean(0)) for s in (a, b))
    if gap < _SAME * max(length, 0.1 * max(height_of(a), height_of(b))):
        return True
    p, q = box(a), box(b)
    inside = np.prod(np.clip(np.minimum(p[2:], q[2:]) - np.maximum(p[:2], q[:2]), 0, None))
    union = np.prod(p[2:] - p[:2]) + np.prod(q[2:] - q[:2]) - inside
    return bool(inside > _OVERLAP * union)


def chosen(people: Sequence[BodySeen], person: int | None, source: str) -> int:
    """Index of the one who is meant: number `person` from the left, else the largest whole one, else the largest.
    Raises InputError naming the picture."""
    if not people:
        raise InputError(
            f"{source}: no person found; expected somebody from head to feet, upright, not too small in the picture"
        )
    if person is not None:
        if not 1 <= person <= len(people):
            saw = "1 person" if len(people) == 1 else f"{len(people)} people"
            raise InputError(
                f"{source}: --person {person}: saw {saw}, expected 1 to {len(people)} from the left"
            )
        return person - 1
    return max(range(len(people)), key=lambda i: (whole(people[i]), height_of(people[i])))


def report(people: Sequence[BodySeen], taken: int) -> str:
    """One line on who was seen and who was taken."""
    if len(people) == 1:
        return f"saw 1 person: {described(people[0])}"
    each = "; ".join(f"{i} {described(p)}" for i, p in enumerate(people, 1))
    return f"saw {len(people)} people, from the left: {each}; took {taken + 1} (--person N takes another)"
