"""FirstPerformer: several sources for one avatar, of which the first that performs is followed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from dinar_live.runtime.core.errors import MotionError

from .source import Sample, Skeleton, Source, SourceState

SILENCE_SECONDS = 1.0


class FirstPerformer(Source):
    """Follows the first of `sources` that sends samples, until it has been silent for a second while another one
    sends; among several that begin together the first in the list is taken.

    clock: seconds; the one that the samples are stamped with. Raises MotionError without sources.
    """

    def __init__(self, sources: Sequence[Source], *, clock: Callable[[], float] = time.monotonic):
        if not sources:
            raise MotionError("sources: got none, expected at least one")
        self.sources = tuple(sources)
        self._clock = clock
        self._lock = threading.Lock()
        self._current = self.sources[0]
        self._sequence = 0
        self._last: tuple[Sample, Sample] | None = None  # as read, and as handed out

    def start(self) -> None:
        with contextlib.ExitStack() as stack:
            for source in self.sources:
                source.start()
                stack.callback(source.close)
            stack.pop_all()

    def close(self) -> None:
        for source in self.sources:
            source.close()

    @property
    def current(self) -> Source:
        """The source that is followed."""
        with self._lock:
            if not self._performs(self._current):
                self._current = next((s for s in self.sources if self._performs(s)), self._current)
            return self._current

    def _performs(self, source: Source) -> bool:
        sample = source.read()
        return sample is not None and self._clock() - sample.received_s < SILENCE_SECONDS

    def read(self) -> Sample | None:
        sample = self.current.read()
        if sample is None:
            return None
        with self._lock:
            if self._last is None or self._last[0] is not sample:
                if self._last is None or self._last[0].sequence != sample.sequence:
                    self._sequence += 1  # the same number is only another face
                self._last = sample, sample._replace(sequence=self._sequence)
            return self._last[1]

    @property
    def skeleton(self) -> Skeleton | None:
        return self.current.skeleton

    @property
    def state(self) -> SourceState:
        return self.current.state

    def calibrate(self) -> None:
        self.current.calibrate()
