"""Which joint of a BVH skeleton is which joint of SMPL-X. Found from names and from the tree, never from one
name alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX

from .joint_guess import Ambiguous, Guess, ordered
from .joint_map import apply_map, write_map
from .tree import path_to

_SIDES = ("left", "right")
_LIMBS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")


@dataclass(frozen=True)
class Family:
    """How one kind of skeleton calls its joints. `side`: SMPL-X joint -> names, both without left/right; the
    first that exists is taken.

    Names are compared in lower case, without what stands before a colon and without blanks, dots, dashes and
    underscores.
    """

    name: str
    root: tuple[str, ...]
    side: dict[str, tuple[str, ...]]


# "LeftShoulder" is the collar bone in some and the upper arm in others, so a family fits only if all its
# limbs are found.
FAMILIES = (
    Family(
        "arm-forearm",
        ("hips", "hip", "pelvis"),
        {  # Mixamo, LAFAN1, MotionBuilder, CMU by cgspeed
            "hip": ("upleg",),
            "knee": ("leg",),
            "ankle": ("foot",),
            "foot": ("toebase", "toe"),
            "collar": ("shoulder",),
            "shoulder": ("arm",),
            "elbow": ("forearm",),
            "wrist": ("hand",),
        },
    ),
    Family(
        "joint-names",
        ("pelvis", "hips", "hip"),
        {  # SMPL and SMPL-X; CMU as Daz and AnimatedDrawings have it
            "hip": ("hip",),
            "knee": ("knee",),
            "ankle": ("ankle",),
            "foot": ("toe", "foot"),
            "collar": ("collar",),
            "shoulder": ("shoulder",),
            "elbow": ("elbow",),
            "wrist": ("wrist",),
        },
    ),
    Family(
        "upperarm-lowerarm",
        ("hips", "hip"),
        {  # Rokoko, VRM
            "hip": ("upleg", "upperleg", "thigh"),
            "knee": ("leg", "lowerleg", "shin"),
            "ankle": ("foot",),
            "foot": ("toe", "toes", "toebase"),
            "collar": ("shoulder",),
            "shoulder": ("upperarm",),
            "elbow": ("lowerarm",),
            "wrist": ("hand",),
        },
    ),
)
_FINGER_PATTERNS = (
    lambda side, finger, i: f"{side}hand{finger}{i}",
    lambda side, finger, i: f"{side}{finger}{i}",
    lambda side, finger, i: (
        f"{side}{'little' if finger == 'pinky' else finger}{('proximal', 'intermediate', 'distal')[i - 1]}"
    ),
)


@dataclass(frozen=True)
class SkeletonMatch:
    """family: its name. source: SMPL-X joint -> joint of the file, for every joint that has one of its
    own."""

    family: str
    source: dict[int, int]


def plain(name: str) -> str:
    """A joint name as families compare it."""
    return "".join(c for c in name.rsplit(":", 1)[-1].lower() if c.isalnum())


def recognise(
    names: Sequence[str],
    parents: Sequence[int],
    title: str = "skeleton",
    joint_map: Mapping[str, str] | None = None,
) -> SkeletonMatch:
    """Match joint names [J] and parents [J] (-1 = root, parents first). joint_map: SMPL-X joint -> name in the
    file, which counts before what is found. Raises MotionError if no family fits and names and map do not
    suffice."""
    family, source, problem = _understood(names, parents)
    if joint_map:
        family = "by map"
        if problem:
            limbs = apply_map(source, joint_map, names, title)
            problem = "; ".join(ordered(limbs, [path_to(j, parents) for j in range(len(names))]))
            if not problem:
                guess = Guess(names, parents)
                guess.source = limbs
                source = _completed(guess)
        source = apply_map(source, joint_map, names, title)
        problem = problem or "; ".join(ordered(source, [path_to(j, parents) for j in range(len(names))]))
        if problem:
            raise MotionError(f"{title}: map: {problem}. {_listed(names)}")
    if problem:
        raise MotionError(
            f"{title}: this skeleton is of no known family ({problem}). {_listed(names)}. Name them in a map: "
            f"dinar convert {title} --show-map > map.toml writes one to edit, --map map.toml uses it"
        )
    return SkeletonMatch(family, {JOINT_INDEX[k]: v for k, v in source.items()})


def shown_map(
    names: Sequence[str], parents: Sequence[int], title: str, joint_map: Mapping[str, str] | None = None
) -> str:
    """What is understood of a skeleton as the text of a map file, whether or not it suffices. Raises
    MotionError for a map that does not fit."""
    _, source, problem = _understood(names, parents)
    if joint_map:
        source = apply_map(source, joint_map, names, title)
        problem = "; ".join(ordered(source, [path_to(j, parents) for j in range(len(names))]))
    return write_map(source, names, parents, problem)


def _listed(names: Sequence[str]) -> str:
    return f"Its joints are {', '.join(names[:24])}{' ...' if len(names) > 24 else ''}"


def _understood(names: Sequence[str], parents: Sequence[int]) -> tuple[str, dict[str, int], str]:
    """The family, SMPL-X joint -> joint of the file as far as it is found, and what is wrong ("" = all
    well)."""
    index: dict[str, int] = {}
    for j, name in enumerate(names):
        index.setdefault(plain(name), j)
    for family in FAMILIES:
        source = _match(family, index, parents)
        if source is not None:
            return family.name, source, ""
    guess = Guess(names, parents)
    try:
        guess.limbs()
    except Ambiguous as e:
        return "none", guess.source, str(e)
    return "by names", _completed(guess), ""


def _completed(guess: Guess) -> dict[str, int]:
    """Trunk, face and fingers to limbs that are known."""
    source = guess.source
    source |= {k: j for k, j in guess.face().items() if k not in source}
    _trunk(source, guess.head(), guess.parents)
    source |= {k: j for k, j in guess.fingers().items() if k not in source}
    return source


def _match(family: Family, index: dict[str, int], parents: Sequence[int]) -> dict[str, int] | None:
    source = {}
    for side in _SIDES:
        for joint, options in family.side.items():
            found = next((index[side + o] for o in options if side + o in index), None)
            if found is not None:
                source[f"{side}_{joint}"] = found
        for limb in _LIMBS:
            chain = [source[f"{side}_{j}"] for j in limb if f"{side}_{j}" in source]
            if len(chain) < len(limb) or any(
                a not in path_to(b, parents)[:-1] for a, b in zip(chain, chain[1:], strict=False)
            ):
                return None
    root = next((index[n] for n in family.root if n in index), None)
    legs = [path_to(source[f"{s}_hip"], parents) for s in _SIDES]
    if root is None or any(root not in leg[:-1] for leg in legs):
        return None
    source["pelvis"] = root
    _face(source, index)
    _trunk(source, index.get("head"), parents)
    _fingers(source, index, parents)
    return source


def _face(source: dict[str, int], index: dict[str, int]) -> None:
    """Jaw and eyes, where they are."""
    for joint, options in (
        ("jaw", ("jaw",)),
        ("left_eye", ("lefteye", "lefteyesmplhf")),
        ("right_eye", ("righteye", "righteyesmplhf")),
    ):
        found = next((index[n] for n in options if n in index), None)
        if found is not None:
            source[joint] = found


def _trunk(source: dict[str, int], head: int | None, parents: Sequence[int]) -> None:
    """Spine, neck and head from the tree: skeletons have one to five spine joints and none to two for the
    neck."""
    arms = [path_to(source[f"{s}_shoulder"], parents) for s in _SIDES]
    chest = [a for a, b in zip(*arms, strict=False) if a == b][-1]
    root = source["pelvis"]
    to_chest = path_to(chest, parents)
    spine = to_chest[to_chest.index(root) + 1 :] if root in to_chest else []
    if spine:
        source["spine3"] = spine[-1]
    if len(spine) == 2:  # chest and spine, as VRM without an upper chest
        source["spine1"], source["spine2"] = spine
    elif len(spine) >= 3:
        source["spine1"], source["spine2"] = spine[0], spine[len(spine) // 2]
    if head is not None:
        source["head"] = head
        to_head = path_to(head, parents)
        neck = to_head[to_head.index(chest) + 1 : -1] if chest in to_head else []
        if neck:
            source["neck"] = neck[-1]
    for side in _SIDES:  # a collar that is not between chest and arm would bend the arm twice
        collar = source.get(f"{side}_collar")
        if collar is not None and (
            collar == chest or collar not in path_to(source[f"{side}_shoulder"], parents)[:-1]
        ):
            del source[f"{side}_collar"]


def _fingers(source: dict[str, int], index: dict[str, int], parents: Sequence[int]) -> None:
    for side in _SIDES:
        hand = source[f"{side}_wrist"]
        for finger in _FINGERS:
            for i in (1, 2, 3):
                found = next(
                    (index[p(side, finger, i)] for p in _FINGER_PATTERNS if p(side, finger, i) in index), None
                )
                if found is not None and hand in path_to(found, parents)[:-1]:
                    source[f"{side}_{finger}{i}"] = found
