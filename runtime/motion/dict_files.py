"""Clips in dictionaries of any layout: AIST++, PromptHMR and their kin. A part of the dictionary that holds SMPL
poses under names that are known here is a clip; the keys on the way to it say whose it is and in which world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.formats.restricted_unpickle import Inert
from dinar_live.runtime.formats.stored_array import StoredArray, StoredArrayError

from .hand_model import HandModel
from .motion import Motion
from .recording import even_motion
from .smpl_numbers import RATE_KEYS, NumbersReader, Options, holds_poses

FPS = 30.0
AIST_FPS = 60.0
_AIST_KEY = "smpl_scaling"
_MAX_DEPTH = 5
_MAX_PARTS = 20_000
_MAX_ARRAY_BYTES = 1 << 30
_CAMERA = ("cam", "incam", "camera")
_WORLD = ("world", "global")
_FRAME_KEYS = ("frame_ids", "frame_id", "frames")


class DictArchive:
    """A dictionary's numbers as an archive (`smpl_numbers.Archive`)."""

    def __init__(self, content: Mapping):
        self._content = {k: v for k, v in content.items() if isinstance(k, str)}
        self.keys = {k for k, v in self._content.items() if v is not None and not isinstance(v, Mapping)}

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype]:
        value = self._value(key)
        return tuple(value.shape), value.dtype

    def read(self, key: str) -> np.ndarray:
        value = self._value(key)
        if not isinstance(value, StoredArray):
            return value
        if value.nbytes > _MAX_ARRAY_BYTES:
            raise ValueError(f"an array of {value.nbytes} bytes, expected at most {_MAX_ARRAY_BYTES}")
        return value.load()  # StoredArrayError is a ValueError

    def _value(self, key: str) -> StoredArray | np.ndarray:
        value = self._content[key]
        if isinstance(value, StoredArray):
            return value
        if isinstance(value, Inert):
            raise ValueError(f"a {value.name}, which is not read; save it as a numpy array")
        return np.asarray(value)


@dataclass(frozen=True, eq=False)
class _Part:
    """keys: on the way from the top. around: the dictionaries on the way, itself last."""

    keys: tuple[str, ...]
    around: tuple[Mapping, ...]

    @property
    def person(self) -> str:
        return next((k for k in reversed(self.keys) if not _world(k)), "0")

    @property
    def world(self) -> str:
        return next((w for k in reversed(self.keys) if (w := _world(k))), "")

    def frames(self) -> int:
        d = DictArchive(self.around[-1])
        try:
            return max(
                (s[0] for k in d.keys if holds_poses({k}, whole=False) and (s := d.header(k)[0])), default=0
            )
        except ValueError:
            return 0


def _world(key: str) -> str:
    """ "world" or "camera" if a key says so."""
    words = key.lower().replace("-", "_").split("_")
    return (
        "camera" if any(w in _CAMERA for w in words) else "world" if any(w in _WORLD for w in words) else ""
    )


def holds_clips(top: object) -> bool:
    """Whether a dictionary has a part that `read_dictionary` reads."""
    return isinstance(top, Mapping) and next(_parts(top), None) is not None


def _parts(top: Mapping) -> Iterator[_Part]:
    waiting: list[tuple[tuple[str, ...], tuple[Mapping, ...]]] = [((), (top,))]
    seen = 0
    while waiting and seen < _MAX_PARTS:
        keys, around = waiting.pop(0)
        seen += 1
        if holds_poses({k for k in around[-1] if isinstance(k, str)}):
            yield _Part(keys, around)
            continue
        if len(keys) < _MAX_DEPTH and len(waiting) < _MAX_PARTS:
            waiting += [
                ((*keys, *new), (*around, v)) for k, v in around[-1].items() for new, v in _below(str(k), v)
            ]


def _below(key: str, value: object) -> list[tuple[tuple[str, ...], Mapping]]:
    """The dictionaries under a key: itself, or the members of a list."""
    if isinstance(value, Mapping):
        return [((key,), value)]
    if isinstance(value, (list, tuple)) and len(value) <= _MAX_PARTS:
        return [((key, str(i)), v) for i, v in enumerate(value) if isinstance(v, Mapping)]
    return []


def read_dictionary(
    path: Path,
    top: Mapping,
    *,
    fps: float | None,
    up: str,
    person: str | None,
    world: str,
    model: HandModel | None = None,
) -> Motion:
    """The clip of one person in a dictionary; options as for `convert_research`. Raises MotionError."""
    parts = list(_parts(top))
    lengths: dict[str, int] = {}
    for part in parts:
        lengths[part.person] = max(lengths.get(part.person, 0), part.frames())
    chosen = person or max(lengths, key=lambda k: lengths[k])
    if chosen not in lengths:
        raise MotionError(f"{path}: person {chosen}: not in the file; it has {', '.join(list(lengths)[:20])}")
    own = [p for p in parts if p.person == chosen]
    part = next((p for p in own if p.world == world), own[0])
    aist = _AIST_KEY in part.around[-1]
    options = Options(
        up=up,
        fps=_said_above(part, path) if fps is None else fps,
        model=model,
        assumed_fps=AIST_FPS if aist else FPS,
        known_up="-y" if part.world == "camera" else None,
    )
    reader = NumbersReader(path, DictArchive(part.around[-1]), options, "/".join(part.keys))
    if len(lengths) > 1:
        people = ", ".join(f"{k} ({n} frames)" for k, n in list(lengths.items())[:10])
        reader.notes.append(f"person {chosen} of {people}")
    if part.world and part.world != world:
        reader.notes.append(f"no {world} poses in the file: {'/'.join(part.keys)}")
    return _without_gaps(reader.motion(), part, path)


def _said_above(part: _Part, path: Path) -> float | None:
    """The frame rate that a dictionary around the clip says, for all in it."""
    for d in reversed(part.around[:-1]):
        reader = NumbersReader(path, DictArchive(d), Options())
        if reader.first(RATE_KEYS):
            return reader.rate()
    return None


def _without_gaps(motion: Motion, part: _Part, path: Path) -> Motion:
    """The clip at even times, where the file numbers its frames and some are missing."""
    around = next((d for d in reversed(part.around) if any(k in d for k in _FRAME_KEYS)), None)
    if around is None:
        return motion
    key = next(k for k in _FRAME_KEYS if k in around)
    try:
        ids = DictArchive(around).read(key)
        frames = np.asarray(ids, np.float64).reshape(-1)
    except (KeyError, TypeError, ValueError, StoredArrayError):
        return motion
    if len(frames) != motion.frames or not np.isfinite(frames).all() or len(frames) < 2:
        return motion
    if (np.diff(frames) <= 0).any():
        raise MotionError(f"{path}: {key}: does not ascend")
    missing = int(frames[-1] - frames[0]) + 1 - len(frames)
    if not missing:
        return motion
    return even_motion(
        (frames - frames[0]) / motion.fps,
        motion.body,
        motion.pelvis,
        motion.expression,
        fps=motion.fps,
        leg_length=motion.leg_length,
        expression_names=motion.expression_names,
        name=motion.name,
        notes=(*motion.notes, f"{missing} frames are missing and are bridged"),
    )
