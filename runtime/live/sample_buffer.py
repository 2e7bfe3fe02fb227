"""SampleBuffer: the newest sample of a live source, the counts an operator wants, and the rules for late and
repeated packets."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from dinar_live.runtime.core.pose import JOINTS, MAX_ANGLE

from .source import Sample, Skeleton, SourceState

RESET_SECONDS = 0.5  # after so long without anything accepted, any order is taken
CONNECTED_SECONDS = 1.0
_GAP_PERIODS, _GAP_SECONDS = 3.0, 0.05
_RATE_SAMPLES = 90
_MAX_PELVIS = 1e4
_MAX_EXPRESSION = 100.0
MAX_UNKNOWN, _MAX_NAME = 16, 40  # names that are remembered, and bytes of each


class PacketOrder:
    """Tells late and repeated packets by a number that grows: a time or a count.

    window: something older by less than this is late; older by more means that the sender started again.
    """

    def __init__(self, window: float):
        self._window = window
        self._newest: float | None = None
        self._accepted_s = -math.inf

    def check(self, value: float, now: float, repeats: bool = False) -> str:
        """ "" to accept, else "late" or "duplicate". repeats: the same number may come again, as in the parts
        of one frame."""
        if self._newest is not None and now - self._accepted_s < RESET_SECONDS:
            behind = self._newest - value
            if behind == 0 and not repeats:
                return "duplicate"
            if 0 < behind < self._window:
                return "late"
        self._newest = value
        self._accepted_s = now
        return ""

    def reset(self) -> None:
        """Accept whatever comes next."""
        self._newest = None


class SampleBuffer:
    """Where a source puts its samples and everyone reads the newest. Thread-safe.

    clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self._lock = threading.Lock()
        self._newest: Sample | None = None
        self._skeleton: Skeleton | None = None
        self._frames = self._gaps = 0
        self._drops: Counter[str] = Counter()
        self._unknown: dict[bytes, str] = {}
        self._times: deque[float] = deque(maxlen=_RATE_SAMPLES)
        self._heard_s = -math.inf

    @property
    def newest(self) -> Sample | None:
        return self._newest

    @property
    def skeleton(self) -> Skeleton | None:
        return self._skeleton

    def set_skeleton(self, skeleton: Skeleton | None) -> None:
        """Another body: what came before does not fit it, so the newest sample goes."""
        with self._lock:
            self._skeleton = skeleton
            self._newest = None

    def heard(self, now: float) -> None:
        """A packet came, whatever was in it."""
        self._heard_s = now

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what is not used."""
        if count:
            with self._lock:
                self._drops[reason] += count

    def unknown(self, reason: str, name: bytes) -> None:
        """Count a value whose name means nothing here; reason "" = remember the name only."""
        if reason:
            self.drop(reason)
        if name not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            text = name[:_MAX_NAME].decode("utf-8", "replace")
            self._unknown[name] = "".join(c if c.isprintable() else "?" for c in text)

    def put(self, body, pelvis, expression, *, time_s: float, now: float) -> bool:
        """Take a sample; False (and one drop "values") if a number is not finite or out of range.

        body: [55,3], pelvis: [3], expression: [E]; kept as float32 and read-only.
        """
        body, pelvis, expression = (np.array(a, np.float32) for a in (body, pelvis, expression))
        if body.shape != (JOINTS, 3) or not (
            _within(body, MAX_ANGLE) and _within(pelvis, _MAX_PELVIS) and _within(expression, _MAX_EXPRESSION)
        ):
            self.drop("values")
            return False
        for a in (body, pelvis, expression):
            a.flags.writeable = False
        with self._lock:
            if self._times:
                silence, period = now - self._times[-1], self._period()
                self._gaps += silence > max(_GAP_PERIODS * period, _GAP_SECONDS)
                if silence > CONNECTED_SECONDS:
                    self._times.clear()
            self._times.append(now)
            self._frames += 1
            self._newest = Sample(time_s, now, self._frames, body, pelvis, expression)
        self._heard_s = now
        return True

    def replace_expression(self, expression) -> None:
        """The face of the newest sample came after its body: no new sample."""
        expression = np.array(expression, np.float32)
        expression.flags.writeable = False
        with self._lock:
            if self._newest is not None and self._newest.expression.shape == expression.shape:
                self._newest = self._newest._replace(expression=expression)

    def state(self, name: str, *, calibration: str = "none", peer: str = "", hint: str = "") -> SourceState:
        """The state for `Source.state`."""
        now = self.clock()
        with self._lock:
            age = None if self._newest is None else max(now - self._newest.received_s, 0.0)
            fresh = bool(self._times) and now - self._times[-1] < CONNECTED_SECONDS
            period = self._period()
            return SourceState(
                name,
                now - self._heard_s < CONNECTED_SECONDS,
                1 / period if fresh and period else 0.0,
                self._frames,
                self._gaps,
                dict(self._drops),
                calibration,
                age,
                peer,
                hint,
                tuple(self._unknown.values()),
            )

    def _period(self) -> float:
        times = self._times
        return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0


def _within(a: np.ndarray, limit: float) -> bool:
    # NaN fails both comparisons
    return not a.size or bool(a.max() <= limit and a.min() >= -limit)
