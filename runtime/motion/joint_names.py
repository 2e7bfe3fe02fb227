"""What the name of a joint says: which side, which part, which number. One name at a time, but for a prefix or
suffix that most names of a file share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right", "lt": "left", "rt": "right"}
_WHOLE_SIDES = ("left", "right")
_MIDDLE = ("c", "m", "center", "centre", "mid", "cn", "x")
# Words that say only that something is a bone.
_EMPTY = {"jnt", "joint", "jt", "bone", "bn", "bind", "skin", "def", "org", "bend", "main", "b", "j"}
# Joints beside the chain that a figure moves: never taken for a limb.
_BESIDE = {
    *(
        "twist",
        "roll",
        "ik",
        "fk",
        "pole",
        "target",
        "ctrl",
        "control",
        "helper",
        "nub",
        "end",
        "site",
        "tip",
    ),
    *(
        "effector",
        "dummy",
        "aux",
        "corrective",
        "muscle",
        "metacarpal",
        "meta",
        "carpal",
        "in",
        "top",
        "toe2",
    ),
    *(
        "weapon",
        "prop",
        "socket",
        "attach",
        "cloth",
        "skirt",
        "hair",
        "ear",
        "breast",
        "bust",
        "butt",
        "tail",
    ),
    *("wing", "pocket", "sleeve", "mch", "tweak", "heel", "offset", "space", "grp", "null", "locator"),
}
# part -> ways to spell it, without blanks. Several parts may be spelled alike: the tree decides.
PARTS = {
    "thigh": "thigh upleg upperleg uppleg uleg legupper femur thighs upthigh hiplegupper",
    "hip": "hip hipsocket",
    "leg": "leg",
    "shin": "shin calf lowerleg lowleg loleg lleg leglower tibia shank foreleg crus",
    "knee": "knee",
    "ankle": "ankle footankle",
    "foot": "foot feet",
    "toe": "toe toes toebase ball football toejoint metatarsal metatarsals football forefoot",
    "collar": "collar clavicle clav clavicula scapula collarbone shoulderblade",
    "shoulder": "shoulder",
    "upperarm": "upperarm uparm upparm uarm armupper humerus shldr bicep",
    "arm": "arm",
    "forearm": "forearm lowerarm lowarm loarm farm armlower radius ulna",
    "elbow": "elbow",
    "wrist": "wrist handwrist",
    "hand": "hand palm",
    "pelvis": "pelvis hips hip hipcenter spinebase bodypelvis cog root",
    "spine": "spine chest upperchest abdomen abdomenlower abdomenupper torso waist lowerback upperback thorax back "
    "backbone ab uppertorso lowertorso chestlower chestupper",
    "neck": "neck lowerneck upperneck necklower neckupper cervical shouldercenter",
    "head": "head skull",
    "jaw": "jaw",
    "eye": "eye eyeball eyesmplhf",
    "thumb": "thumb handthumb thumbfinger fthumb",
    "index": "index handindex indexfinger fingerindex findex fore pointer",
    "middle": "middle handmiddle middlefinger fingermiddle fmiddle mid handmid",
    "ring": "ring handring ringfinger fingerring fring",
    "pinky": "pinky handpinky pinkyfinger fingerpinky fpinky pinkie handpinkie little handlittle littlefinger small",
}
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_PHALANX = {"proximal": 1, "intermediate": 2, "medial": 2, "distal": 3}
_SPELLED: dict[str, set[str]] = {}
for _part, _text in PARTS.items():
    for _word in _text.split():
        _SPELLED.setdefault(_word, set()).add(_part)
_WORDS = frozenset(
    {*_SPELLED, *_WHOLE_SIDES, *_PHALANX, "upper", "lower", "up", "low", "base", "center"} - {"ab", "mid"}
)
_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_LONE_SIDE = re.compile(r"(?<![A-Za-z])([LR])(?=[A-Z][A-Z]?[a-z])")  # LUArm
_SHARED = 0.8  # of the names begin or end with it: it says nothing

_FREQUENT = 0.25  # of the names hold it: it says nothing if it is no word that is known


@dataclass(frozen=True)
class Said:
    """side: "left", "right" or "". parts: of PARTS, all that are spelled so. number: the last in the name, or
    None; a phalanx counts as one. beside: a helper, a twist joint, the end of a chain. extra: words that say
    nothing."""

    side: str
    parts: frozenset[str]
    number: int | None
    beside: bool
    extra: int = 0


def understand(names: Sequence[str]) -> list[Said]:
    """What each of a file's joint names says; names that say nothing have no parts."""
    bare = _without_shared([name.replace("|", ":").rsplit(":", 1)[-1].split("#")[0] for name in names])
    words = _without_frequent(_without_shared_words([_words(name) for name in bare]))
    every = {"".join(w) for w in words}
    return [_said(w, every) for w in words]


def _words(name: str) -> list[str]:
    """A name in lower-case words and numbers: at separators, capitals and digits."""
    return [word.lower() for word in _SPLIT.findall(_LONE_SIDE.sub(r"\1 ", name))]


def _without_shared(names: list[str]) -> list[str]:
    """Names without the letters that most of them begin with, where a new word begins behind those:
    mixamorigLeftArm, Character1_LeftArm, mHipLeft, mixamoriglefthand."""
    if len(names) < 8:
        return names
    counts = Counter(name[:n] for name in names for n in range(1, min(len(name), 40)))
    prefix = max((p for p, n in counts.items() if n >= _SHARED * len(names)), key=len, default="")
    for n in range(
        len(prefix), 0, -1
    ):  # where most of what follows begins with a capital, or behind a separator
        rests = [name[n:] for name in names if name.startswith(prefix[:n])]
        new = sum(not r[:1].islower() for r in rests) >= _SHARED * len(rests)
        if not prefix[n - 1].isalnum() or new or (n == len(prefix) and n >= 4):
            return [name[n:] if name.startswith(prefix[:n]) and name[n:] else name for name in names]
    return names


def _without_shared_words(names: list[list[str]]) -> list[list[str]]:
    """Names without the words that most of them end with (LeftArm_jnt); numbers stay."""
    while len(names) >= 8:
        counted = Counter(w[-1] for w in names if len(w) > 1).most_common(1)
        word, n = counted[0] if counted else ("", 0)
        if n < _SHARED * len(names) or word.isdigit():
            break
        names = [w[:-1] if len(w) > 1 and w[-1] == word else w for w in names]
    return names


def _without_frequent(names: list[list[str]]) -> list[list[str]]:
    """Names without words that mean nothing here and stand in many of them, with the number behind such a word:
    J_Bip_L_Hand beside hair and clothes, Bip01 L Hand beside weapons."""
    counts = Counter(word for words in names for word in set(words))
    often = {
        word
        for word, n in counts.items()
        if n >= max(8, _FREQUENT * len(names)) and word.isalpha() and _taken_apart(word) == (word,)
    } - (_WORDS | _BESIDE | _EMPTY | set(_SIDES) | set(_MIDDLE) | set(_SPELLED) | {"finger"})
    out = []
    for words in names:
        kept = [
            w
            for i, w in enumerate(words)
            if w not in often and not (w.isdigit() and i and words[i - 1] in often)
        ]
        out.append(kept or words)
    return out


@lru_cache(maxsize=4096)
def _taken_apart(word: str) -> tuple[str, ...]:
    """A word as the fewest words that are known (lefthand -> left, hand), or as it is."""
    if word in _WORDS or len(word) > 40:
        return (word,)
    best: list[tuple[str, ...] | None] = [(), *[None] * len(word)]
    for stop in range(1, len(word) + 1):
        for start in range(stop):
            before = best[start]
            if before is not None and word[start:stop] in _WORDS:
                now = (*before, word[start:stop])
                if best[stop] is None or len(now) < len(best[stop] or ()):
                    best[stop] = now
    return best[-1] or (word,)


def _said(words: list[str], every: set[str]) -> Said:
    words = [w for word in words for w in _taken_apart(word)]
    words, side, clear = _side(words, every)
    number = None
    for word in words:
        if word.isdigit():
            number = int(word[:6])
        elif word in _PHALANX:
            number = _PHALANX[word]
    named = [w for w in words if not w.isdigit() and w not in _PHALANX]
    beside = not clear or any(w in _BESIDE for w in named)
    extra = sum(w in _EMPTY for w in named)
    named = [w for w in named if w not in _EMPTY]
    while named and named[0] in _MIDDLE and len(named) > 1:
        named = named[1:]
    if len(named) > 1 and named[-1] in _MIDDLE:
        named = named[:-1]
    parts = frozenset(_SPELLED.get("".join(named), ()))
    if named == ["finger"]:
        parts, number = _numbered_finger([w for w in words if w.isdigit()])
    return Said(side, parts, number, beside, extra)


def _numbered_finger(numbers: list[str]) -> tuple[frozenset[str], int | None]:
    """Fingers without names: Finger0, Finger01, Finger02, Finger1 ... (3ds Max Biped) or finger1-1, finger1-2
    ... finger5-3 (MakeHuman); the thumb is the first."""
    if len(numbers) == 2:
        which, number = int(numbers[0][:3]) - 1, int(numbers[1][:3])
    elif len(numbers) == 1 and len(numbers[0]) <= 2:
        which, number = int(numbers[0][0]), int(numbers[0][1:] or 0) + 1
    else:
        return frozenset(), None
    return frozenset(FINGERS[which : which + 1] if which >= 0 else ()), number


def _side(words: list[str], every: set[str]) -> tuple[list[str], str, bool]:
    """The words without the one that names the side; the side; False if two sides are named."""
    found = [i for i, w in enumerate(words) if w in _WHOLE_SIDES]
    if not found:
        found = [i for i, w in enumerate(words) if w in _SIDES]
    if len({_SIDES[words[i]] for i in found}) > 1:
        return words, "", False
    if found:
        return [w for i, w in enumerate(words) if i not in found], _SIDES[words[found[0]]], True
    return _glued_side(words, every)


def _glued_side(words: list[str], every: set[str]) -> tuple[list[str], str, bool]:
    """lfemur and rfemur, thighl and thighr: a letter for the side, where the other side is there too."""
    whole = "".join(words)
    if not words or whole in _SPELLED:
        return words, "", True
    for at, rest, other in (
        (0, lambda w: w[1:], lambda w, s: s + w[1:]),
        (-1, lambda w: w[:-1], lambda w, s: w[:-1] + s),
    ):
        letter = words[at][at]
        if letter not in "lr" or len(words[at]) < 3:
            continue
        twin = list(words)
        twin[at] = other(words[at], "r" if letter == "l" else "l")
        bare = list(words)
        bare[at] = rest(words[at])
        named = "".join(w for w in bare if not w.isdigit())
        if "".join(twin) in every and (
            "".join(_taken_apart(named)) in _SPELLED or len(_taken_apart(named)) > 1
        ):
            return [w for word in bare for w in _taken_apart(word)], _SIDES[letter], True
    return words, "", True
