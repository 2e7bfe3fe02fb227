"""MemoryBudget: how much memory the compiled sizes of all renderers may take together, and what goes when
there is not enough."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass

DEFAULT_MEMORY = 1 << 30  # bytes
REST_SECONDS = (
    2.0  # without use, after which a window may go for another: two that take turns would never end
)


@dataclass
class _Holding:
    """drop: frees it; None = it never goes. heavy: a whole renderer, which only another renderer may take the
    place of."""

    size: int
    drop: Callable[[], None] | None
    heavy: bool
    used_at: float


class MemoryBudget:
    """Who holds how many of at most `limit` bytes, by estimates of theirs; what was used longest ago goes
    first. For any thread; `drop` of a holding is called by the thread that takes its place."""

    def __init__(self, limit: int = DEFAULT_MEMORY, *, clock: Callable[[], float] = time.monotonic):
        self.limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._holdings: OrderedDict[Hashable, _Holding] = OrderedDict()

    @property
    def used(self) -> int:
        """Bytes that are held now."""
        with self._lock:
            return self._used()

    def _used(self) -> int:
        return sum(holding.size for holding in self._holdings.values())

    def charge(self, owner: Hashable, size: int) -> None:
        """Notes what is held in any case and never goes, or how large it turned out to be. Windows go for
        it."""
        with self._lock:
            holding = self._holdings.get(owner)
            if holding is None:
                self._holdings[owner] = _Holding(size, None, True, self._clock())
            else:
                holding.size = size
            windows = [other for other, held in self._holdings.items() if not held.heavy]
            dropped = []
            while windows and self._used() > self.limit:
                dropped.append(self._holdings.pop(windows.pop(0)))
        for holding in dropped:
            if holding.drop is not None:
                holding.drop()

    def room(self, size: int) -> bool:
        """Whether a window of `size` bytes could be had now."""
        with self._lock:
            return self._victims(size, heavy=False, spare=()) is not None

    def take(
        self,
        owner: Hashable,
        size: int,
        drop: Callable[[], None],
        *,
        heavy: bool = False,
        spare: Collection[Hashable] = (),
    ) -> bool:
        """Holds `size` bytes, in the place of others if need be; False if that is impossible, in which case
        nothing is changed. heavy: it is a renderer, for which renderers may go as well, but those in
        `spare`."""
        with self._lock:
            victims = self._victims(size, heavy, spare)
            if victims is None:
                return False
            dropped = [self._holdings.pop(victim) for victim in victims]
            self._holdings[owner] = _Holding(size, drop, heavy, self._clock())
        for holding in dropped:  # without the lock, for they have locks of their own
            if holding.drop is not None:
                holding.drop()
        return True

    def _victims(self, size: int, heavy: bool, spare: Collection[Hashable]) -> list[Hashable] | None:
        missing = self._used() + size - self.limit
        now, victims = self._clock(), []
        for renderers in (False, True) if heavy else (False,):
            for owner, holding in self._holdings.items():
                if missing <= 0:
                    return victims
                rests = heavy or now - holding.used_at > REST_SECONDS
                if holding.drop and holding.heavy == renderers and rests and owner not in spare:
                    victims.append(owner)
                    missing -= holding.size
        return victims if missing <= 0 else None

    def touch(self, owner: Hashable) -> None:
        """It was used."""
        with self._lock:
            if (holding := self._holdings.get(owner)) is not None:
                holding.used_at = self._clock()
                self._holdings.move_to_end(owner)

    def holds(self, owner: Hashable) -> bool:
        """Whether nobody has taken its place."""
        with self._lock:
            return owner in self._holdings

    def give_back(self, owner: Hashable) -> None:
        """It holds nothing any more."""
        with self._lock:
            self._holdings.pop(owner, None)
