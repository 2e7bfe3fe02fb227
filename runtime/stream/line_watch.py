"""LineWatch: ends connections of a publisher that say more than subscribers have to say.

A PUB or XPUB takes in all that its peers say before it does anything else, so a flood would hold up its owner
for as long as it lasts, and a limit for what waits lets libzmq abort (docs/security.md). So nothing limits the
queue, and another thread counts the bytes that the kernel received for each connection.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading

import zmq
from zmq.utils.monitor import parse_monitor_message

from .floods import hang_up, identity_of
from .peers import TokenBucket

log = logging.getLogger(__name__)

SAID_AT_ONCE = 4096  # bytes of one connection: a handshake with keys is 1 kB, a subscription 3 bytes
SAID_PER_SECOND = 256  # bytes; a heartbeat is 20, with keys 60
_TCP_INFO_BYTES = 256
_BYTES_RECEIVED = 128  # where struct tcp_info of Linux (4.1 or newer) has tcpi_bytes_received, u64
_LOOK_MS = 1000


def received_bytes(line: int) -> int | None:
    """How many bytes the kernel has received for a TCP connection; None where it does not say, or for what is
    none."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        connection = socket.socket(fileno=line)
    except OSError:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]
    except (OSError, struct.error):
        return None
    finally:
        connection.detach()


def came_in_at(identity: tuple, port: str) -> bool:
    """Whether an `identity_of` is one of a connection to this TCP port of ours."""
    return len(identity[1]) > 1 and str(identity[1][1]) == port


def can_watch() -> bool:
    """Whether this system counts received bytes (Linux does)."""
    if not hasattr(select, "epoll"):
        return False
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as near:
            return received_bytes(near.fileno()) is not None


class _Line:
    """A connection: identity tells it from a later one with the same file descriptor."""

    __slots__ = ("allowed", "identity", "seen")

    def __init__(self, identity: tuple):
        self.identity, self.seen = identity, 0
        self.allowed = TokenBucket(SAID_PER_SECOND, SAID_AT_ONCE)


class LineWatch:
    """Watches the connections of a PUB or XPUB socket, made before it is bound and closed before it, by the
    thread that owns it. Only where `can_watch()`.

    cut: how many connections were ended.
    """

    def __init__(self, publisher: zmq.Socket):
        self.cut = 0
        self._publisher = publisher
        self._lines: dict[int, _Line] = {}
        name = f"inproc://lines-{id(self)}"
        publisher.monitor(name, zmq.EVENT_ACCEPTED)
        self._accepted = publisher.context.socket(zmq.PAIR)
        self._accepted.rcvhwm = 0  # libzmq waits for whoever reads what it tells
        self._accepted.linger = 0
        self._accepted.connect(name)
        self._wake, self._woken = socket.socketpair()
        self._epoll = select.epoll()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dinar-lines", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poller = zmq.Poller()
        for readable in (self._accepted, self._epoll.fileno(), self._woken.fileno()):
            poller.register(readable, zmq.POLLIN)
        try:
            while not self._stopping:
                events = poller.poll(_LOOK_MS)
                self._take_up()
                for line, _ in self._epoll.poll(0):
                    self._look(line)
                if not events:  # nothing happens: time to forget who has gone
                    for line in list(self._lines):
                        self._look(line)
        except Exception:  # a mistake of ours; the port would be without a guard
            log.exception("nobody counts what spectators say any more")
        finally:
            self._accepted.close(0)

    def _take_up(self) -> None:
        """Watches the connections that are new."""
        while True:
            try:
                event = parse_monitor_message(self._accepted.recv_multipart(zmq.NOBLOCK))
            except zmq.ZMQError:
                return
            line, port = event["value"], event["endpoint"].rpartition(b":")[2]
            identity = identity_of(line)
            if identity is None or not came_in_at(identity, port.decode()):
                continue  # it has gone already, and another one may have its file descriptor
            self._lines[line] = _Line(identity)
            # One event whenever something arrives. Those who watch say nothing, so this costs nothing.
            with contextlib.suppress(FileExistsError, OSError):
                self._epoll.register(line, select.EPOLLIN | select.EPOLLET)
            self._look(line)

    def _look(self, line: int) -> None:
        known = self._lines.get(line)
        if known is None:
            return
        if identity_of(line) != known.identity:
            del self._lines[line]
            return
        said = received_bytes(line) or 0
        known.allowed.charge(said - known.seen)
        known.seen = said
        if not known.allowed.take():
            log.info("a spectator's connection ended: it says too much")
            self.cut += 1
            hang_up(line, known.identity)
            del self._lines[line]

    def close(self) -> None:
        """Stops watching."""
        self._publisher.disable_monitor()
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        self._thread.join()
        self._epoll.close()
        self._wake.close()
        self._woken.close()
