"""One slot per client, served in turn: the hand-over from the I/O thread to the render thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

_LOOK_SECONDS = 0.01

T = TypeVar("T")


class Mailbox(Generic[T]):
    """The newest item of every client waits here; clients take turns in the order in which their slots were
    filled."""

    def __init__(self):
        self._slots: OrderedDict[bytes, T] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, client: bytes, item: T) -> T | None:
        """Fills the client's slot; returns the older item this replaces, if any (it inherits its turn), or
        `item` itself once closed."""
        with self._changed:
            if self._closed:
                return item
            old = self._slots.get(client)
            self._slots[client] = item
            if old is None:
                self._changed.notify()
            return old

    def take(self, ready: Callable[[T], bool] = lambda item: True) -> tuple[bytes, T] | None:
        """Waits for an item that is `ready`, which passes by those that are not yet; None once closed."""
        with self._changed:
            while not self._closed:
                for client, item in self._slots.items():
                    if ready(item):
                        del self._slots[client]
                        return client, item
                self._changed.wait(_LOOK_SECONDS if self._slots else None)
            return None

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        with self._changed:
            return not self._slots

    def drop(self, client: bytes) -> T | None:
        """Empties the client's slot; returns what was in it."""
        with self._changed:
            return self._slots.pop(client, None)

    def close(self) -> list[tuple[bytes, T]]:
        """Ends `take`; returns what nobody took."""
        with self._changed:
            self._closed = True
            rest, self._slots = list(self._slots.items()), OrderedDict()
            self._changed.notify_all()
            return rest
