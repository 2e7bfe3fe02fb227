"""What a server remembers of each client."""

from __future__ import annotations

import time
from collections import deque

from dinar_live.runtime.stream.protocol.wire import TYPE_OFFSET, MessageType

from .rendering import PendingRequest


class TokenBucket:
    """Allows `rate` things a second, and a second's worth of them at once after a pause."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float):
        self._rate, self._left, self._at = rate, max(rate, 1.0), time.monotonic()

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * self._rate, max(self._rate, 1.0))
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Peer:
    """A client in the I/O thread's table. While it does not read, its answers wait in `backlog`; while
    frames are among them, its newest request waits in `held`, since nobody would look at another frame.
    number: unlike any other client's. key: its public key, where the server asks for one."""

    __slots__ = (
        "backlog",
        "backlog_frames",
        "bucket",
        "held",
        "key",
        "last_id",
        "last_seen",
        "number",
        "stalled_since",
    )

    def __init__(self, number: int, max_rate: float, key: str | None = None):
        self.number, self.key, self.bucket = number, key, TokenBucket(max_rate)
        self.last_seen, self.last_id = time.monotonic(), 0
        self.backlog: deque[bytearray] = deque()
        self.stalled_since, self.backlog_frames = 0.0, 0
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
