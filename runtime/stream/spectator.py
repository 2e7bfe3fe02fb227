"""Spectator: sees what a server's leading client sees."""

from __future__ import annotations

import os
import time

import zmq

from dinar_live.runtime.core.errors import InputError, ProtocolError, StreamTimeout
from dinar_live.runtime.stream.auth.keys import KeyPair, connection_keys
from dinar_live.runtime.stream.auth.zap import present
from dinar_live.runtime.stream.protocol.messages import FrameMessage
from dinar_live.runtime.stream.protocol.messages_codec import decode

from .received_frame import ReceivedFrame, UndecodedFrame
from .sockets import is_loopback, make_socket

_MAX_MESSAGE = 512 << 20


class Spectator:
    """A subscription to a server's spectator endpoint; only the newest frame ever waits. Use from one
    thread at a time.

    timeout: seconds to wait for a frame. server_key, key: as of Client. Times of a ReceivedFrame that are
    the client's are on the clock of the client that leads. Connects, and connects again, by itself; a server
    that is not there shows as StreamTimeout.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout: float = 5.0,
        server_key: str | os.PathLike | None = None,
        key: KeyPair | str | os.PathLike | None = None,
    ):
        is_loopback(endpoint)  # refuses what is no endpoint
        keys = connection_keys(server_key, key)
        self.endpoint = endpoint
        self.timeout = timeout
        self._latest: UndecodedFrame | None = None
        self._context = zmq.Context()
        try:
            self._socket = make_socket(
                self._context, zmq.SUB, send_queue=1, receive_queue=1, max_message=_MAX_MESSAGE
            )
            self._socket.setsockopt(zmq.CONFLATE, 1)  # counts only before connect
            if keys is not None:
                present(self._socket, keys.server_key, keys.pair)
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
            self._socket.setsockopt(zmq.IPV6, "[" in endpoint)
            self._socket.connect(endpoint)
        except BaseException as e:
            self._context.destroy(linger=0)
            if isinstance(e, zmq.ZMQError):
                raise InputError(f"endpoint: cannot connect to {endpoint}: {e.strerror}") from None
            raise

    def read(self, timeout: float | None = None) -> ReceivedFrame:
        """The next frame that was not returned yet. Raises StreamTimeout, ProtocolError."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self._socket.poll(max(0, int(1e3 * (end - time.monotonic())))):
            if (arrival := self._receive()) is not None:
                return arrival.frame()
        raise StreamTimeout(
            f"{self.endpoint}: nothing to see within {self.timeout if timeout is None else timeout:g} s; "
            "is it what `dinar serve --spectators` prints, and are the keys right?"
        )

    def read_latest(self) -> ReceivedFrame | None:
        """The newest frame so far, again if there is no newer one; None before the first. Never waits."""
        if self._socket.poll(0):
            self._receive()
        return None if self._latest is None else self._latest.frame()

    def _receive(self) -> UndecodedFrame | None:
        part = self._socket.recv(copy=False)
        received_ns = time.monotonic_ns()
        try:
            message = decode(part.buffer)
        except ProtocolError as e:
            raise ProtocolError(
                f"{self.endpoint} sent something else than a dinar-live message: {e}"
            ) from None
        if not isinstance(message, FrameMessage):
            return None
        self._latest = UndecodedFrame(message, message.pose_time_ns, received_ns, len(part.buffer))
        return self._latest

    def close(self) -> None:
        """Ends the subscription. May be called twice."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Spectator:
        return self

    def __exit__(self, *exc) -> None:
        self.close()
