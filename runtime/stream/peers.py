"""What a server remembers of each client."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from dinar_live.runtime.stream.protocol.wire import TYPE_OFFSET, MessageType

from .rendering import PendingRequest


class TokenBucket:
    """Allows `rate` things a second, and `most` of them, by default a second's worth, at once after a pause.
    clock: seconds, time.monotonic by default."""

    __slots__ = ("_at", "_clock", "_left", "_most", "_rate")

    def __init__(self, rate: float, most: float | None = None, *, clock: Callable[[], float] | None = None):
        self._clock = clock
        self._rate = rate
        self._most = max(rate if most is None else most, 1.0)
        self._at = self._now()
        self._left = self._most

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = self._now()
        self._left = min(self._left + (now - self._at) * self._rate, self._most)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def charge(self, count: float) -> None:
        """So many more were taken than was known before; what is missing must come in first."""
        self._left -= count

    def _now(self) -> float:
        return time.monotonic() if self._clock is None else self._clock()


class Peer:
    """A client in the I/O thread's table. While it does not read, its answers wait in `backlog`; while
    frames are among them, its newest request waits in `held`, since nobody would look at another frame.
    number: unlike any other client's. line, key: its connection, and its public key where the server asks for
        one; who has others is somebody else, even under the same routing id.
    owed: how many of its requests have no answer yet; while some have none it waits for us and is not idle."""

    __slots__ = (
        "backlog",
        "backlog_frames",
        "held",
        "key",
        "last_id",
        "last_seen",
        "line",
        "number",
        "owed",
        "stalled_since",
    )

    def __init__(self, number: int, line: int | None, key: str | None = None):
        self.number, self.line, self.key = number, line, key
        self.last_seen, self.last_id = time.monotonic(), 0
        self.backlog: deque[bytearray] = deque()
        self.stalled_since, self.backlog_frames, self.owed = 0.0, 0, 0
        self.held: PendingRequest | None = None

    def keep(self, message: bytearray) -> None:
        """Puts an answer aside until the client reads again."""
        if not self.backlog:
            self.stalled_since = time.monotonic()
        self.backlog.append(message)
        self.backlog_frames += message[TYPE_OFFSET] == MessageType.FRAME

    def sent_first(self) -> None:
        """The oldest answer put aside has left."""
        self.backlog_frames -= self.backlog.popleft()[TYPE_OFFSET] == MessageType.FRAME
        self.stalled_since = time.monotonic()
