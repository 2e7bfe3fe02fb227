"""Clips of our own: a demonstration that uses the whole body, and an idle loop for when nobody drives.
Computed, the same every time."""

from __future__ import annotations

import numpy as np

from dinar_live.runtime.core.errors import MotionError

from .figure import HANG, Figure
from .gestures import HANDS, arm
from .motion import Motion
from .tracks import bump, ease, track

# The demonstration, seconds.
_DEMO = 26.0
_WAVE, _COUNT, _TALK = 2.9, 6.5, 10.2
_STEPS_FROM, _STEP, _STEPS, _TURN_FROM, _TURN_STEPS = 14.0, 0.5, 16, 5, 10
_POINT = 22.7


def _times(duration: float, fps: float) -> np.ndarray:
    if not 1 <= fps <= 1000:
        raise MotionError(f"fps: got {fps:g}, expected 1 to 1000")
    return np.arange(round(duration * fps)) * (duration / round(duration * fps))


def idle_motion(fps: float = 30.0) -> Motion:
    """12 s of standing at ease: breath, sway, glances, blinks. Loops without a seam; expressions by the open
    body's names."""
    duration = 12.0
    f = Figure(_times(duration, fps))
    f.breathe(duration, 3)
    f.shift((0.0, 0.0), (2.5, 0.0), (4.3, 0.7), (7.4, 0.7), (9.4, -0.25), (11.6, 0.0))
    f.look(
        (0.6, (0, 0)),
        (1.3, (2, 9)),
        (3.2, (2, 9)),
        (3.8, (0, 0)),
        (6.4, (0, 0)),
        (7.2, (3, -12)),
        (8.6, (3, -12)),
        (9.3, (0, 0)),
    )
    f.blink(1.0, 3.6, 6.5, 7.1, 9.2)
    f.face["smile"] += 0.12 + track(f.t, (8.8, 0.0), (9.6, 0.16), (10.8, 0.16), (11.8, 0.0))
    f.face["browRaise"] += 0.25 * bump(f.t, 6.5, 7.1, 8.4)
    return f.motion(len(f.t) / duration, "idle")


def demo_motion(fps: float = 30.0) -> Motion:
    """26 s of everything a body does: looks around, waves, counts, talks, walks on the spot, turns once
    around, points and winks.

    Loops without a seam; expressions by the open body's names. Raises MotionError for an impossible fps.
    """
    f = Figure(_times(_DEMO, fps))
    t = f.t
    f.breathe(_DEMO, 7)
    f.shift(
        (0.2, 0.0),
        (1.4, 0.8),
        (3.0, 0.8),
        (4.0, -0.35),
        (5.8, -0.35),
        (7.2, 0.6),
        (9.6, 0.6),
        (10.8, -0.6),
        (12.6, -0.5),
        (13.7, 0.0),
        (22.2, 0.0),
        (23.2, -0.7),
        (24.6, -0.6),
        (25.8, 0.0),
    )
    f.look(
        (0.3, (0, 0)),
        (0.9, (-2, 24)),
        (1.4, (-2, 24)),
        (2.1, (3, -20)),
        (2.5, (3, -20)),
        (3.1, (0, 0)),
        (7.0, (0, 0)),
        (7.4, (7, -10)),
        (8.0, (1, -3)),
        (8.3, (1, 0)),
        (10.4, (0, 0)),
        (11.1, (0, 9)),
        (12.0, (0, -7)),
        (12.9, (-2, 0)),
        (13.5, (0, 0)),
    )
    _wave_hello(f)
    _count(f)
    _speak(f)
    f.walk(_STEPS_FROM, _STEP, _STEPS, _TURN_FROM, _TURN_STEPS)
    _point(f)
    f.blink(0.75, 1.75, 2.75, 6.0, 8.1, 10.3, 12.2, 13.6, 15.8, 17.0, 19.3, 21.9, 25.3)
    f.face["smile"] += 0.10
    return f.motion(len(t) / _DEMO, "demo")


def _wave_hello(f: Figure) -> None:
    t, a = f.t, _WAVE
    ready, up = arm(26, 30, -30, 95, 35), arm(18, 56, -78, 114)
    keys = [(a, HANG), (a + 0.38, ready), (a + 0.8, up), (a + 2.75, up), (a + 3.15, ready), (a + 3.6, HANG)]
    f.arms["right"] += track(t, *keys) - HANG
    swing = ease((t - a - 0.55) / 0.4) * (1 - ease((t - a - 2.4) / 0.5))
    f.arms["right"][:, 3] += 17 * swing * np.sin(2 * np.pi * 1.75 * (t - a - 0.75))
    f.arms["right"][:, 2] += 6 * swing * np.sin(2 * np.pi * 1.75 * (t - a - 0.75))
    f.arms["right"][:, 6] -= 14 * swing * np.sin(2 * np.pi * 1.75 * (t - a - 0.84))
    f.hands["right"] += _hand_track(
        t, (a + 0.1, "relaxed"), (a + 0.65, "open"), (a + 2.7, "open"), (a + 3.4, "relaxed")
    )
    f.head[:, 2] += 0.11 * track(t, (a + 0.3, 0.0), (a + 1.0, -1.0), (a + 2.5, -1.0), (a + 3.3, 0.0))
    f.chest[:, 2] += 0.05 * track(t, (a + 0.1, 0.0), (a + 0.8, 1.0), (a + 2.6, 1.0), (a + 3.4, 0.0))
    f.face["smile"] += 0.9 * track(t, (a + 0.2, 0.0), (a + 0.8, 1.0), (a + 2.7, 0.9), (a + 3.8, 0.0))
    f.face["browRaise"] += 0.6 * bump(t, a + 0.2, a + 0.7, a + 1.9)
    f.talk(a + 0.9, a + 1.5, 3)


def _count(f: Figure) -> None:
    t, a = f.t, _COUNT
    up, beat = arm(24, 16, -24, 122, 72, -4), arm(30, 17, -24, 112, 72, 8)
    keys = [(a, HANG), (a + 0.7, up)]
    for k in range(3):  # each number is thrown a little forward
        at = a + 0.95 + 0.7 * k
        keys += [(at, up), (at + 0.2, beat), (at + 0.5, up)]
    end = a + 3.25
    keys += [(end - 0.1, up), (end + 0.7, HANG)]
    f.arms["right"] += track(t, *keys) - HANG
    shapes = [(a + 0.15, "relaxed"), (a + 0.65, "fist")]
    for k, shape in enumerate(("point", "two", "three")):
        at = a + 0.9 + 0.7 * k
        shapes += [(at, ("fist", "point", "two")[k]), (at + 0.24, shape)]
        f.head[:, 0] += 0.07 * bump(t, at, at + 0.24, at + 0.6)
        f.mouth += 0.8 * bump(t, at, at + 0.16, at + 0.4)
        f.face["smile"] += 0.3 * bump(t, at, at + 0.2, at + 0.45)
        f.face["browRaise"] += 0.3 * bump(t, at - 0.05, at + 0.2, at + 0.6)
    shapes += [(end - 0.1, "three"), (end + 0.25, "open"), (end + 0.8, "relaxed")]
    f.hands["right"] += _hand_track(t, *shapes)


def _speak(f: Figure) -> None:
    t, a = f.t, _TALK
    low, wide, one = arm(14, 10, -14, 78, -38, 0), arm(16, 24, -34, 70, -58, -10), arm(24, 8, -6, 88, -20, -6)
    f.arms["left"] += (
        track(
            t,
            (a, HANG),
            (a + 0.6, low),
            (a + 1.0, low),
            (a + 1.4, wide),
            (a + 1.9, wide),
            (a + 2.4, low),
            (a + 2.8, low),
            (a + 3.5, HANG),
        )
        - HANG
    )
    f.arms["right"] += (
        track(
            t,
            (a + 0.1, HANG),
            (a + 0.75, low),
            (a + 1.05, low),
            (a + 1.45, wide),
            (a + 1.9, wide),
            (a + 2.3, one),
            (a + 2.55, low),
            (a + 2.8, one),
            (a + 3.55, HANG),
        )
        - HANG
    )
    for side, late in (("left", 0.0), ("right", 0.08)):
        f.hands[side] += _hand_track(
            t,
            (a + late, "relaxed"),
            (a + 0.6 + late, "soft"),
            (a + 1.0, "soft"),
            (a + 1.5 + late, "open"),
            (a + 2.0, "open"),
            (a + 2.5 + late, "soft"),
            (a + 3.4, "relaxed"),
        )
    f.talk(a + 0.1, a + 3.2, 11)
    f.face["browRaise"] += 0.55 * bump(t, a + 0.9, a + 1.4, a + 2.2)
    f.face["browDown"] += 0.35 * bump(t, a + 2.0, a + 2.4, a + 3.0)
    f.face["smile"] += 0.35 * track(
        t, (a + 2.6, 0.0), (a + 3.3, 1.0), (a + 5.0, 0.3), (a + 11.5, 0.3), (a + 12.4, 0.0)
    )
    f.head[:, 2] += 0.06 * track(
        t, (a + 0.8, 0.0), (a + 1.4, 1.0), (a + 2.0, 1.0), (a + 2.6, -0.5), (a + 3.4, 0.0)
    )


def _point(f: Figure) -> None:
    t, a = f.t, _POINT
    back, aim, shot = arm(30, 18, -10, 100, 40), arm(66, 6, 0, 26, 55), arm(70, 6, 0, 16, 55, -6)
    f.arms["left"] += (
        track(
            t,
            (a, HANG),
            (a + 0.4, back),
            (a + 0.75, shot),
            (a + 1.0, aim),
            (a + 1.75, aim),
            (a + 2.6, HANG),
        )
        - HANG
    )
    f.hands["left"] += _hand_track(
        t, (a, "relaxed"), (a + 0.4, "fist"), (a + 0.7, "point"), (a + 1.8, "point"), (a + 2.5, "relaxed")
    )
    f.head[:, 2] += 0.12 * track(t, (a + 0.5, 0.0), (a + 1.0, 1.0), (a + 1.6, 1.0), (a + 2.3, 0.0))
    f.head[:, 0] += 0.05 * bump(t, a + 0.5, a + 0.9, a + 1.6)
    f.chest[:, 1] -= 0.10 * track(t, (a + 0.2, 0.0), (a + 0.75, 1.0), (a + 1.7, 1.0), (a + 2.5, 0.0))
    f.face["smile"] += 0.9 * track(t, (a + 0.4, 0.0), (a + 0.95, 1.0), (a + 1.9, 0.8), (a + 2.9, 0.0))
    wink = 0.75 * track(t, (a + 0.95, 0.0), (a + 1.07, 1.0), (a + 1.32, 1.0), (a + 1.5, 0.0))
    f.face["eyeBlinkLeft"] += wink
    f.face["cheekSquintLeft"] += 0.4 * wink


def _hand_track(t, *keys: tuple[float, str]) -> np.ndarray:
    """What to add to a relaxed hand [N,15,3]: keys (time, shape of HANDS)."""
    return track(t, *((at, HANDS[shape]) for at, shape in keys)) - HANDS["relaxed"]
