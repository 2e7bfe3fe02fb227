"""Which joint of a skeleton is which of SMPL-X where no family fits: from what the names say and the tree
together. What is ambiguous is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from .joint_names import FINGERS, Said, understand
from .tree import path_to

SIDES = ("left", "right")
LIMBS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
# joint of a limb -> parts that it may be called, the surest first
_LEG = (("thigh", "hip", "leg"), ("shin", "knee", "leg"), ("ankle", "foot"))
_ARM = (("upperarm", "arm", "shoulder"), ("forearm", "elbow", "arm"), ("wrist", "hand"))
# "leg" and "arm" are the upper bone or the lower one; what the other must then be called
_LOWER = {"leg": ("thigh", "hip"), "arm": ("upperarm",)}
_UPPER = {"leg": ("knee", "shin"), "arm": ("elbow", "forearm"), "shoulder": ("elbow", "forearm")}

MAX_ALIKE = 16


class Ambiguous(Exception):
    """Names that fit several joints, or too few; the text says which."""


class Guess:
    """What the names of one skeleton say. `source`: SMPL-X joint -> joint of the file, filled step by step, so
    that what was understood before a refusal can be shown."""

    def __init__(self, names: Sequence[str], parents: Sequence[int]):
        self.names = names
        self.parents = parents
        self.said: list[Said] = understand(names)
        self.paths = [path_to(j, parents) for j in range(len(names))]
        self.source: dict[str, int] = {}

    def limbs(self) -> None:
        """Both legs, arms and the pelvis. Raises Ambiguous."""
        called: dict[int, tuple[str, ...]] = {}
        problems = []
        for side, (i, (joints, options)) in product(SIDES, enumerate(zip(LIMBS, (_LEG, _ARM), strict=True))):
            try:
                parts, chain = self._chain(side, joints, options)
            except Ambiguous as e:
                problems.append(str(e))
                continue
            if called.setdefault(i, parts) != parts:
                problems.append(f"left and right {joints[0]} are called differently")
            self.source |= {f"{side}_{joint}": j for joint, j in zip(joints, chain, strict=True)}
        if problems:
            raise Ambiguous("; ".join(problems))
        for a, b in (("left", "right"), ("right", "left")):
            for joint in ("hip", "shoulder"):
                if self.source[f"{a}_{joint}"] in self.paths[self.source[f"{b}_{joint}"]]:
                    raise Ambiguous(f"the {a} {joint} carries the {b} one")
        self.source["pelvis"] = self._pelvis()
        for side in SIDES:
            self._ends(side)

    def _named(self, side: str, part: str) -> list[int]:
        """The joints called so, without those of a higher number or with more words (thigh, thigh2)."""
        found = [j for j, s in enumerate(self.said) if s.side == side and part in s.parts and not s.beside]
        key = {j: (self.said[j].number or 0, self.said[j].extra) for j in found}
        return [j for j in found if key[j] == min(key.values())]

    def _chain(self, side: str, joints, options) -> tuple[tuple[str, ...], list[int]]:
        found = []
        for parts in product(*options):
            top, middle, _ = parts
            if top == middle or (top in _UPPER and middle not in _UPPER[top]):
                continue
            if middle in _LOWER and top not in _LOWER[middle]:
                continue
            candidates = [self._named(side, part) for part in parts]
            if max(map(len, candidates)) > MAX_ALIKE:
                raise Ambiguous(f"more than {MAX_ALIKE} joints are called like {side} {' or '.join(parts)}")
            for chain in product(*candidates):
                if all(a in self.paths[b][:-1] for a, b in zip(chain, chain[1:], strict=False)):
                    cost = sum(o.index(part) for o, part in zip(options, parts, strict=True))
                    found.append((cost, parts, list(chain)))
        if not found:
            known = {n for o in options for part in o for n in self._named(side, part)}
            seen = ", ".join(repr(self.names[j]) for j in sorted(known)) or "none"
            raise Ambiguous(f"no chain {side} {', '.join(joints)} (named like one: {seen})")
        least = min(cost for cost, _, _ in found)
        best = [(parts, chain) for cost, parts, chain in found if cost == least]
        for _, chain in best[1:]:
            apart = [c for c in zip(best[0][1], chain, joints, strict=True) if c[0] != c[1]]
            if apart:
                one, other, joint = apart[0]
                raise Ambiguous(f"{side} {joint} may be {self.names[one]!r} or {self.names[other]!r}")
        return best[0]

    def _pelvis(self) -> int:
        """The joint that carries legs and arms; one above it that is called pelvis or hips is the better."""
        tops = [self.paths[self.source[f"{s}_{j}"]] for s in SIDES for j in ("hip", "shoulder")]
        shared = [a for a, *others in zip(*tops, strict=False) if all(a == o for o in others)]
        limbs = {self.source[f"{s}_{j}"] for s in SIDES for j in ("hip", "shoulder")}
        if not shared or shared[-1] in limbs:
            raise Ambiguous("legs and arms have no joint in common")
        named = [
            j
            for j in shared
            if "pelvis" in self.said[j].parts and not self.said[j].side and not self._only_root(j)
        ]
        return named[-1] if named else shared[-1]

    def _only_root(self, joint: int) -> bool:
        """Is it called root, which may as well stand on the floor?"""
        return "root" in self.names[joint].lower() or "cog" in self.names[joint].lower()

    def _ends(self, side: str) -> None:
        """Toes and collar bone of a side, where they are."""
        at = self.source
        below = self._named(side, "toe")
        if "ankle" in self.said[at[f"{side}_ankle"]].parts:
            below = below or self._named(side, "foot")
        below = [j for j in below if at[f"{side}_ankle"] in self.paths[j][:-1]]
        if len(below) == 1:
            at[f"{side}_foot"] = below[0]
        other = self.paths[at[f"{'right' if side == 'left' else 'left'}_shoulder"]]
        for part in ("collar", "shoulder"):
            above = [
                j
                for j in self.paths[at[f"{side}_shoulder"]][:-1]
                if part in self.said[j].parts and self.said[j].side == side and j not in other
            ]
            if above:
                at[f"{side}_collar"] = above[-1]
                break

    def head(self) -> int | None:
        """The head by its name, or the end of the spine's own chain where all of it is numbered (spine.006)."""
        found = self._named("", "head")
        if found:
            return found[0] if len(found) == 1 else None
        arms = [self.paths[self.source[f"{s}_shoulder"]] for s in SIDES]
        joint = [a for a, b in zip(*arms, strict=False) if a == b][-1]
        length = 0
        while True:
            on = [
                c
                for c, p in enumerate(self.parents)
                if p == joint and not self.said[c].side and self.said[c].parts & {"spine", "neck"}
            ]
            if len(on) != 1:
                break
            joint, length = on[0], length + 1
        return joint if length >= 2 and not on and "spine" in self.said[joint].parts else None

    def face(self) -> dict[str, int]:
        """Jaw and eyes, where just one joint is called so."""
        out = {}
        for joint, side, part in (
            ("jaw", "", "jaw"),
            ("left_eye", "left", "eye"),
            ("right_eye", "right", "eye"),
        ):
            found = self._named(side, part)
            if len(found) == 1:
                out[joint] = found[0]
        return out

    def fingers(self) -> dict[str, int]:
        """Finger joints below the wrists, by their numbers."""
        out: dict[str, int] = {}
        for side, finger in product(SIDES, FINGERS):
            hand = self.source[f"{side}_wrist"]
            joints: dict[int, int] = {}
            for j, s in enumerate(self.said):
                if s.side == side and finger in s.parts and not s.beside and s.number is not None:
                    if hand in self.paths[j][:-1]:
                        joints.setdefault(s.number, j)
            first = 0 if {0, 1, 2} <= joints.keys() and 3 not in joints else 1
            chain = [joints[i] for i in range(first, first + 3) if i in joints]
            if all(a in self.paths[b][:-1] for a, b in zip(chain, chain[1:], strict=False)):
                out |= {
                    f"{side}_{finger}{i + 1 - first}": joints[i]
                    for i in range(first, first + 3)
                    if i in joints
                }
        return out


def ordered(source: dict[str, int], paths: Sequence[Sequence[int]]) -> Iterable[str]:
    """What is wrong with the limbs of a mapping: joints that are missing or do not hang together."""
    for side, limb in product(SIDES, LIMBS):
        names = [f"{side}_{joint}" for joint in limb]
        missing = [n for n in names if n not in source]
        if missing:
            yield f"{', '.join(missing)} missing"
            continue
        for a, b in zip(["pelvis", *names], names, strict=False):
            if a in source and source[a] not in paths[source[b]][:-1]:
                yield f"{b} is not below {a}"
    if "pelvis" not in source:
        yield "pelvis missing"
