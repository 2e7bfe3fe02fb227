"""Source: anything that poses come from, live or a file, behind one small interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dinar_live.runtime.core.errors import MotionError


class Sample(NamedTuple):
    """One pose of a source.

    time_s: when it was taken, seconds on the source's own clock. received_s: when it came, time.monotonic()
        (or the clock given).
    sequence: grows by one with each sample of this source.
    body: f32[55,3] axis-angle, SMPL-X order, absolute hands. pelvis: f32[3] metres, world position of the
    source body's pelvis joint (up to a constant). expression: f32[E], named by Skeleton.expression_names.
    """

    time_s: float
    received_s: float
    sequence: int
    body: np.ndarray
    pelvis: np.ndarray
    expression: np.ndarray


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The body that a source's poses were made for: leg_length (thigh + shank, metres) and the names of its
    expressions."""

    leg_length: float
    expression_names: tuple[str, ...] = ()

    def __post_init__(self):
        if not 0.05 <= self.leg_length <= 10:
            raise MotionError(f"Skeleton.leg_length: got {self.leg_length:g}, expected 0.05 to 10 metres")


@dataclass(frozen=True)
class SourceState:
    """What an operator wants to see of a source.

    connected: samples or packets have come within the last second. rate_hz: samples per second of late, 0
        without. frames: samples so far.
    gaps: silences of more than three periods. drops: reason -> how many packets or values were dropped for
        it.
    calibration: "none" (not needed), "waiting" or "done". age_s: of the newest sample, None before the first.
    peer: who sends. hint: what to do next, "" when all is well.
    unknown: names of bones and expressions that came and mean nothing here, the first few.
    """

    name: str
    connected: bool = False
    rate_hz: float = 0.0
    frames: int = 0
    gaps: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    calibration: str = "none"
    age_s: float | None = None
    peer: str = ""
    hint: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def dropped(self) -> int:
        """Packets and values dropped, for whatever reason."""
        return sum(self.drops.values())


class Source(ABC):
    """Where poses come from. Start it (or use it as a context manager), then `read` the newest sample as
    often as you like.

    `read`, `state`, `skeleton` and `calibrate` may be called from any thread.
    """

    @abstractmethod
    def start(self) -> None:
        """Begin to listen. Raises MotionError where that is not possible, saying why."""

    @abstractmethod
    def close(self) -> None:
        """Stop and free everything. May be called twice."""

    @abstractmethod
    def read(self) -> Sample | None:
        """The newest sample, again if there is no newer one; None before the first. Never waits."""

    @property
    @abstractmethod
    def state(self) -> SourceState:
        """How it is going."""

    @property
    @abstractmethod
    def skeleton(self) -> Skeleton | None:
        """The source's body; None before it is known. A new object means: fit anew."""

    def calibrate(self) -> None:  # noqa: B027  (most sources need none)
        """Take the performer's pose in the next frame as the T-pose. Does nothing where no calibration is
        needed."""

    def __enter__(self) -> Source:
        self.start()
        return self

    def __exit__(self, *exc) -> None:
        self.close()
