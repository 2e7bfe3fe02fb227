"""SpectatorBroadcast: the spectators' side of a server, which shows everybody what one client sees."""

from __future__ import annotations

import logging
import time

import zmq

from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.stream.auth.keys import KeyFolder
from dinar_live.runtime.stream.auth.zap import guard
from dinar_live.runtime.stream.protocol.messages import RenderRequest

from .floods import hang_up, identity_of, line_of
from .leader_election import LeaderElection
from .line_watch import LineWatch, came_in_at, can_watch, received_bytes
from .sockets import bind, make_socket

log = logging.getLogger(__name__)

QUIET_SECONDS = (
    0.5  # after which the frame of another client, or the overview, takes the place of the one that stopped
)
OVERVIEW_SECONDS = 1 / 30
_REOPEN_SECONDS = 0.02  # in a row: clients wait meanwhile
_QUEUE = 2  # frames that wait for one spectator; the next ones it misses
_LISTEN = 1024  # messages in a row, so that spectators who say much do not keep the server from its clients
_MAX_MESSAGE = 1024  # bytes; spectators say nothing but that they subscribe, and their keys
_MAX_SUBSCRIBED = 16 * 1024  # bytes of subscriptions of one connection, ever: each takes libzmq some 50
_KERNEL_BUFFER = 4096  # bytes: as much comes even after a connection was ended
_UNWATCHED_QUEUE = 64  # where nobody can count what spectators say


class SpectatorBroadcast:
    """A PUB socket (an XPUB, which knows whether anybody watches). Belongs to the thread that made it, but
    for `watched`.

    Shown are the frames of the client that leads: one that sends poses before one that does not, the first
    before later ones.
    overview: what is asked for in nobody's name while spectators watch and no client gets frames; None =
        nothing.
    keys, insecure: see Server. Raises DinarError where the endpoint cannot be used.
    """

    def __init__(
        self,
        context: zmq.Context,
        endpoint: str,
        overview: RenderRequest | None,
        keys: KeyFolder | None,
        insecure: bool,
    ):
        self._context = context
        self.endpoint = endpoint
        self.overview = overview
        self._keys = keys
        self._insecure = insecure
        self._lead = LeaderElection(QUIET_SECONDS)
        self._lead_s = float("-inf")  # when the leader showed something
        self._asked_s = float("-inf")  # when the overview was asked for
        self._allowed: set[str] = set()
        self._watch: LineWatch | None = None
        self._open()

    def _open(self) -> None:
        self._watching: dict[int, tuple] = {}
        self._subscribed: dict[int, tuple[tuple, int]] = {}
        watched = can_watch() and self.endpoint.startswith("tcp:")
        self.socket = make_socket(
            self._context,
            zmq.XPUB,
            send_queue=_QUEUE,
            receive_queue=0 if watched else _UNWATCHED_QUEUE,
            max_message=_MAX_MESSAGE,
        )
        try:
            if watched:
                self._watch = LineWatch(self.socket)
            self.socket.setsockopt(
                zmq.XPUB_VERBOSER, 1
            )  # every subscription is told, so that they can be counted
            self.socket.setsockopt(zmq.LINGER, 0)
            if watched:
                self.socket.rcvbuf = _KERNEL_BUFFER
            guard(self.socket, self._keys)
            if self._keys is not None:
                self._allowed = set(self._keys.clients().values())
            self.endpoint = bind(self.socket, self.endpoint, insecure=self._insecure)
        except BaseException:
            self._shut()
            raise

    def _shut(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self.socket.close(0)

    def listen(self) -> bool:
        """Takes note of who came and went; whether that is all."""
        for _ in range(_LISTEN):
            if self.socket.closed:
                return True
            try:
                part = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return True
            message = part.bytes
            if message == b"\0" and line_of(part) is None:  # libzmq says that one has gone, but not who
                self._forget_the_gone()
            elif (subscriber := self._subscriber(part)) is None:
                continue
            elif message == b"\1":
                self._watching[subscriber[0]] = subscriber[1]
            elif message == b"\0":
                self._watching.pop(subscriber[0], None)
            else:
                self._count(*subscriber, len(message))
        return False

    @property
    def watchers(self) -> int:
        """How many connections watch. From any thread."""
        return len(self._watching)

    def _subscriber(self, part: zmq.Frame) -> tuple[int, tuple] | None:
        """Whose subscription it is: file descriptor and identity; None if it has gone, in which case another
        connection may have the descriptor."""
        line = line_of(part)
        identity = identity_of(line)
        if line is None or identity is None:
            return None
        if self.endpoint.startswith("tcp:") and not came_in_at(identity, self.endpoint.rpartition(":")[2]):
            return None
        return line, identity

    def _forget_the_gone(self) -> None:
        for line, identity in list(self._watching.items()):
            if identity_of(line) != identity:
                del self._watching[line]

    def _count(self, line: int, identity: tuple, size: int) -> None:
        """Ends a connection that has subscribed to so much that libzmq needs a lot of memory for it."""
        known, said = self._subscribed.get(line, (identity, 0))
        said = size + (said if known == identity else 0)
        self._subscribed[line] = identity, said
        # Who has not sent as much as that got the descriptor of one that has gone.
        if said > _MAX_SUBSCRIBED and (received_bytes(line) or 0) > said:
            log.info("a spectator's connection ended: it subscribes to too much")
            hang_up(line, identity)

    def show(self, client: object, message: bytes | bytearray, *, posed: bool, now: float) -> None:
        """Offers a frame of a client's (None = the overview) at `now` seconds; it is sent if that client
        leads and somebody watches."""
        if client is None:
            if now - self._lead_s <= QUIET_SECONDS:
                return
        elif self._lead.claims(client, now, int(posed)):
            self._lead_s = now
        else:
            return
        if self.watchers:
            # Copied, because what waits for the client is stamped again when it leaves.
            self.socket.send(message, zmq.NOBLOCK, copy=True)

    def wants_overview(self, now: float) -> bool:
        """Whether the overview is to be asked for now."""
        if (
            self.overview is None
            or not self.watchers
            or now - self._lead_s <= QUIET_SECONDS
            or now - self._asked_s < OVERVIEW_SECONDS
        ):
            return False
        # On a schedule, so that no lateness adds up; after a pause from now.
        self._asked_s = max(self._asked_s + OVERVIEW_SECONDS, now - OVERVIEW_SECONDS)
        return True

    def wait_ms(self, now: float) -> float:
        """How long nothing is to be done but to listen, milliseconds."""
        if self.overview is None or not self.watchers:
            return 1e9
        return 1e3 * max(self._lead_s + QUIET_SECONDS - now, self._asked_s + OVERVIEW_SECONDS - now, 0.0)

    def expel(self) -> bool:
        """Lets everybody connect anew once a key was revoked, since libzmq cannot cut one connection; whether
        `socket` is another now.

        To be called now and then: where the port is not free again at once, the next call tries on, and
            meanwhile nobody watches.
        """
        if self._keys is None:
            return False
        if not self.socket.closed:
            allowed = set(self._keys.clients().values())
            gone = self._allowed - allowed
            self._allowed = allowed
            if not gone:
                return False
            log.info("spectators are asked for their keys again: %d revoked", len(gone))
            self._shut()
            self._watching.clear()
        return self._reopened()

    def _reopened(self) -> bool:
        end = time.monotonic() + _REOPEN_SECONDS
        while True:
            try:
                self._open()
            except DinarError as e:  # libzmq gives the port free a little later
                if time.monotonic() > end:
                    log.warning("no spectators for now: %s", e)
                    return False
                time.sleep(0.002)
            else:
                return True

    def close(self) -> None:
        self._shut()
