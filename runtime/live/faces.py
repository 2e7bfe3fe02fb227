"""Names of facial expressions that performers send -> the open body's expressions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Apple's 52 blend shapes; "Perfect Sync" models send them under the same names.
ARKIT = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
_COMPOSITES = (
    "smile",
    "mouthOpen",
    "browRaise",
    "browDown",
    "eyesClosed",
    "eyesWide",
    "pucker",
    "frown",
    "lipsStretch",
    "sneer",
)
NAMES = _COMPOSITES + ARKIT
"""Expression names of every live source that has a face; the open body's."""

# VRM 0 name, VRM 1 name, what the open body does for it. Weights chosen by eye.
_PRESETS = (
    ("joy", "happy", {"smile": 1.0}),
    ("angry", "angry", {"browDown": 1.0, "sneer": 0.4}),
    ("sorrow", "sad", {"frown": 0.9, "browInnerUp": 0.8}),
    ("fun", "relaxed", {"smile": 0.6, "eyesClosed": 0.2}),
    ("surprised", "surprised", {"browRaise": 0.9, "eyesWide": 0.7, "mouthOpen": 0.4}),
    ("a", "aa", {"mouthOpen": 0.8}),
    ("i", "ih", {"lipsStretch": 0.7, "mouthOpen": 0.15}),
    ("u", "ou", {"pucker": 0.7, "mouthOpen": 0.1}),
    ("e", "ee", {"lipsStretch": 0.5, "mouthOpen": 0.35}),
    ("o", "oh", {"mouthFunnel": 0.7, "mouthOpen": 0.4}),
    ("blink", "blink", {"eyesClosed": 1.0}),
    ("blink_l", "blinkleft", {"eyeBlinkLeft": 1.0}),
    ("blink_r", "blinkright", {"eyeBlinkRight": 1.0}),
    ("lookup", "lookup", {"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0}),
    ("lookdown", "lookdown", {"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0}),
    ("lookleft", "lookleft", {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}),
    ("lookright", "lookright", {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0}),
)


_VOWELS = {"aa": "a", "ih": "i", "ou": "u", "e": "e", "oh": "o", "i": "i", "u": "u", "o": "o", "ee": "e"}
_MAX_NAME = 64  # bytes


def _preset(name: str) -> dict[str, float]:
    """What the open body does for a VRM 0 preset."""
    return next(weights for old, _, weights in _PRESETS if old == name)


# Names of other makers whose meaning is certain. VRoid Studio's blend shapes, by their end after "Fcl_".
_VROID = {
    "all_neutral": {},
    "all_joy": _preset("joy"),
    "all_angry": _preset("angry"),
    "all_sorrow": _preset("sorrow"),
    "all_fun": _preset("fun"),
    "all_surprised": _preset("surprised"),
    "brw_angry": {"browDown": 1.0},
    "brw_surprised": {"browRaise": 1.0},
    "eye_natural": {},
    "eye_close": {"eyesClosed": 1.0},
    "eye_close_l": {"eyeBlinkLeft": 1.0},
    "eye_close_r": {"eyeBlinkRight": 1.0},
    "eye_surprised": {"eyesWide": 1.0},
    "eye_spread": {"eyesWide": 1.0},
    "mth_neutral": {},
    **{f"mth_{vowel}": _preset(vowel) for vowel in "aiueo"},
}
# The 15 visemes of Oculus' lip sync, which VRChat's avatars have as vrc.v_aa and others as viseme_aa.
_VISEMES = {
    "sil": {},
    "pp": {"mouthPressLeft": 0.6, "mouthPressRight": 0.6},
    "ff": {"mouthRollLower": 0.5, "mouthOpen": 0.05},
    "th": {"mouthOpen": 0.2},
    "dd": {"mouthOpen": 0.2},
    "kk": {"mouthOpen": 0.25},
    "ch": {"mouthFunnel": 0.5, "mouthOpen": 0.1},
    "ss": {"lipsStretch": 0.4, "mouthOpen": 0.05},
    "nn": {"mouthOpen": 0.15},
    "rr": {"pucker": 0.3, "mouthOpen": 0.15},
    **{name: _preset(vowel) for name, vowel in _VOWELS.items()},
}
_OTHERS = {
    "neutral": {},
    "vrc.blink": {"eyesClosed": 1.0},
    "vrc.blink_left": {"eyeBlinkLeft": 1.0},
    "vrc.blink_right": {"eyeBlinkRight": 1.0},
    "eyeclosedleft": {"eyeBlinkLeft": 1.0},
    "eyeclosedright": {"eyeBlinkRight": 1.0},
    "mouthclosed": {"mouthClose": 1.0},
    # trackers that see each side of what Apple has as one
    **{
        f"{name}{side}".lower(): {name: 0.5}
        for name in ("browInnerUp", "cheekPuff")
        for side in ("Left", "Right", "L", "R")
    },
    "あ": _preset("a"),
    "い": _preset("i"),
    "う": _preset("u"),
    "え": _preset("e"),
    "お": _preset("o"),
    "まばたき": {"eyesClosed": 1.0},
}


def _table() -> dict[bytes, tuple[tuple[int, float], ...]]:
    table = {}

    def add(name: str, weights: dict[str, float]) -> None:
        table[name.lower().encode()] = tuple((NAMES.index(k), w) for k, w in weights.items())

    for name in NAMES:
        add(name, {name: 1.0})
        for side in ("Left", "Right"):
            if name.endswith(side):  # eyeBlink_L, as some phones' apps write it, and without the bar
                add(f"{name.removesuffix(side)}_{side[0]}", {name: 1.0})
                add(f"{name.removesuffix(side)}{side[0]}", {name: 1.0})
                if name.startswith("eye"):  # Eye_Left_Blink, as eye trackers do
                    add(f"eye{side}{name.removeprefix('eye').removesuffix(side)}", {name: 1.0})
    for old, new, weights in _PRESETS:
        add(old, weights)
        add(new, weights)
    for end, weights in _VROID.items():
        add(f"fcl_{end}", weights)
    for end, weights in _VISEMES.items():
        for start in ("vrc.v_", "v_", "viseme_"):
            add(start + end, weights)
    for name, weights in _OTHERS.items():
        add(name, weights)
    return table


_TABLE = _table()
_SEPARATORS = bytes.maketrans(b"./ -", b"____")


def known(name: bytes) -> bytes | None:
    """The key under which a performer's name is known here, whatever its case, its separators and the name of the
    mesh before it; None if it is not."""
    if len(name) > _MAX_NAME:
        return None
    key = name.lower()
    if key in _TABLE:
        return key
    for start in (b"vrc.v_", b"fcl_", b"viseme_"):  # Face.M_F00_000_Fcl_ALL_Joy
        if (at := key.find(start)) > 0 and key[at:] in _TABLE:
            return key[at:]
    end = key.translate(_SEPARATORS).strip(b"_")
    for part in (end, key.replace(b"/", b".").rpartition(b".")[2].translate(_SEPARATORS).strip(b"_")):
        if part in _TABLE:
            return part
        joined = part.replace(b"_", b"")  # MouthSmile_Left, mouth_smile_left
        if len(joined) > 3 and joined in _TABLE:
            return joined
    return None


def expression(values: Iterable[tuple[bytes, float]]) -> np.ndarray:
    """f32[62], in the order of NAMES, from pairs of `known` keys and values; sums are cut to 0..1."""
    out = [0.0] * len(NAMES)
    for key, value in values:
        if value:
            for i, weight in _TABLE[key]:
                out[i] += weight * value
    return np.clip(np.array(out, np.float32), 0.0, 1.0)
