"""UdpSource: a live source that listens on a UDP port, on a thread of its own."""

from __future__ import annotations

import errno
import socket
import time
from abc import abstractmethod
from collections.abc import Callable

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.stream.peers import TokenBucket

from .threaded_source import ThreadedSource

_BUFFER = (
    1 << 20
)  # bytes that the system keeps for us; un-bundled senders write a hundred datagrams per frame
_WAIT_SECONDS = 0.05
_PEER_SECONDS = 2.0  # a sender that was silent for so long may be replaced by another
# What a sender may cost, in messages a second. 90 Hz of 55 bones and 62 expressions, each a message of its
# own, are 11,000, and a frame costs as much again as FRAME_COST messages. SlimeVR's server sends 60 messages 250 times
# a second: 40,000.
RATE, BURST, FRAME_COST = 50_000.0, 15_000.0, 100


class UdpSource(ThreadedSource[socket.socket]):
    """Listens on host:port (port 0 picks a free one; `port` tells). Only the first sender is heard until it
    is silent for 2 s.

    host: of this machine; 127.0.0.1 hears only programs of this machine, 0.0.0.0 everyone. clock: seconds,
        monotonic.
    """

    def __init__(self, host: str, port: int, *, clock: Callable[[], float] = time.monotonic):
        if not 0 <= port <= 65535:
            raise MotionError(f"port: got {port}, expected 0..65535")
        super().__init__(clock)
        self.host = host
        self.port = port
        self._peer = ""
        self._peer_s = -float("inf")
        self._budget = TokenBucket(RATE, BURST, clock=clock)

    @abstractmethod
    def _datagram(self, data: bytes, now: float, port: int) -> tuple[int, bool]:
        """Use one datagram of the sender; returns its cost in messages and whether it was of this protocol at
        all. port: that it was sent from, 0 where that is not known."""

    def _quiet(self, now: float) -> None:
        """Nothing came for a moment."""

    def _new_peer(self) -> None:
        """Another sender, or the same after a pause."""

    def feed(self, data: bytes, peer: str = "", port: int = 0) -> None:
        """Use one datagram as if it had come from the network, from `port` of the address `peer`. For recordings
        and tests; not while the source is started."""
        now = self.samples.clock()
        self.samples.heard(now)
        if peer != self._peer or now - self._peer_s > _PEER_SECONDS:
            if now - self._peer_s <= _PEER_SECONDS:
                self.samples.drop("another sender")
                return
            self._peer = peer
            self._new_peer()
        if not self._budget.take():
            self.samples.drop("flood")
            return
        cost, ours = self._datagram(data, now, port)
        self._budget.charge(max(cost, 1) - 1)
        if ours:  # what sends something else does not keep the performer out
            self._peer_s = now

    def _open(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((self.host, self.port))
        except OSError as e:
            sock.close()
            reason = "another program listens there" if e.errno == errno.EADDRINUSE else e.strerror
            raise MotionError(
                f"cannot listen on UDP {self.host}:{self.port}: {reason}. Close the other program, or choose another "
                "port and set it in the sending app too"
            ) from None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.settimeout(_WAIT_SECONDS)
        self.port = sock.getsockname()[1]
        self.thread_name = f"dinar-udp-{self.port}"
        return sock

    @property
    def peer(self) -> str:
        """Who sends."""
        return self._peer

    def _listen(self, connection: socket.socket) -> None:
        with connection:
            while not self._stop.is_set():
                try:
                    data, address = connection.recvfrom(65536)
                except TimeoutError:
                    self._quiet(self.samples.clock())
                    continue
                except ConnectionError:  # Windows tells so of a port that somebody closed
                    continue
                self.feed(data, address[0], address[1])
