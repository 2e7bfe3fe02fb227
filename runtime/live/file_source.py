"""FileSource: a motion file as if somebody performed it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from dinar_live.runtime.motion.files import load_motion
from dinar_live.runtime.motion.motion import Motion

from .source import Sample, Skeleton, Source, SourceState
from .source_form import OpenOptions, SourceForm, WrongForm


class FileSource(Source):
    """A Motion played in real time, as if somebody performed it. clock: seconds; for tests."""

    def __init__(self, motion: Motion, *, loop: bool = True, clock: Callable[[], float] = time.monotonic):
        self._motion = motion
        self._loop = loop
        self._clock = clock
        self._skeleton = Skeleton(motion.leg_length, motion.expression_names or ())
        self._began: float | None = None

    def start(self) -> None:
        self._began = self._clock()

    def close(self) -> None:
        self._began = None

    def read(self) -> Sample | None:
        if self._began is None:
            return None
        now = self._clock()
        t = now - self._began
        body, pelvis, expression = self._motion.sample(t, self._loop)
        if self._motion.expression_names is None:
            expression = expression[:0]
        return Sample(t, now, int(t * self._motion.fps), body, pelvis, expression)

    @property
    def state(self) -> SourceState:
        name = f"file {self._motion.name}".strip()
        if self._began is None:
            return SourceState(name)
        fps = self._motion.fps
        return SourceState(name, True, fps, int((self._clock() - self._began) * fps) + 1, age_s=0.0)

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton


def _open(path: str, options: OpenOptions) -> FileSource:
    if not path:
        raise WrongForm
    return FileSource(load_motion(Path(path)))


FORM = SourceForm("file", "file:PATH", _open)
