"""Which frames of a film become the capture, and when a film is refused: in words for whoever holds the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.people import height_of

from .survey import Look, Survey

FRAMES = (40, 120)  # least and most that are asked for
LEAST = 24  # frames that are enough for a capture
SMALLEST = 220  # pixels of the person's height
DARK = 28.0  # of 255: mean light of the person
BLURRED = 0.45  # of the film's usual sharpness: such a frame is left out
SOFT = (
    1.2  # sharpness of a film, root mean square of the Laplacian at 320 pixels of height: all of it is a blur
)
MOVES = 0.006  # of the longer side: a still camera's background moves less
MOVES_MUCH = 0.05
STILL = 0.0015  # of the longer side: so still that what is behind the person can be learned from other frames
TURN = np.radians(270)  # that must have been seen at least
WHOLE_TURN = np.radians(345)
GAP = np.radians(60)  # between two neighbouring sides; more is a side that nobody saw
SEEN = 0.7  # of the frames must show all of the person


@dataclass(frozen=True, eq=False)
class Choice:
    """looks: of the frames to take, in order of time; warnings: sentences; turned: radians of the whole turn."""

    looks: list[Look]
    warnings: list[str]
    turned: float


def choose(found: Survey, count: int) -> Choice:
    """`count` sharp frames, spread over turn and time. Raises InputError, in a photographer's words, where the film
    cannot become a capture."""
    looks = found.looks
    warnings = _judge(found)
    whole = [i for i, look in enumerate(looks) if not set(look.cut) & {"head", "knees", "feet", "hips"}]
    yaws = found.yaws
    turned = float(np.ptp(yaws))
    usual = float(np.median([looks[i].sharpness for i in whole]))
    good = [i for i in whole if looks[i].sharpness >= BLURRED * usual]
    if len(good) < LEAST:
        raise InputError(
            f"{found.name}: only {len(good)} of {len(looks)} frames are sharp and show all of the person, expected at "
            f"least {LEAST}: film 10 to 30 s, in better light"
        )
    way = _progress(yaws, np.array([look.time for look in looks]))[good]
    taken = _best_of_each(way, np.array([looks[i].sharpness for i in good]), count)
    chosen = [good[k] for k in taken]
    _refuse_unseen_sides(found.name, yaws[chosen])
    return Choice([looks[i] for i in chosen], warnings, turned)


def _judge(found: Survey) -> list[str]:
    """Warnings on the film as a whole. Raises InputError."""
    looks, name = found.looks, found.name
    if len(looks) < LEAST:
        raise InputError(
            f"{name}: the person is in only {len(looks)} frames, expected at least {LEAST}: film 10 to 30 s, in which "
            f"the person turns round once"
        )
    others = [look for look in looks if look.people]
    counted = [look for look in looks if look.counted]
    warnings = []
    if len(others) > max(1, 0.3 * len(counted)):
        raise InputError(
            f"{name}: there are several people in it (at {_times(others)}); only the one who turns may be in the picture"
        )
    if len(others) > 1:  # one sighting alone is a coat on a hook more often than a person
        warnings.append(f"somebody else may be in the picture at {_times(others)}: look at the sheet there")
    gone = [look for look in looks if set(look.cut) & {"head", "knees", "feet", "hips"}]
    away = len(gone) + len(found.lost)
    if away > (1 - SEEN) * (len(looks) + len(found.lost)):
        parts = [
            p
            for p in ("head", "hips", "knees", "feet")
            if sum(p in look.cut for look in gone) > len(gone) / 3
        ]
        what = f"the {' and the '.join(parts)} cut off" if parts else "nobody in the picture"
        raise InputError(
            f"{name}: in {100 * away / (len(looks) + len(found.lost)):.0f} % of the frames the person is not there as a "
            f"whole ({what}); step back until there is air above the head and below the feet, and stay in the middle"
        )
    if away:
        warnings.append(f"in {away} frames the person is cut off or not there; these are left out")
    tall = float(np.median([height_of(look.seen) for look in looks]))
    if tall < SMALLEST:
        raise InputError(
            f"{name}: the person is only {tall:.0f} pixels tall, expected at least {SMALLEST} (600 is good): come nearer, "
            f"hold the camera upright"
        )
    light = float(np.median([look.light for look in looks]))
    if light < DARK:
        raise InputError(
            f"{name}: too dark (the person has {light:.0f} of 255); switch lights on, or film by a window"
        )
    sharp = float(np.median([look.sharpness for look in looks]))
    if sharp < SOFT:
        raise InputError(
            f"{name}: everything is blurred; clean the lens, let it focus on the person, more light, turn more slowly"
        )
    shift = np.array([look.shift for look in looks])
    if np.isfinite(shift).sum() >= 0.3 * len(shift):
        off = float(np.nanpercentile(shift, 90))
        if off > MOVES_MUCH:
            raise InputError(
                f"{name}: the camera moves (by {100 * off:.0f} % of the picture); put it on something that stands still "
                f"and let the person turn"
            )
        if off > MOVES:
            warnings.append(
                f"the camera moves a little (by {100 * off:.1f} % of the picture): a tripod, or a shelf, is better"
            )
    turned = float(np.ptp(found.yaws))
    if turned < TURN:
        raise InputError(
            f"{name}: the person turns by only {np.degrees(turned):.0f} degrees, expected once all the way round, on the "
            f"spot, in 10 to 30 s"
        )
    if turned < WHOLE_TURN:
        warnings.append(f"the person turns by {np.degrees(turned):.0f} degrees, not all the way round")
    return warnings


def still(found: Survey) -> bool:
    """Whether the camera stands still, as far as can be told: a bare wall tells nothing, and then does no harm."""
    shift = np.array([look.shift for look in found.looks])
    return not np.isfinite(shift).any() or float(np.nanpercentile(shift, 95)) < STILL


def _times(looks: list[Look]) -> str:
    times = [f"{look.time:.0f} s" for look in looks[:3]]
    return ", ".join(dict.fromkeys(times)) + (", ..." if len(looks) > 3 else "")


def _progress(yaws: np.ndarray, times: np.ndarray) -> np.ndarray:
    """0..1 along the film: half of it by how far the person has turned, half by time."""
    turned = np.cumsum(np.abs(np.diff(yaws, prepend=yaws[0])))
    passed = times - times[0]
    return 0.5 * turned / max(turned[-1], 1e-9) + 0.5 * passed / max(passed[-1], 1e-9)


def _best_of_each(way: np.ndarray, sharpness: np.ndarray, count: int) -> list[int]:
    """The sharpest frame in each of `count` equal parts of the way."""
    part = np.minimum((way * count).astype(int), count - 1)
    best = [np.flatnonzero(part == k)[np.argmax(sharpness[part == k])] for k in np.unique(part)]
    return sorted(int(i) for i in best)


def _refuse_unseen_sides(name: str, yaws: np.ndarray) -> None:
    round_ = np.sort(np.mod(yaws, 2 * np.pi))
    gaps = np.diff(np.append(round_, round_[0] + 2 * np.pi))
    if gaps.max() > GAP:
        middle = np.degrees(round_[gaps.argmax()] + gaps.max() / 2) % 360
        side = ("the front", "the left", "behind", "the right")[int((middle + 45) // 90) % 4]
        raise InputError(
            f"{name}: nothing shows the person from {side}; turn all the way round, slowly, with the whole body in the "
            f"picture"
        )
