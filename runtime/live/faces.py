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


def _table() -> dict[bytes, tuple[tuple[int, float], ...]]:
    table = {}
    for i, name in enumerate(NAMES):
        table[name.lower().encode()] = ((i, 1.0),)
        for side in ("Left", "Right"):
            if name.endswith(side):  # eyeBlink_L, as some phones' apps write it
                table[f"{name.removesuffix(side)}_{side[0]}".lower().encode()] = ((i, 1.0),)
    for old, new, weights in _PRESETS:
        for name in (old, new):
            table[name.encode()] = tuple((NAMES.index(k), w) for k, w in weights.items())
    return table


_TABLE = _table()


def known(name: bytes) -> bytes | None:
    """The key under which a performer's name is known here, whatever its case; None if it is not."""
    if len(name) > 32:
        return None
    key = name.lower()
    return key if key in _TABLE else None


def expression(values: Iterable[tuple[bytes, float]]) -> np.ndarray:
    """f32[62], in the order of NAMES, from pairs of `known` keys and values; sums are cut to 0..1."""
    out = [0.0] * len(NAMES)
    for key, value in values:
        if value:
            for i, weight in _TABLE[key]:
                out[i] += weight * value
    return np.clip(np.array(out, np.float32), 0.0, 1.0)
