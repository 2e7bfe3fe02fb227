"""Outbox: what waits to leave a server, and for whom."""

from __future__ import annotations

import logging
import time
from collections import deque

import zmq

from dinar_live.runtime.stream.protocol.messages import ErrorMessage, RenderRequest
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.protocol.wire import (
    SEND_TIME_OFFSET,
    TYPE_OFFSET,
    ErrorCode,
    MessageType,
    WireError,
    peek,
)

from .mailbox import Mailbox
from .peers import NOBODY, PeerTable
from .rendering import PendingRequest
from .spectator_broadcast import SpectatorBroadcast

log = logging.getLogger(__name__)

_MAX_BACKLOG = 1024


class Outbox:
    """Takes messages for clients and sends them, in order, as fast as each client reads; frames are shown to
    spectators too. A client that does not read for too long is dropped.

    Threads: any may `post`, and `refuse` in both ways; what sends belongs to the I/O thread, which owns the
    socket and `peers`. The counts may be read from any thread.

    peers: the clients, of which those that cannot be reached are forgotten. mailbox: where the request that a
        stalled client had held back goes once it reads again.
    idle_timeout: seconds for which a client may read nothing. session: of the server.
    frames, superseded, errors, bytes_sent: what was sent since the start.
    """

    def __init__(
        self, peers: PeerTable, mailbox: Mailbox[PendingRequest], *, idle_timeout: float, session: int
    ):
        self._peers = peers
        self._mailbox = mailbox
        self._idle_timeout = idle_timeout
        self._session = session
        # client, message, and what was rendered for it
        self._waiting: deque[tuple[bytes, bytearray, RenderRequest | None]] = deque()
        self.frames = self.superseded = self.errors = self.bytes_sent = 0

    def open(self, socket: zmq.Socket, broadcast: SpectatorBroadcast | None) -> None:
        """From now on messages leave through `socket`, a ROUTER, and frames also through `broadcast`. Called
        once, before the I/O thread starts; both stay the caller's to close."""
        self._socket, self._broadcast = socket, broadcast

    # ---- any thread ----------------------------------------------------------------------------------------

    def post(self, client: bytes, message: bytearray, rendered: RenderRequest | None = None) -> None:
        """Puts a message in line; the next `flush` sends it. rendered: the request it is the render loop's
        answer to."""
        self._waiting.append((client, message, rendered))

    def refuse(self, client: bytes, code: ErrorCode, text: str, request: RenderRequest | None = None) -> None:
        """Posts an ERROR in answer to a request, or to nothing in particular."""
        id, pose_time_ns = (0, 0) if request is None else (request.id, request.pose_time_ns)
        self.post(client, encode(ErrorMessage(id, code, text, pose_time_ns, self._session)))

    def refuse_message(self, client: bytes, data: bytes, reason: WireError) -> None:
        """Posts one ERROR for a bad message, with as much of its header as can be read; none in answer to an
        ERROR, or two peers could go on for ever."""
        type, id, client_time_ns = peek(data)
        if type != MessageType.ERROR:
            self.post(
                client, encode(ErrorMessage(id, reason.code, str(reason), client_time_ns, self._session))
            )

    # ---- I/O thread ----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Sends what was posted, or puts it aside for clients that do not read."""
        while self._waiting:
            client, message, rendered = self._waiting.popleft()
            peer = self._peers.get(client)
            if rendered is not None and peer is not None and peer.number == rendered.client:
                peer.owed, peer.last_seen = peer.owed - 1, time.monotonic()
            if message[TYPE_OFFSET] == MessageType.FRAME:
                if peer is None and client != NOBODY:
                    continue  # it left, or lost its key, while this was rendered
                if self._broadcast is not None:
                    _stamp(message)
                    posed = rendered is not None and rendered.pose is not None
                    self._broadcast.show(client or None, message, posed=posed, now=time.monotonic())
            if client == NOBODY:
                continue
            if peer is not None and peer.backlog:
                peer.keep(message)
            elif not self._transmit(client, message) and peer is not None and client in self._peers:
                peer.keep(message)
                self._peers.stalled.add(client)

    def retry(self) -> None:
        """Goes on with the clients that did not read."""
        for client in list(self._peers.stalled):
            self._retry(client)

    def _retry(self, client: bytes) -> None:
        """Sends a stalled client what it can, and takes up its held request when all frames are sent."""
        peer = self._peers[client]
        while peer.backlog and self._transmit(client, peer.backlog[0]):
            peer.sent_first()
        if client not in self._peers:
            return
        if not peer.backlog_frames and peer.held is not None:
            item, peer.held = peer.held, None
            if self._mailbox.put(client, item) is item:
                self.refuse(client, ErrorCode.CLOSING, "the server is closing", item.request)
        if not peer.backlog:
            self._peers.stalled.discard(client)
        elif len(peer.backlog) > _MAX_BACKLOG or time.monotonic() - peer.stalled_since > self._idle_timeout:
            log.info("client dropped: it does not read its answers")
            self._peers.drop(client)

    def _transmit(self, client: bytes, message: bytearray) -> bool:
        """Sends one message, stamped with the time; False if it cannot be sent now (or, the client then being
        forgotten, ever)."""
        _stamp(message)
        try:
            self._socket.send_multipart((client, message), zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as e:
            log.info("client gone: %s", e.strerror)
            self._peers.forget(client)
            return False
        self._count(message)
        return True

    def _count(self, message: bytearray) -> None:
        self.bytes_sent += len(message)
        match message[TYPE_OFFSET]:
            case MessageType.FRAME:
                self.frames += 1
            case MessageType.SUPERSEDED:
                self.superseded += 1
            case MessageType.ERROR:
                self.errors += 1


def _stamp(message: bytearray) -> None:
    """Writes when it leaves into a message."""
    message[SEND_TIME_OFFSET : SEND_TIME_OFFSET + 8] = time.monotonic_ns().to_bytes(8, "little")
