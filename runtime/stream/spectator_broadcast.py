"""SpectatorBroadcast: the spectators' side of a server, which shows everybody what one client sees."""

from __future__ import annotations

import logging
import time

import zmq

from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.stream.auth.keys import KeyFolder
from dinar_live.runtime.stream.auth.zap import guard
from dinar_live.runtime.stream.protocol.messages import RenderRequest

from .leader_election import LeaderElection
from .sockets import bind, make_socket

log = logging.getLogger(__name__)

QUIET_SECONDS = (
    0.5  # after which the frame of another client, or the overview, takes the place of the one that stopped
)
OVERVIEW_SECONDS = 1 / 30
_REOPEN_SECONDS = 0.02  # in a row: clients wait meanwhile
_QUEUE = 2  # frames that wait for one spectator; the next ones it misses
_LISTEN = 256  # messages in a row, so that spectators who say much do not keep the server from its clients
_MAX_MESSAGE = 4096  # bytes; spectators say nothing but that they subscribe, and their keys


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
        self._open()

    def _open(self) -> None:
        self.watchers = 0
        # Not without a limit: an XPUB takes in all there is before it does anything else, and would never be
        # done with who goes on.
        self.socket = make_socket(
            self._context, zmq.XPUB, send_queue=_QUEUE, receive_queue=64, max_message=_MAX_MESSAGE
        )
        try:
            self.socket.setsockopt(
                zmq.XPUB_VERBOSER, 1
            )  # every subscription is told, so that they can be counted
            self.socket.setsockopt(zmq.LINGER, 0)
            if self._keys is not None:
                guard(self.socket, self._keys)
                self._allowed = set(self._keys.clients().values())
            self.endpoint = bind(self.socket, self.endpoint, insecure=self._insecure)
        except BaseException:
            self.socket.close(0)
            raise

    def listen(self) -> None:
        """Takes note of who came and went."""
        for _ in range(_LISTEN):
            if self.socket.closed:
                return
            try:
                message = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if message == b"\1":
                self.watchers += 1
            elif message == b"\0":
                self.watchers -= 1

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
            self.socket.close(0)
            self.watchers = 0
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
        self.socket.close(0)
