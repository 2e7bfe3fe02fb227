"""Client: poses out, pictures in."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import NamedTuple

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
from dinar_live.runtime.stream.auth.keys import KeyPair, read_public
from dinar_live.runtime.stream.auth.zap import FINAL_REFUSALS, REFUSALS, present
from dinar_live.runtime.stream.protocol.fields import name_bytes
from dinar_live.runtime.stream.protocol.frame_format import FrameFormat
from dinar_live.runtime.stream.protocol.messages import (
    Bye,
    CameraView,
    Caps,
    Describe,
    ErrorMessage,
    FrameMessage,
    Hello,
    OpenXRView,
    PoseValues,
    RenderRequest,
    SourceChoice,
    Superseded,
    Time,
)
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode
from dinar_live.runtime.stream.protocol.wire import ErrorCode

from .clock import ClockComparison, ClockSync
from .received_frame import ReceivedFrame, UndecodedFrame
from .sockets import Waker, is_loopback, make_socket

_MAX_MESSAGE = 512 << 20
_TIME_SYNC_SECONDS = 2.0  # also what keeps an idle client in the server's table
_PING_SECONDS = 0.5  # after which a clock comparison counts as lost
_HELLO_SECONDS = 1.0
_POLL_MS = 100
_NO_REQUEST = (
    1 << 64
)  # as the id that failures are to be newer than: those of requests are others' to be told
_DEFAULT = FrameFormat()


class _Sent(NamedTuple):
    data: bytearray
    pose_time_ns: int
    sent_ns: int


class Client:
    """A connection to a Server. Every verb may be called from any thread; one thread inside owns the socket.

    format: how pictures come, unless a request says otherwise. avatar: the name of one that the server has,
        "" = its first.
    timeout: seconds to wait for the server, for render() and for a lost answer.
    window: requests on their way at once; a newer one waits for an answer and replaces the one that waited
        before.
    name: shown in the server's log.
    server_key: the server's public key (40 characters or a .pub file). key: this client's own pair (a .key
        file or a KeyPair).
    Both or none: a server with keys answers nobody else, and with them everything is encrypted.

    After a restart of the server the client reconnects by itself, says hello and sends its newest request
    again. Raises StreamTimeout where nobody answers, AccessError where the server does not let this client
    in, RemoteError where it refuses a request.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        format: FrameFormat = _DEFAULT,
        avatar: str = "",
        timeout: float = 5.0,
        window: int = 1,
        name: str = "dinar-live",
        server_key: str | os.PathLike | None = None,
        key: KeyPair | str | os.PathLike | None = None,
    ):
        if not 1 <= window <= 8:
            raise InputError(f"window: got {window}, expected 1..8")
        is_loopback(endpoint)  # refuses what is no endpoint
        if (server_key is None) != (key is None):
            raise InputError(
                "server_key and key: got one of them, expected both (a server with keys) or none"
            )
        self.endpoint, self.timeout, self.format, self._window = endpoint, timeout, format, window
        self._greeting, self._avatar = {"name": name, "window": window}, avatar
        self._hello = self._make_hello()
        self._changed = threading.Condition()
        self._caps: dict | None = None
        self._greeted = self._closed = False
        self._server = 0  # the session number of the server that greeted last
        self._next_id, self._seen_id = 1, 0
        self._waiting: tuple[int, bytearray, int] | None = None
        self._in_flight: dict[int, _Sent] = {}
        self._latest: UndecodedFrame | None = None
        self._failure: tuple[int, DinarError] | None = None
        self._refusal = 0  # the event by which the last handshake failed
        self._comparison = ClockComparison()
        self._pings, self._pinged_at = (
            0,
            0.0,
        )  # clock comparisons still wanted; when the last one left, 0 = it is answered
        self._questions: deque[bytearray] = deque()  # DESCRIBE messages that have not left
        self._described: dict[int, dict | DinarError | None] = {}
        self._context = zmq.Context()
        self._socket = make_socket(
            self._context, zmq.DEALER, send_queue=16, receive_queue=0, max_message=_MAX_MESSAGE
        )
        if key is not None:
            try:
                present(
                    self._socket,
                    read_public(server_key),
                    key if isinstance(key, KeyPair) else KeyPair.load(key),
                )
            except BaseException:
                self._context.destroy(linger=0)
                raise
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | sum(REFUSALS)
        )
        self._waker = Waker(self._context)
        self._thread = threading.Thread(target=self._io, name="dinar-client", daemon=True)
        try:
            self._socket.setsockopt(zmq.IPV6, "[" in endpoint)
            self._socket.connect(endpoint)
        except zmq.ZMQError as e:
            self._waker.close()
            self._monitor.close(0)
            self._context.destroy(linger=0)
            raise InputError(f"endpoint: cannot connect to {endpoint}: {e.strerror}") from None
        self._thread.start()
        try:
            self._wait(lambda: self._caps is not None, 0, timeout, "no server answered")
        except BaseException:
            self.close()
            raise

    # ---- verbs ---------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> dict:
        """What the server said about itself when the client (re)connected."""
        with self._changed:
            return dict(self._caps)

    @property
    def clock(self) -> ClockSync | None:
        """How far the server's clock is ahead of this client's, by the best of the recent comparisons; None
        before the first."""
        with self._changed:
            return self._comparison.at(time.monotonic_ns())

    @property
    def clock_offset_ns(self) -> int | None:
        """`clock.offset_ns`, or None."""
        clock = self.clock
        return None if clock is None else clock.offset_ns

    def sync_clock(self, exchanges: int = 8) -> ClockSync:
        """Compares clocks so many times in a row, now. Comparisons also run every two seconds by themselves.
        Raises StreamTimeout."""
        with self._changed:
            self._check_open()
            wanted = self._pings = max(self._pings, exchanges)
        self._waker.wake()
        self._wait(
            lambda: self._pings <= wanted - exchanges, _NO_REQUEST, self.timeout, "no clock comparison"
        )
        return self.clock

    def pose_age_ms(self, frame: ReceivedFrame) -> float:
        """How old the pose in `frame` was when it was decoded, also where a source of the server gave it."""
        if frame.source_time_ns is None:
            return frame.latency_ms
        clock = self.clock or self.sync_clock(1)
        return (frame.decoded_ns + clock.offset_ns - frame.source_time_ns) / 1e6

    @property
    def avatar(self) -> str:
        """Whose pictures are asked for; "" = the server's first."""
        return self._avatar

    def describe(self, avatar: str = "") -> dict:
        """What the server says about one of its avatars ("" = the first), like `capabilities`. Raises
        StreamTimeout, RemoteError."""
        with self._changed:
            self._check_open()
            id, self._next_id = self._next_id, self._next_id + 1
            self._questions.append(encode(Describe(id, avatar)))
            self._described[id] = None
        self._waker.wake()
        try:
            told = self._wait(lambda: self._described[id], _NO_REQUEST, self.timeout, "no description")
        finally:
            with self._changed:
                del self._described[id]
        if isinstance(told, DinarError):
            raise told
        return told

    def select(self, avatar: str) -> dict:
        """Asks for pictures of another avatar from now on; returns what the server says about it. Raises as
        `describe` does."""
        caps = self.describe(avatar)
        with self._changed:
            self._avatar, self._caps = avatar, caps
            self._hello = self._make_hello()
        return dict(caps)

    def send(
        self,
        pose,
        camera,
        size: tuple[int, int] | None = None,
        *,
        format: FrameFormat | None = None,
        source: SourceChoice | None = None,
        pose_time_ns: int | None = None,
    ) -> int:
        """Asks for a picture without waiting; returns the request's id.

        pose: has `body` [55,3], `transl` [3], `expression` [E]; None = a source of the server. camera: has
        `K` [3,3] and `world_to_camera` [4,4], or is an OpenXRView; or a pair of such. size: (height, width),
        default what CameraView and OpenXRView say themselves, or the server's. format: of this picture,
        default the client's. source: without a pose, which of the server's (`sources` in `capabilities`) and
        when. pose_time_ns: the time.monotonic_ns() that latency counts from, default now. Raises InputError.
        """
        now = time.monotonic_ns()
        values = None if pose is None else PoseValues(pose.body, pose.transl, pose.expression)
        cameras = (camera,) if isinstance(camera, OpenXRView) or hasattr(camera, "K") else tuple(camera)
        views = tuple(self._view(c, size) for c in cameras)
        with self._changed:
            self._check_open()
            id = self._next_id
            planned_ns = now if pose_time_ns is None else pose_time_ns
            data = encode(
                RenderRequest(
                    id,
                    views,
                    values,
                    (format or self.format).wire,
                    planned_ns,
                    source=source,
                    avatar=self._avatar,
                )
            )
            self._next_id += 1
            self._waiting = id, data, planned_ns
        self._waker.wake()
        return id

    def render(
        self,
        pose,
        camera,
        size: tuple[int, int] | None = None,
        *,
        format: FrameFormat | None = None,
        source: SourceChoice | None = None,
        timeout: float | None = None,
    ) -> ReceivedFrame:
        """Asks for a picture as `send` does and waits for it (or for a newer one that another thread asked
        for meanwhile)."""
        id = self.send(pose, camera, size, format=format, source=source)
        timeout = self.timeout if timeout is None else timeout
        return self._take(
            self._wait(lambda: self._newer_than(id - 1), id - 1, timeout, f"no frame for request {id}")
        )

    def async_read(self, timeout: float | None = None) -> ReceivedFrame:
        """The next frame that no verb has returned yet. Raises StreamTimeout (a TimeoutError), or RemoteError
        once per refused request."""
        timeout = self.timeout if timeout is None else timeout
        return self._take(
            self._wait(lambda: self._newer_than(self._seen_id), self._seen_id, timeout, "no new frame")
        )

    def read_latest(self) -> ReceivedFrame | None:
        """The newest frame so far, again if there is no newer one; None before the first. Never waits."""
        with self._changed:
            self._check_open()
            self._raise_failure(self._seen_id)
            arrival = self._latest
        return None if arrival is None else self._take(arrival)

    def close(self) -> None:
        """Says goodbye and frees the connection. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._waker.wake()
        self._thread.join()
        self._waker.close()
        self._context.term()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _view(self, camera, size: tuple[int, int] | None) -> CameraView | OpenXRView:
        whole = isinstance(camera, CameraView | OpenXRView)
        if size is None:
            if whole:
                return camera
            size = self.capabilities.get("size") or (512, 512)
        try:
            height, width = size
        except (TypeError, ValueError):
            raise InputError(f"size: got {size!r}, expected (height, width) in pixels") from None
        return (
            camera._replace(width=width, height=height)
            if whole
            else CameraView(camera.K, camera.world_to_camera, width, height)
        )

    def _make_hello(self) -> bytearray:
        name_bytes("avatar", self._avatar)
        return encode(Hello(self._greeting | ({"avatar": self._avatar} if self._avatar else {})))

    # ---- waiting -------------------------------------------------------------------------------------------

    def _newer_than(self, id: int) -> UndecodedFrame | None:
        return self._latest if self._latest is not None and self._latest.id > id else None

    def _check_open(self) -> None:
        if self._closed:
            raise DinarError(f"the client of {self.endpoint} is closed; make a new one")

    def _raise_failure(self, newer_than: int) -> None:
        if self._failure is not None and self._failure[0] > newer_than:
            id, error = self._failure
            self._failure, self._seen_id = None, max(self._seen_id, id)
            raise error

    def _wait(self, ready, newer_than: int, timeout: float, what: str):
        """What `ready()` returns once it is true; raises a failure of a request after `newer_than`, or
        StreamTimeout."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                self._check_open()
                if value := ready():
                    return value
                self._raise_failure(newer_than)
                if self._refusal in FINAL_REFUSALS:
                    raise AccessError(f"{self.endpoint}: the server {REFUSALS[self._refusal]}")
                left = deadline - time.monotonic()
                if left <= 0:
                    state = (
                        "is busy, or nothing was asked"
                        if self._greeted
                        else REFUSALS.get(self._refusal, "is not there: start it (`dinar serve`)")
                    )
                    raise StreamTimeout(f"{self.endpoint}: {what} within {timeout:g} s; the server {state}")
                self._changed.wait(left)

    def _take(self, arrival: UndecodedFrame) -> ReceivedFrame:
        with self._changed:
            self._seen_id = max(self._seen_id, arrival.id)
        return arrival.frame()

    # ---- I/O thread: owns the socket -----------------------------------------------------------------------

    def _io(self) -> None:
        poller = zmq.Poller()
        for socket in (self._socket, self._monitor, self._waker.receiver):
            poller.register(socket, zmq.POLLIN)
        hello_due = sync_due = float("inf")
        while not self._closed:
            events = dict(poller.poll(_POLL_MS))
            now = time.monotonic()
            self._waker.clear()
            if self._monitor in events:
                event = recv_monitor_message(self._monitor)["event"]
                hello_due = now if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else float("inf")
                self._greeted = False
                if event != zmq.EVENT_DISCONNECTED:
                    with self._changed:
                        self._refusal = event
                        self._changed.notify_all()
            if self._socket in events:
                self._drain()
            if not self._greeted and now >= hello_due:
                self._transmit(self._hello)
                hello_due, sync_due = now + _HELLO_SECONDS, now
            if self._greeted:
                hello_due = now  # at once when the server asks for it
                if now >= sync_due or (self._pings and now - self._pinged_at > _PING_SECONDS):
                    self._transmit(encode(Time(0, time.monotonic_ns())))
                    self._pinged_at, sync_due = now, now + _TIME_SYNC_SECONDS
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

    def _send_waiting(self) -> None:
        with self._changed:
            now = time.monotonic_ns()
            # An answer that has not come within the timeout was lost with a connection.
            for id in [i for i, s in self._in_flight.items() if now - s.sent_ns > self.timeout * 1e9]:
                del self._in_flight[id]
            if self._waiting is None or len(self._in_flight) >= self._window:
                return
            id, data, planned_ns = self._waiting
            if self._transmit(data):
                self._in_flight[id] = _Sent(data, planned_ns, now)
                self._waiting = None

    def _drain(self) -> None:
        while True:
            try:
                part = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            received_ns = time.monotonic_ns()
            with self._changed:
                try:
                    message = decode(part.buffer)
                except ProtocolError as e:
                    self._fail(
                        0,
                        ProtocolError(f"{self.endpoint} sent something else than a dinar-live message: {e}"),
                    )
                else:
                    self._receive(message, received_ns, len(part.buffer))
                self._changed.notify_all()

    def _receive(self, message, received_ns: int, size: int) -> None:
        match message:
            case FrameMessage():
                sent = self._in_flight.pop(message.id, None)
                if self._newer_than(message.id - 1) is None:
                    self._latest = UndecodedFrame(
                        message, sent.sent_ns if sent else message.pose_time_ns, received_ns, size
                    )
            case Superseded():
                self._in_flight.pop(message.id, None)
            case ErrorMessage(code=ErrorCode.HELLO_REQUIRED):
                self._greeted = False
            case ErrorMessage() if message.id in self._described:
                self._described[message.id] = RemoteError(f"{self.endpoint}: {message.text}", message.code)
            case ErrorMessage():
                self._in_flight.pop(message.id, None)
                self._fail(message.id, RemoteError(f"{self.endpoint}: {message.text}", message.code))
            case Caps() if message.id:
                if message.id in self._described:  # else nobody waits for it any more
                    self._described[message.id] = message.info
            case Caps():
                self._caps, self._greeted = message.info, True
                if message.session != self._server:
                    self._server = message.session
                    self._comparison.clear()
                # A server that greets has forgotten what came before: the newest request goes again, older
                # ones are void.
                if self._in_flight and self._waiting is None:
                    id = max(self._in_flight)
                    self._waiting = id, self._in_flight[id].data, self._in_flight[id].pose_time_ns
                self._in_flight.clear()
            case Time():
                self._comparison.add(
                    message.client_ns, message.server_recv_ns, message.server_send_ns, received_ns
                )
                self._pings, self._pinged_at = max(self._pings - 1, 0), 0.0
            case Bye():
                self._greeted = False

    def _fail(self, id: int, error: DinarError) -> None:
        """Keeps a failure for whoever waits; one without an id concerns the newest request."""
        self._failure = id or max(self._next_id - 1, 1), error
