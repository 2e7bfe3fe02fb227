"""Demand: how often each client asks, and what its frames cost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SECONDS = 2.0  # that rates and costs are taken over; who asked for nothing so long has gone
LATEST = 9  # frames, that say what one costs just now
QUANTILE = 0.9  # of a client's costs: one frame in ten may cost more


class _Sample(NamedTuple):
    at: float
    asked: int
    milliseconds: float
    rung: Hashable | None


class Load(NamedTuple):
    """One client's: requests a second (at most the rate that is promised to each), what a frame costs (ms), and
    in units of the ladder's costs; None where the choice of a quality changes nothing about it. typical: the
    median of what its LATEST frames cost in units. next_at: when its next request is due."""

    client: Hashable
    rate: float
    milliseconds: float
    units: float | None
    typical: float | None
    next_at: float


@dataclass
class _Client:
    owner: object = None
    samples: deque[_Sample] = field(default_factory=deque)


class Demand:
    """What clients asked for within the last SECONDS, of all avatars of a server.

    most: requests a second that count of each client. clock: seconds. For one thread.
    """

    def __init__(self, most: float, *, clock: Callable[[], float] = time.monotonic):
        self.most = most
        self.clock = clock
        self._clients: dict[Hashable, _Client] = {}

    def note(
        self,
        client: Hashable,
        owner: object,
        asked: int,
        at: float,
        milliseconds: float,
        rung: Hashable | None,
    ) -> None:
        """A frame of `client` was rendered. owner: whose choice of a quality it was made by, and rung: that
        choice, None where the client had named a renderer. asked: the requests that the client has made until
        this one, which was begun at `at` (seconds); 0 = not known."""
        entry = self._clients.setdefault(client, _Client())
        if entry.owner is not owner or (entry.samples and asked < entry.samples[-1].asked):
            entry.samples.clear()  # another avatar, or a new beginning
        entry.owner = owner
        entry.samples.append(_Sample(at, asked, milliseconds, rung))
        while entry.samples[0].at < at - SECONDS:
            entry.samples.popleft()

    def loads(self, owner: object, rung: Hashable, costs: Mapping[Any, float]) -> list[Load]:
        """Those of every client that is there. units: of frames made by the choice of `owner`, by what they
        cost with `rung`, the present choice; until there are such, by what they cost with others. costs: of a
        unit, ms, for each."""
        now, found = self.clock(), []
        for client, entry in list(self._clients.items()):
            slowest = max(s.milliseconds for s in entry.samples) / 1e3
            if entry.samples[-1].at < now - SECONDS - slowest:
                del self._clients[client]
                continue
            chosen = [s for s in entry.samples if s.rung is not None] if entry.owner is owner else []
            chosen = [s for s in chosen if s.rung == rung] or chosen
            units = [s.milliseconds / costs[s.rung] for s in chosen]
            if entry.samples[-1].rung is None:
                units = []
            found.append(self._load(client, entry.samples, units))
        return found

    def _load(self, client: Hashable, samples: deque[_Sample], units: list[float]) -> Load:
        first, last = samples[0], samples[-1]
        rate, span = self.most, last.at - first.at
        if span > 0:
            counted = last.asked - first.asked if first.asked else len(samples) - 1
            rate = min(counted / span, self.most)
        milliseconds = high(s.milliseconds for s in samples)
        return Load(
            client,
            rate,
            milliseconds,
            high(units) if units else None,
            high(units[-LATEST:], 0.5) if units else None,
            last.at + 1 / max(rate, 1e-3),
        )


def high(values: Iterable[float], quantile: float = QUANTILE) -> float:
    """The quantile of some values."""
    values = sorted(values)
    return values[round(quantile * (len(values) - 1))]
