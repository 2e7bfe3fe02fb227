"""Server: takes render requests over ZeroMQ, has a function answer them, sends the frames back."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import zmq

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.stream.auth.keys import KeyFolder
from dinar_live.runtime.stream.auth.zap import CurveAuthenticator, guard, key_of
from dinar_live.runtime.stream.protocol.messages import Bye, Describe, Hello, RenderRequest, Superseded, Time
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode
from dinar_live.runtime.stream.protocol.wire import ErrorCode, WireError

from .capabilities import ServerCapabilities
from .floods import FloodGate, Verdict, line_of
from .mailbox import Mailbox
from .outbox import Outbox
from .peers import NOBODY, Peer, PeerTable
from .render_loop import RenderLoop
from .rendering import Limits, PendingRequest, RenderedFrame, SpareTime, refusal
from .sockets import Waker, bind, make_socket
from .spectator_broadcast import SpectatorBroadcast

log = logging.getLogger(__name__)

_DRAIN = 256  # messages read before finished frames get their turn again
_POLL_MS = 500
_STALLED_POLL_MS = 5
_CLOSE_SECONDS = 10.0
_GOODBYE_SECONDS = 0.1  # for clients to read BYE and the last frame
_INSIDE = "inproc://dinar"


class Server:
    """Serves `render(request: RenderRequest) -> RenderedFrame` (or one per camera, as a tuple) to many
    clients.

    render: called on one thread that the server owns. A DinarError it raises is told to the client, anything
        else is logged and told as "the renderer failed"; the server lives on.
    ready(request): False while `render` could only wait for something, such as a network that is being
        compiled; the requests of others are then answered first. Called on the same thread, must not wait
        itself.
    capabilities: plain JSON sent to every client; `size` in it, (height, width), is what clients ask for by
        default.
    avatars: name -> more of that for each avatar, the first being the one that requests without a name mean.
    workers: threads that encode.
    keys: only clients whose keys are in this folder may connect, everything is encrypted, and a client whose
        key is revoked gets nothing more within a second; None = no encryption and no authentication.
    insecure: allows an endpoint that other machines can reach without keys.
    spectators: a second endpoint, of a PUB socket that shows everybody what the leading client sees; see
        SpectatorBroadcast. overview: a request without a pose that is rendered for spectators while no client
            gets frames.

    A one-slot mailbox per client: a newer request replaces the one that waits, which is answered SUPERSEDED;
    clients take turns. start() raises DinarError where the endpoint cannot be used.
    """

    def __init__(
        self,
        render: Callable[[RenderRequest], RenderedFrame | tuple[RenderedFrame, ...]],
        capabilities: Mapping,
        endpoint: str = "tcp://127.0.0.1:0",
        *,
        avatars: Mapping[str, Mapping] | None = None,
        ready: Callable[[RenderRequest], bool] = lambda request: True,
        workers: int = 1,
        limits: Limits | None = None,
        keys: KeyFolder | None = None,
        insecure: bool = False,
        spectators: str | None = None,
        overview: RenderRequest | None = None,
    ):
        if workers < 1:
            raise InputError(f"workers: got {workers}, expected at least 1")
        self._keys, self._insecure = keys, insecure
        self._limits = limits or Limits()
        self._session = secrets.randbits(32) | 1
        self._capabilities = ServerCapabilities(capabilities, avatars or {}, self._limits, self._session)
        self.endpoint = endpoint
        self._requests = self._malformed = 0
        self._gate = FloodGate(self._limits.max_rate)
        self._numbers = itertools.count(1)
        self._mailbox: Mailbox[PendingRequest] = Mailbox()
        self._peers = PeerTable(self._mailbox)
        self._outbox = Outbox(
            self._peers, self._mailbox, idle_timeout=self._limits.idle_timeout, session=self._session
        )
        self._render_loop = RenderLoop(
            self._mailbox, render, ready, self._rendered, workers=workers, session=self._session
        )
        self._spectators, self._overview = spectators, overview
        self._broadcast: SpectatorBroadcast | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._io, name="dinar-io", daemon=True)
        self._authenticator: CurveAuthenticator | None = None
        self._state = "new"

    # ---- life ----------------------------------------------------------------------------------------------

    def start(self) -> Server:
        """Binds and starts the threads. A server starts once."""
        if self._state != "new":
            raise DinarError(f"this server is {self._state}; make a new one")
        self._context = zmq.Context()
        try:
            self._socket = make_socket(
                self._context,
                zmq.ROUTER,
                send_queue=self._limits.send_queue,
                receive_queue=0,
                max_message=self._limits.max_message,
            )
            guard(self._socket, self._keys)
            self._authenticator = CurveAuthenticator(self._context, self._keys)
            self.endpoint = bind(self._socket, self.endpoint, insecure=self._insecure)
            self._socket.bind(_INSIDE)
            if self._spectators is not None:
                self._broadcast = SpectatorBroadcast(
                    self._context, self._spectators, self._overview, self._keys, self._insecure
                )
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._outbox.open(self._socket, self._broadcast)
        self._waker = Waker(self._context)
        self._state = "running"
        self._thread.start()
        self._render_loop.start()
        return self

    def close(self) -> None:
        """Answers what is still open, says goodbye to the clients and frees the port. May be called twice."""
        if self._state != "running":
            self._state = "closed"
            return
        self._state = "closed"
        for client, (request, _) in self._mailbox.close():
            self._outbox.refuse(client, ErrorCode.CLOSING, "the server is closing", request)
        self._render_loop.join(_CLOSE_SECONDS)
        self._stopping.set()
        self._waker.wake()
        self._thread.join(_CLOSE_SECONDS)
        self._waker.close()
        self._context.term()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exc) -> None:
        self.close()

    def update(self, avatars: Mapping[str, Mapping]) -> None:
        """Has clients told other things of the avatars from now on, when they ask. From any thread. Raises
        InputError."""
        self._capabilities.update(avatars)

    def use_spare_time(self, spare_time: SpareTime | None) -> None:
        """What the render thread may do while nothing else is to do."""
        self._render_loop.spare_time = spare_time

    def observe(self, told: Callable[[Mapping[str, float]], None] | None) -> None:
        """Has `told` called with each frame's stage times in ms (wait, render and its parts, encode), on an
        encoding thread, before it is sent."""
        self._render_loop.observer = told

    def connect_here(self) -> zmq.Socket:
        """A new DEALER socket that is connected to this server without a network or keys, for parts of this
        process. The caller's to close, before the server."""
        inside = make_socket(self._context, zmq.DEALER, send_queue=8, receive_queue=2, max_message=-1)
        inside.sndtimeo = -1
        inside.connect(_INSIDE)
        return inside

    def stats(self) -> dict[str, int]:
        """Counts since the start: requests, frames, superseded, errors, malformed, dropped_clients,
        bytes_sent, refused (for want of a key); and clients and spectators now."""
        return {
            "requests": self._requests,
            "frames": self._outbox.frames,
            "superseded": self._outbox.superseded,
            "errors": self._outbox.errors,
            "malformed": self._malformed,
            "dropped_clients": self._peers.dropped,
            "bytes_sent": self._outbox.bytes_sent,
            "refused": self._authenticator.refused if self._authenticator else 0,
            "clients": len(self._peers),
            "spectators": self._broadcast.watchers if self._broadcast else 0,
        }

    @property
    def failed(self) -> bool:
        """Whether a server that was not closed serves nobody any more; its log says why."""
        return self._state == "running" and not self._thread.is_alive()

    @property
    def server_key(self) -> str | None:
        """The public key that clients need, if the server has keys."""
        return self._keys and self._keys.pair.public

    @property
    def spectators(self) -> str | None:
        """Where spectators connect, if they may."""
        return self._broadcast.endpoint if self._broadcast else self._spectators

    # ---- I/O thread: owns the socket and the table of clients ----------------------------------------------

    def _io(self) -> None:
        try:
            self._serve()
        except BaseException:  # ours; who waits must see it, and `close` must not wait for ever
            log.exception("the server has failed")
        finally:
            self._socket.close()
            for other in (self._broadcast, self._authenticator):
                if other is not None:
                    other.close()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._waker.receiver, zmq.POLLIN)
        authenticator = self._authenticator
        assert authenticator is not None  # made by start()
        poller.register(authenticator.socket, zmq.POLLIN)
        if self._broadcast is not None:
            poller.register(self._broadcast.socket, zmq.POLLIN)
        sweep = time.monotonic()
        while not self._stopping.is_set():
            poller.poll(self._poll_ms())
            self._waker.clear()
            watched = self._broadcast is None or self._serve_spectators(self._broadcast)
            self._outbox.flush()
            emptied = self._drain()
            if emptied and watched:  # first who is inside: nobody can come faster than what they say is read
                authenticator.answer()
            if (loud := self._gate.keep_up(emptied)) is not None:
                self._cut_off(loud)
            self._outbox.retry()
            if time.monotonic() - sweep > 0.5:
                sweep = time.monotonic()
                oldest = sweep - self._limits.idle_timeout
                for client in self._peers.idle_since(oldest):
                    self._peers.forget(client)
                self._expel()
                if self._broadcast is not None:
                    old = self._broadcast.socket
                    opened = self._broadcast.expel()
                    if old.closed and old in poller:
                        poller.unregister(old)
                    if opened:
                        poller.register(self._broadcast.socket, zmq.POLLIN)
        self._drain()
        for client in list(self._peers):
            self._outbox.post(client, encode(Bye(self._session)))
        self._outbox.flush()
        if self._peers:  # with IMMEDIATE, libzmq drops what is unread when the connection ends
            time.sleep(_GOODBYE_SECONDS)

    def _poll_ms(self) -> int:
        wait = _STALLED_POLL_MS if self._peers.stalled else _POLL_MS
        return (
            wait if self._broadcast is None else min(wait, int(self._broadcast.wait_ms(time.monotonic())) + 1)
        )

    def _serve_spectators(self, broadcast: SpectatorBroadcast) -> bool:
        """Listens to the spectators, and has the overview rendered for them when it is time; whether all that
        they said was heard."""
        heard = broadcast.listen()
        if broadcast.overview is not None and broadcast.wants_overview(time.monotonic()):
            self._mailbox.put(NOBODY, PendingRequest(broadcast.overview, time.monotonic_ns()))
        return heard

    def _expel(self) -> None:
        """Forgets the clients whose keys were revoked after they connected. libzmq cannot cut one connection,
        so theirs stays, unheard."""
        if self._keys is None:
            return
        for client in self._peers.revoked(self._keys):
            log.info("client expelled: its key was revoked")
            self._outbox.refuse(client, ErrorCode.REFUSED, "this key is no longer let in")
            self._peers.forget(client)

    def _drain(self) -> bool:
        """Reads some messages; whether that were all."""
        for _ in range(_DRAIN):
            try:
                client, *parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return True
            received_ns = time.monotonic_ns()
            key = None if self._keys is None else key_of(parts[0])
            client, line = client.bytes, line_of(parts[0])
            peer = self._peers.get(client)
            if peer is not None and (peer.line, peer.key) != (line, key):
                self._peers.forget(client)  # another connection has taken its routing id
                peer = None
            verdict = self._gate.judge(client, peer is not None, line, sum(map(len, parts)))
            if verdict is Verdict.CUT:
                self._cut_off(client)
            revoked = self._keys is not None and key is not None and self._keys.name_of(key) is None
            if revoked or verdict in (Verdict.CUT, Verdict.IGNORE):
                continue
            parts = [part.bytes for part in parts]
            try:
                if verdict is Verdict.REFUSE:  # before it is decoded, so that nonsense counts too
                    raise WireError(
                        f"more than {self._gate.rate(peer is not None):g} messages a second", ErrorCode.RATE
                    )
                if len(parts) != 1:
                    raise WireError(f"{len(parts)} parts, expected one")
                self._receive(client, parts[0], received_ns, line, key)
            except WireError as e:
                self._malformed += e.code not in (ErrorCode.UNKNOWN_AVATAR, ErrorCode.RATE)
                log.debug("refused message: %s", e)
                self._outbox.refuse_message(client, parts[0] if parts else b"", e)
            self._outbox.flush()
        return False

    def _cut_off(self, client: bytes) -> None:
        log.info("connection ended: it says too much")
        self._peers.drop(client)

    def _receive(
        self, client: bytes, data: bytes, received_ns: int, line: int | None, key: str | None
    ) -> None:
        peer = self._peers.get(client)
        if peer is not None:
            peer.last_seen = time.monotonic()
        message = decode(data)
        match message:
            case RenderRequest():
                self._requests += 1
                self._admit(client, peer, message, received_ns)
            case Hello():
                self._greet(client, peer, message, line, key)
            case Describe():
                self._outbox.post(client, self._capabilities.caps(message.avatar, message.id))
            case Time():
                self._outbox.post(
                    client, encode(Time(message.id, message.client_ns, received_ns, 0, self._session))
                )
            case Bye():
                self._peers.forget(client)
            case _:
                raise WireError(
                    f"a {type(message).__name__} message is the server's to send", ErrorCode.UNEXPECTED
                )

    def _greet(
        self, client: bytes, peer: Peer | None, hello: Hello, line: int | None, key: str | None
    ) -> None:
        if peer is None and len(self._peers) >= self._limits.max_clients:
            text = f"{len(self._peers)} clients are connected, which is the limit"
            self._outbox.refuse(client, ErrorCode.CLIENTS, text)
            return
        name, avatar = hello.info.get("name"), hello.info.get("avatar", "")
        caps = self._capabilities.caps(avatar if isinstance(avatar, str) else "")
        owner = None if self._keys is None or key is None else self._keys.name_of(key)
        log.info("client says hello: %.80r, key %s", name, owner)
        if peer is None:
            self._peers[client] = Peer(next(self._numbers), line, key)
        else:
            peer.last_id = 0
        self._outbox.post(client, caps)

    def _admit(self, client: bytes, peer: Peer | None, request: RenderRequest, received_ns: int) -> None:
        """Puts a request into its client's mailbox, or answers why not."""
        error = refusal(request, None if peer is None else peer.last_id, self._limits)
        if error is not None or peer is None:
            self._outbox.refuse(client, *(error or (ErrorCode.HELLO_REQUIRED, "")), request)
            return
        self._capabilities.check(request.avatar)
        peer.last_id = request.id
        peer.owed += 1
        peer.asked += 1
        item = PendingRequest(replace(request, client=peer.number, asked=peer.asked), received_ns)
        if peer.backlog_frames:
            replaced, peer.held = peer.held or self._mailbox.drop(client), item
        else:
            replaced = self._mailbox.put(client, item)
        if replaced is item:
            self._outbox.refuse(client, ErrorCode.CLOSING, "the server is closing", request)
        elif replaced is not None:
            peer.owed -= 1
            self._outbox.post(
                client, encode(Superseded(replaced[0].id, replaced[0].pose_time_ns, self._session))
            )

    def _rendered(self, client: bytes, message: bytearray, request: RenderRequest) -> None:
        """An answer of the render loop; called on its threads."""
        self._outbox.post(client, message, request)
        self._waker.wake()
