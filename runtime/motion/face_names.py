"""Names of facial expressions in files -> those of the open body (Apple's 52 and a few of its own)."""

from __future__ import annotations

# VRM 1's presets, by what the open body does for them; weights as for live sources (`runtime/live/faces.py`).
PRESETS: dict[str, dict[str, float]] = {
    "happy": {"smile": 1.0},
    "angry": {"browDown": 1.0, "sneer": 0.4},
    "sad": {"frown": 0.9, "browInnerUp": 0.8},
    "relaxed": {"smile": 0.6, "eyesClosed": 0.2},
    "surprised": {"browRaise": 0.9, "eyesWide": 0.7, "mouthOpen": 0.4},
    "aa": {"mouthOpen": 0.8},
    "ih": {"lipsStretch": 0.7, "mouthOpen": 0.15},
    "ou": {"pucker": 0.7, "mouthOpen": 0.1},
    "ee": {"lipsStretch": 0.5, "mouthOpen": 0.35},
    "oh": {"mouthFunnel": 0.7, "mouthOpen": 0.4},
    "blink": {"eyesClosed": 1.0},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "neutral": {},
}


def arkit_name(name: str) -> str:
    """A name of Apple's as Apple writes it: "BrowDownLeft" and "eyeBlink_L" are such too; others stay."""
    short = name.rsplit(".", 1)[-1] if name.count(".") == 1 and not name.endswith((".L", ".R")) else name
    for end, side in (("_L", "Left"), ("_R", "Right"), (".L", "Left"), (".R", "Right")):
        if short.endswith(end):
            short = short[: -len(end)] + side
    return short[:1].lower() + short[1:]
