"""Who says too much: what each connection may say, and hanging up on those who go on.

A ROUTER of libzmq 4.3.5 must never leave a connection unread: once a queue is full and the peer resets the
connection, libzmq aborts the process at its next heartbeat, or at a PING that came before the reset
(docs/security.md). So the queue has no limit, the server reads everything, and what keeps memory small is
that whoever sends much more than allowed loses the connection, and that nobody new gets in while there is
something left to read.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import struct
import time
from collections import OrderedDict

import zmq

from .peers import TokenBucket

STRANGER_RATE = 20.0  # messages a second of a connection that has not said HELLO: a client says one or two
STRANGERS_RATE = 200.0  # and of all of them together,
GREETINGS = (
    4  # these first ones of a connection not counted, so that a flood of strangers does not drown out a HELLO
)
_MIN_REFUSALS = 50.0  # a second, however low the rate is: in words first
_MAX_CONNECTIONS = 4096  # remembered; those that said nothing for longest are forgotten first
_RETRY_SECONDS = 0.5
_GONE_SECONDS = (
    5.0  # without a message, after which the rest of what an ended connection had sent has been read
)
_BEHIND_SECONDS = 0.25  # of not having read everything, after which who says most loses the connection
_RELIEF_SECONDS = 0.1  # between two such
_OVERHEAD = 1024  # bytes that a message costs besides its own


class Verdict(enum.Enum):
    """What is to be done with a message."""

    READ = enum.auto()
    REFUSE = enum.auto()  # and say why
    IGNORE = enum.auto()
    CUT = enum.auto()  # its connection was just ended


class _Allowance:
    """So many messages are read, some more are refused in words, then it is enough."""

    __slots__ = ("_reads", "_refusals")

    def __init__(self, rate: float, at_once: float):
        self._reads, self._refusals = TokenBucket(rate, at_once), TokenBucket(max(rate, _MIN_REFUSALS))

    def verdict(self) -> Verdict:
        if self._reads.take():
            return Verdict.READ
        return Verdict.REFUSE if self._refusals.take() else Verdict.CUT


class _Connection:
    """identity: tells the connection from a later one that got the same file descriptor. said: bytes,
    lately."""

    __slots__ = ("as_client", "as_stranger", "cut_at", "greetings", "heard_at", "identity", "line", "said")

    def __init__(self, line: int | None, max_rate: float):
        self.line, self.identity, self.said, self.heard_at = line, identity_of(line), 0, 0.0
        # Both are kept, so that nobody gains by saying HELLO and BYE in turn.
        self.as_client, self.as_stranger = (
            _Allowance(max_rate, max_rate),
            _Allowance(min(STRANGER_RATE, max_rate), max_rate),
        )
        self.greetings, self.cut_at = GREETINGS, None

    def cut(self, now: float) -> None:
        """Ends it. What it sent before still comes, and would come for ever if it could not be ended."""
        self.cut_at = now
        hang_up(self.line, self.identity)


class FloodGate:
    """Judges every message before it is looked at. max_rate: messages a second of a client that said HELLO.

    Whoever says more than twice as much is cut off; strangers have less, and all of them together not much
    more than one. While the server cannot keep up even so, who says most is cut off.
    """

    def __init__(self, max_rate: float):
        self._max_rate, self._strangers = max_rate, TokenBucket(STRANGERS_RATE, max(STRANGERS_RATE, max_rate))
        self._connections: OrderedDict[bytes, _Connection] = OrderedDict()
        self._rest = 0  # of what ended connections had said, bytes read lately
        self._relief_at: float | None = None  # set while there is more to read than was read

    def judge(self, client: bytes, known: bool, line: int | None, size: int) -> Verdict:
        """What to do with a message of `size` bytes that came over `line` (see `line_of`) from `client`,
        `known` if it has said HELLO."""
        now = time.monotonic()
        connection = self._connections.get(client)
        if (
            connection is None
            or connection.line != line
            or connection.cut_at is not None
            and now - connection.heard_at > _GONE_SECONDS
        ):
            connection = self._connections[client] = _Connection(line, self._max_rate)
            if len(self._connections) > _MAX_CONNECTIONS:
                self._connections.popitem(last=False)
        self._connections.move_to_end(client)
        connection.heard_at = now
        if connection.cut_at is not None:
            if now - connection.cut_at > _RETRY_SECONDS:
                connection.cut(now)
            self._rest += size + _OVERHEAD
            return Verdict.IGNORE
        connection.said += size + _OVERHEAD
        verdict = (connection.as_client if known else connection.as_stranger).verdict()
        if verdict is Verdict.CUT and line is not None:
            connection.cut(now)
        elif verdict is Verdict.CUT:
            return Verdict.IGNORE
        elif not known and connection.greetings:
            connection.greetings -= 1
        elif not known and not self._strangers.take():
            return Verdict.IGNORE
        return verdict

    def keep_up(self, emptied: bool) -> bytes | None:
        """To be told now and then whether everything was read; whose connection was ended because for a while
        it was not, if any."""
        now = time.monotonic()
        if emptied:
            self._relief_at = None
        elif self._relief_at is None:
            self._relief_at = now + _BEHIND_SECONDS
            self._forget_the_past()
        elif now > self._relief_at:
            self._relief_at = now + _RELIEF_SECONDS
            return self._relieve(now)
        return None

    def _relieve(self, now: float) -> bytes | None:
        """Ends the connection that said most lately, unless what is left of those that have ended is more."""
        can = [client for client, connection in self._connections.items() if connection.line is not None]
        most = max(can, key=lambda client: self._connections[client].said, default=None)
        if most is not None and self._connections[most].said > self._rest:
            self._connections[most].cut(now)
        else:
            most = None
        self._forget_the_past()
        return most

    def _forget_the_past(self) -> None:
        for connection in self._connections.values():
            connection.said = 0
        self._rest = 0

    def rate(self, known: bool) -> float:
        """How many messages a second a connection may say."""
        return self._max_rate if known else min(STRANGER_RATE, self._max_rate)


def line_of(part: zmq.Frame) -> int | None:
    """The file descriptor of the connection that a part of a message came over; None = it came over inproc,
    from this process."""
    try:
        return int(part.get("__fd"))
    except zmq.ZMQError:
        return None


def hang_up(line: int | None, identity: tuple | None) -> None:
    """Ends the connection at `line` if it is still the one with this `identity`; libzmq then reads the end of
    it, as if the peer had gone. libzmq itself offers no way to end one connection of a ROUTER."""
    if identity is None or identity_of(line) != identity:
        return
    with contextlib.suppress(OSError):
        connection = socket.socket(fileno=line)
        try:
            # A reset, once libzmq closes it: else the kernel would keep what is left of it for a minute.
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("HH" if os.name == "nt" else "ii", 1, 0)
            )
            connection.shutdown(socket.SHUT_RDWR)
        finally:
            connection.detach()  # it is libzmq's to close


def identity_of(line: int | None) -> tuple | None:
    """What tells the connection at a file descriptor from others that had, or will have, the same one; None =
    there is none."""
    if line is None:
        return None
    try:
        connection = socket.socket(fileno=line)
    except OSError:
        return None
    try:
        inode = os.fstat(line).st_ino if os.name == "posix" else 0
        return connection.getpeername(), connection.getsockname(), inode
    except OSError:
        return None
    finally:
        connection.detach()
