"""Compiled instances of one network, one per batch and window size, made in the background so that no frame
waits for a compiler."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from dinar_live import engines

from .memory import MemoryBudget

MAX_SESSIONS = 16  # a 512x512 instance of a light network holds about 100 MB on a CPU

LATER, NOW, NEVER = "later", "now", "never"

EXIT_SECONDS = 20.0
"""At the end of a program it waits so long for what is being compiled: a compiler that is cut off ends the process with
an error."""

Key = tuple[int, int, int]
"""(N, height, width)"""
S = TypeVar("S", engines.HostSession, engines.DeviceSession)
_log = logging.getLogger(__name__)
_compiling: weakref.WeakSet[CompiledSizes] = weakref.WeakSet()


def _end_compiling() -> None:
    for sizes in list(_compiling):
        sizes.finish()


class CompiledSizes(Generic[S]):
    """`get(n, height, width)` returns a session at least that large, at once: the exact one when it is ready,
    else the smallest ready one that holds it (`require` compiles one up front, which stays) while the exact
    one is compiled on a thread of its own. For a batch that has no instance yet, the one returned is for a
    single view.

    compile: makes an instance; called on that thread too, where an error is logged and that size is not tried
    again. evict: forget the least recently used of more than MAX_SESSIONS; otherwise no more are made. budget:
        what they may hold together with others; where there is no room, larger ones go on serving. Instances
        that are required are for their owner to account for (`fixed`). dropped: called with an instance that others
        took the place of. Raises what compile raises.
    """

    def __init__(
        self,
        compile: Callable[[Key], S],
        *,
        evict: bool = True,
        budget: MemoryBudget | None = None,
        dropped: Callable[[S], None] = lambda session: None,
    ):
        self._compile = compile
        self._budget = budget
        self._dropped = dropped
        self._per_pixel = 0.0  # bytes, of the first instance
        self._evict = evict
        self._ready: OrderedDict[Key, S] = OrderedDict()
        self._required: set[Key] = set()
        self._lock = threading.Lock()
        self._wanted: Key | None = None
        self._failed: set[Key] = set()
        self._wake = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closed = False

    def require(self, key: Key) -> S:
        """The instance for exactly `key`, which `get` may fall back on from now on; compiles it now."""
        with self._lock:
            self._required.add(key)
        if key not in self._ready:
            self._add(key)
        session = self._ready[key]
        if not self._per_pixel:
            self._per_pixel = memory_of(session) / (key[0] * key[1] * key[2])
        return session

    @property
    def fixed(self) -> int:
        """Bytes of the instances that are required, by estimate."""
        with self._lock:
            return sum(memory_of(self._ready[key]) for key in self._required if key in self._ready)

    def _need(self, key: Key) -> int:
        return int(self._per_pixel * key[0] * key[1] * key[2])

    def _affords(self, key: Key) -> bool:
        return self._budget is None or key in self._required or self._budget.room(self._need(key))

    def get(self, n: int, height: int, width: int, missing: str = LATER) -> tuple[Key, S]:
        """(key, session) of a ready instance that holds the asked-for size, of n views or of one. missing:
        what to do if the exact one is not there: compile it LATER, NOW (and wait) or NEVER."""
        key = (n, height, width)
        with self._lock:
            session = self._ready.get(key)
            if session is not None:
                self._ready.move_to_end(key)
                if self._budget is not None:
                    self._budget.touch((self, key))
                return key, session
            room = (self._evict or len(self._ready) < MAX_SESSIONS) and self._affords(key)
            if missing != NOW or not room:
                if missing == LATER and room and key not in self._failed:
                    self._order(key)
                fits = [k for k in self._ready if k[0] == n and k[1] >= height and k[2] >= width]
                fits = fits or [k for k in self._ready if k[0] == 1 and k[1] >= height and k[2] >= width]
                best = min(fits, key=lambda k: k[1] * k[2])
                return best, self._ready[best]
        self._add(key)
        with self._lock:
            if key in self._ready:
                return key, self._ready[key]
        return self.get(n, height, width, NEVER)

    def _order(self, key: Key) -> None:
        self._wanted = key
        if self._thread is None:
            if not _compiling:
                atexit.register(_end_compiling)
            _compiling.add(self)
            self._thread = threading.Thread(target=self._work, name="dinar-compile", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _add(self, key: Key) -> None:
        """Compiles an instance, unless there is no room for it."""
        budget = None if key in self._required else self._budget
        owner = (self, key)
        if budget is not None and not budget.take(owner, self._need(key), lambda: self._drop(key)):
            return
        try:
            session = self._compile(key)
        except BaseException:
            if budget is not None:
                budget.give_back(owner)
            raise
        gone: list[S] = []
        with self._lock:
            if self._closed or budget is not None and not budget.holds(owner):
                if budget is not None:
                    budget.give_back(owner)
                return  # nobody needs it any more, or another one has taken its place meanwhile
            self._ready[key] = session
            while self._evict and len(self._ready) > MAX_SESSIONS:
                oldest = next(k for k in self._ready if k not in self._required)
                gone.append(self._ready.pop(oldest))
                if self._budget is not None:
                    self._budget.give_back((self, oldest))
        for old in gone:
            self._dropped(old)

    def _drop(self, key: Key) -> None:
        """Another one takes its place."""
        with self._lock:
            session = None if key in self._required else self._ready.pop(key, None)
        if session is not None:
            self._dropped(session)

    def _work(self) -> None:
        while True:
            with self._lock:
                while self._wanted is None and not self._closed:
                    self._wake.wait()
                key = self._wanted
                self._wanted = None
                if self._closed or key is None:
                    return
                if key in self._ready:
                    continue
            try:
                self._add(key)
            except Exception as e:  # such as no memory left: frames do well with what is there
                _log.warning(
                    "compiling the network for (N, H, W) = %s failed, larger instances are used instead: %s",
                    key,
                    e,
                )
                with self._lock:
                    self._failed.add(key)

    def close(self, wait: bool = True) -> list[S]:
        """Stop compiling and forget every instance; returns them. wait: for what is being compiled, which
        nothing can interrupt; else it is forgotten when it is done."""
        with self._lock:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and wait:
            self._thread.join()
        with self._lock:
            sessions = list(self._ready.values())
            if self._budget is not None:
                for key in self._ready:
                    self._budget.give_back((self, key))
            self._ready.clear()
        return sessions

    def finish(self) -> None:
        """Compile nothing more, and wait for what is being compiled, but not for ever."""
        self.close(wait=False)
        if self._thread is not None:
            self._thread.join(EXIT_SECONDS)


def memory_of(session: engines.HostSession | engines.DeviceSession) -> int:
    """Bytes that an instance holds, by its engine's estimate; 0 = it gives none."""
    return getattr(session, "memory", 0)
