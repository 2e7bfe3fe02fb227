"""What a server remembers of its clients."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from dinar_live.runtime.stream.auth.keys import KeyFolder
from dinar_live.runtime.stream.protocol.wire import TYPE_OFFSET, MessageType

from .mailbox import Mailbox
from .rendering import PendingRequest

NOBODY = b""  # whom the overview for spectators is rendered for; libzmq gives no client this name


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
    owed: how many of its requests have no answer yet; while some have none it waits for us and is not idle.
    asked: how many were let in."""

    __slots__ = (
        "asked",
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
        self.stalled_since, self.backlog_frames, self.owed, self.asked = 0.0, 0, 0, 0
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


class PeerTable(dict[bytes, Peer]):
    """The clients of a server by routing id. Belongs to the I/O thread; others may only count.

    mailbox: where their requests wait, which go when the client does.
    stalled: those whose answers wait because they do not read. dropped: how many were shown the door.
    """

    def __init__(self, mailbox: Mailbox[PendingRequest]):
        super().__init__()
        self._mailbox = mailbox
        self.stalled: set[bytes] = set()
        self.dropped = 0

    def forget(self, client: bytes) -> None:
        """Knows this client, if it is one, no more, nor what it asked for."""
        self.pop(client, None)
        self.stalled.discard(client)
        self._mailbox.drop(client)

    def drop(self, client: bytes) -> None:
        """Forgets a client that misbehaves, and counts it if it was one."""
        self.dropped += client in self
        self.forget(client)

    def idle_since(self, then: float) -> list[bytes]:
        """Who has said nothing since `then` (time.monotonic) and waits for nothing."""
        return [client for client, peer in self.items() if not peer.owed and peer.last_seen < then]

    def revoked(self, keys: KeyFolder) -> list[bytes]:
        """Whose key is no longer in `keys`."""
        return [c for c, p in self.items() if p.key is not None and keys.name_of(p.key) is None]
