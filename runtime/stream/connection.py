"""Connection: the side of a Client that talks to the server, on a thread of its own."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from dinar_live.runtime.core.errors import (
    AccessError,
    DinarError,
    InputError,
    ProtocolError,
    RemoteError,
    StreamTimeout,
)
from dinar_live.runtime.stream.auth.keys import ConnectionKeys
from dinar_live.runtime.stream.auth.zap import FINAL_REFUSALS, REFUSALS, present
from dinar_live.runtime.stream.protocol.messages import (
    Bye,
    Caps,
    Describe,
    ErrorMessage,
    FrameMessage,
    Message,
    RenderRequest,
    Superseded,
    Time,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode
from dinar_live.runtime.stream.protocol.wire import ErrorCode

from .clock import ClockComparison
from .received_frame import UndecodedFrame
from .sockets import Waker, make_socket

MAX_MESSAGE = 512 << 20  # bytes
TIME_SYNC_SECONDS = 2.0  # also what keeps an idle client in the server's table
PING_SECONDS = 0.5  # after which a clock comparison counts as lost
HELLO_SECONDS = 1.0
POLL_MS = 100
# Between messages beyond what is rendered and what waits: they only replace one another at the server, which
# allows max_rate messages a second (1000) and the page's gateway 400.
REPLACE_SECONDS = 0.004
REPLACE_SHARE = 0.25  # of max_rate, where a server allows less
NO_REQUEST = 1 << 64  # newer than every id: who waits for no request is not told the failure of one

T = TypeVar("T")


class SentRequest(NamedTuple):
    """A request that waits for its answer, kept to be sent again to a server that has restarted."""

    data: bytearray
    pose_time_ns: int
    sent_ns: int


class WaitingRequest(NamedTuple):
    """The newest request, until there is room for it among those on their way."""

    id: int
    data: bytearray
    pose_time_ns: int


class Connection:
    """Says hello, sends the newest request, takes in answers, compares clocks, and comes back after a loss.

    endpoint: of the server. hello: the bytes of the HELLO message. timeout: seconds, after which an answer is
    lost. window: requests on their way at once, see Client. keys: for a server that has them.

    One thread owns the socket. The public attributes are shared: read and change them only with `changed`
    held, which is notified whenever something has come. Raises InputError where the endpoint cannot be used.
    """

    def __init__(
        self, endpoint: str, hello: bytearray, *, timeout: float, window: int, keys: ConnectionKeys | None
    ):
        self.endpoint = endpoint
        self.hello = hello
        self.changed = threading.Condition()
        self.caps: dict | None = None
        self.next_id = 1
        self.seen_id = 0  # of the newest frame or failure that somebody was told
        self.waiting: WaitingRequest | None = None
        self.in_flight: dict[int, SentRequest] = {}
        self.latest: UndecodedFrame | None = None
        self.comparison = ClockComparison()
        self.pings = 0  # clock comparisons that are still wanted
        self.described: dict[int, dict | DinarError | None] = {}
        self.timeout = timeout
        # One beyond the window may go: the server lets it replace the one that waits there, and says SUPERSEDED
        # at once, so the newest pose is there when the renderer is free. Not beyond a window of 1, which means
        # one at a time.
        self._most = window + 1 if window > 1 else 1
        self._sent_at = 0.0  # the last request
        self._replace_seconds = REPLACE_SECONDS
        self._greeted = False
        self._closed = False
        self._server = 0  # the session number of the server that greeted last
        self._failure: tuple[int, DinarError] | None = None
        self._refusal: zmq.Event | None = None  # by which the last handshake failed
        self._pinged_at = 0.0  # when the last comparison left, 0 = it is answered
        self._questions: deque[bytearray] = deque()  # DESCRIBE messages that have not left
        self._context = zmq.Context()
        self._socket = make_socket(
            self._context, zmq.DEALER, send_queue=16, receive_queue=0, max_message=MAX_MESSAGE
        )
        if keys is not None:
            try:
                present(self._socket, keys.server_key, keys.pair)
            except BaseException:
                self._context.destroy(linger=0)
                raise
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | sum(REFUSALS)
        )
        self._waker = Waker(self._context)
        self._thread = threading.Thread(target=self._run, name="dinar-client", daemon=True)
        try:
            self._socket.setsockopt(zmq.IPV6, "[" in endpoint)
            self._socket.connect(endpoint)
        except zmq.ZMQError as e:
            self._waker.close()
            self._monitor.close(0)
            self._context.destroy(linger=0)
            raise InputError(f"endpoint: cannot connect to {endpoint}: {e.strerror}") from None
        self._thread.start()

    def close(self) -> None:
        """Says goodbye and frees the socket. May be called twice."""
        with self.changed:
            if self._closed:
                return
            self._closed = True
            self.changed.notify_all()
        self._waker.wake()
        self._thread.join()
        self._waker.close()
        self._context.term()

    # ---- for any thread ------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises DinarError once closed."""
        if self._closed:
            raise DinarError(f"the client of {self.endpoint} is closed; make a new one")

    def offer(self, make: Callable[[int], RenderRequest]) -> int:
        """Puts `make(id)` where the newest request waits; returns its id. Raises InputError."""
        with self.changed:
            self.check_open()
            id = self.next_id
            request = make(id)
            self.waiting = WaitingRequest(id, encode(request), request.pose_time_ns)
            self.next_id += 1
        self._waker.wake()
        return id

    def question(self, avatar: str) -> int:
        """Sends a DESCRIBE; its answer comes to described[the id returned]."""
        with self.changed:
            self.check_open()
            id = self.next_id
            self.next_id += 1
            self._questions.append(encode(Describe(id, avatar)))
            self.described[id] = None
        self._waker.wake()
        return id

    def ping(self, exchanges: int) -> int:
        """Asks for clock comparisons; they are done when `pings` is not above the number returned."""
        with self.changed:
            self.check_open()
            self.pings = max(self.pings, exchanges)
            left = self.pings - exchanges
        self._waker.wake()
        return left

    def newer_than(self, id: int) -> UndecodedFrame | None:
        """The newest frame, if its id is above `id`."""
        return self.latest if self.latest is not None and self.latest.id > id else None

    def raise_failure(self, newer_than: int) -> None:
        """Raises, once, the failure of a request after `newer_than`."""
        if self._failure is not None and self._failure[0] > newer_than:
            id, error = self._failure
            self._failure = None
            self.seen_id = max(self.seen_id, id)
            raise error

    def wait(self, ready: Callable[[], T | None], newer_than: int, timeout: float, what: str) -> T:
        """What `ready()` returns once it is true. Raises the failure of a request after `newer_than`,
        AccessError where the server does not let this client in, or StreamTimeout that begins with `what`."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                self.check_open()
                if value := ready():
                    return value
                self.raise_failure(newer_than)
                if self._refusal is not None and self._refusal in FINAL_REFUSALS:
                    raise AccessError(f"{self.endpoint}: the server {REFUSALS[self._refusal]}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise StreamTimeout(
                        f"{self.endpoint}: {what} within {timeout:g} s; the server {self._state()}"
                    )
                self.changed.wait(left)

    def _state(self) -> str:
        if self._greeted:
            return "is busy, or nothing was asked"
        refused = None if self._refusal is None else REFUSALS.get(self._refusal)
        return refused or "is not there: start it (`dinar serve`)"

    # ---- I/O thread: owns the socket -----------------------------------------------------------------------

    def _run(self) -> None:
        poller = zmq.Poller()
        for socket in (self._socket, self._monitor, self._waker.receiver):
            poller.register(socket, zmq.POLLIN)
        hello_due = sync_due = float("inf")
        while not self._closed:
            events = dict(poller.poll(self._poll_ms()))
            now = time.monotonic()
            self._waker.clear()
            if self._monitor in events:
                event = zmq.Event(recv_monitor_message(self._monitor)["event"])
                hello_due = now if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else float("inf")
                self._greeted = False
                if event != zmq.EVENT_DISCONNECTED:
                    with self.changed:
                        self._refusal = event
                        self.changed.notify_all()
            if self._socket in events:
                self._drain()
            if not self._greeted and now >= hello_due:
                self._transmit(self.hello)
                hello_due, sync_due = now + HELLO_SECONDS, now
            if self._greeted:
                hello_due = now  # at once when the server asks for it
                if now >= sync_due or (self.pings and now - self._pinged_at > PING_SECONDS):
                    self._transmit(encode(Time(0, time.monotonic_ns())))
                    self._pinged_at, sync_due = now, now + TIME_SYNC_SECONDS
                while self._questions and self._transmit(self._questions[0]):
                    self._questions.popleft()
                self._send_waiting()
        if self._greeted:
            self._transmit(encode(Bye()))
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()

    def _transmit(self, data: bytearray) -> bool:
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _poll_ms(self) -> int:
        """Until what waits may go, if only the time between replacements holds it back."""
        with self.changed:
            full = self.waiting is None or not self._greeted or len(self.in_flight) >= self._most
            left = 0.0 if full else self._replaceable_at() - time.monotonic()
        return min(math.ceil(1000 * left), POLL_MS) if left > 0 else POLL_MS

    def _replaceable_at(self) -> float:
        """time.monotonic() from which another request may go, though one is rendered and one waits."""
        return self._sent_at + self._replace_seconds

    def _send_waiting(self) -> None:
        with self.changed:
            now = time.monotonic_ns()
            # An answer that has not come within the timeout was lost with a connection.
            for id in [i for i, s in self.in_flight.items() if now - s.sent_ns > self.timeout * 1e9]:
                del self.in_flight[id]
            if self.waiting is None or len(self.in_flight) >= self._most:
                return
            if len(self.in_flight) >= 2 and time.monotonic() < self._replaceable_at():
                return
            id, data, pose_time_ns = self.waiting
            if self._transmit(data):
                self.in_flight[id] = SentRequest(data, pose_time_ns, now)
                self.waiting = None
                self._sent_at = time.monotonic()

    def _drain(self) -> None:
        while True:
            try:
                part = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            received_ns = time.monotonic_ns()
            with self.changed:
                try:
                    message = decode(part.buffer)
                except ProtocolError as e:
                    self._fail(
                        0,
                        ProtocolError(f"{self.endpoint} sent something else than a dinar-live message: {e}"),
                    )
                else:
                    self._receive(message, received_ns, len(part.buffer))
                self.changed.notify_all()

    def _receive(self, message: Message, received_ns: int, size: int) -> None:
        match message:
            case FrameMessage():
                sent = self.in_flight.pop(message.id, None)
                if self.newer_than(message.id - 1) is None:
                    sent_ns = sent.sent_ns if sent else message.pose_time_ns
                    self.latest = UndecodedFrame(message, sent_ns, received_ns, size)
            case Superseded():
                self.in_flight.pop(message.id, None)
            case ErrorMessage(code=ErrorCode.HELLO_REQUIRED):
                self._greeted = False
            case ErrorMessage() if message.id in self.described:
                self.described[message.id] = RemoteError(f"{self.endpoint}: {message.text}", message.code)
            case ErrorMessage():
                self.in_flight.pop(message.id, None)
                self._fail(message.id, RemoteError(f"{self.endpoint}: {message.text}", message.code))
            case Caps() if message.id:
                if message.id in self.described:  # else nobody waits for it any more
                    self.described[message.id] = message.info
            case Caps():
                self._welcomed(message)
            case Time():
                self.comparison.add(
                    message.client_ns, message.server_recv_ns, message.server_send_ns, received_ns
                )
                self.pings = max(self.pings - 1, 0)
                self._pinged_at = 0.0
            case Bye():
                self._greeted = False

    def _welcomed(self, caps: Caps) -> None:
        """The server has answered HELLO."""
        self.caps = caps.info
        self._replace_seconds = _between_replacements(caps.info)
        self._greeted = True
        if caps.session != self._server:
            self._server = caps.session
            self.comparison.clear()
        # A server that greets has forgotten what came before: the newest request goes again, older ones are
        # void.
        if self.in_flight and self.waiting is None:
            id = max(self.in_flight)
            sent = self.in_flight[id]
            self.waiting = WaitingRequest(id, sent.data, sent.pose_time_ns)
        self.in_flight.clear()

    def _fail(self, id: int, error: DinarError) -> None:
        """Keeps a failure for whoever waits; one without an id concerns the newest request."""
        self._failure = (id or max(self.next_id - 1, 1), error)


def _between_replacements(caps: dict) -> float:
    """Seconds, so that replacements alone stay well below what the server allows."""
    limits = caps.get("limits")
    rate = limits.get("max_rate") if isinstance(limits, dict) else None
    if not isinstance(rate, int | float) or rate <= 0:
        return REPLACE_SECONDS
    return max(REPLACE_SECONDS, 1 / (REPLACE_SHARE * rate))
