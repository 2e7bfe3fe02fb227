"""Client: poses out, pictures in."""
from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from ..errors import AccessError, DinarError, InputError, ProtocolError, RemoteError, StreamTimeout
from .codec import PixelView, decode_view
from .keys import KeyPair, read_public
from .messages import (
    DEFLATE_PLANE,
    JPEG,
    NO_PLANE,
    RAW,
    Bye,
    CameraView,
    Caps,
    ErrorMessage,
    Format,
    FrameMessage,
    Hello,
    PoseValues,
    RenderRequest,
    SourceChoice,
    Superseded,
    Time,
)
from .protocol import decode, encode
from .sockets import Waker, is_loopback, make_socket
from .wire import ErrorCode
from .zap import present

_MAX_MESSAGE = 512 << 20
_TIME_SYNC_SECONDS = 2.0        # also what keeps an idle client in the server's table
_TIME_SAMPLES = 16
_HELLO_SECONDS = 1.0
_POLL_MS = 100
_ENCODINGS = {"jpeg": JPEG, "raw": RAW}
# How a handshake can fail, and what that says about the server. The last one also happens to a connection that breaks in the middle of it.
_REFUSALS = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "does not let this key in; on its machine, `dinar keys add` does that",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "and this client do not agree on keys: give both server_key and key for a server that was started "
                                         "with --curve, none for another",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "hangs up on this client; is server_key the one that it prints?",
}
_FINAL_REFUSALS = (zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture. Times in nanoseconds; those of the server are on its own clock (see Client.clock_offset_ns).

    rgba: u8[H,W,4], premultiplied unless straight was asked for. depth: f32[H,W] metres, 0 = nothing, or None.
    views: rgba and depth of every camera; `rgba` and `depth` are the first one's.
    pose_time_ns: when the pose was taken (or planned to be sent), sent_ns: when the request left, received_ns, decoded_ns.
    timings: the server's stages in ms.
    """

    id: int
    views: tuple[PixelView, ...] = field(repr=False)
    pose_time_ns: int
    timings: dict[str, float]
    sent_ns: int
    server_recv_ns: int
    server_send_ns: int
    received_ns: int
    decoded_ns: int
    bytes: int

    @property
    def rgba(self) -> np.ndarray:
        return self.views[0].rgba

    @property
    def depth(self) -> np.ndarray | None:
        return self.views[0].depth

    @property
    def latency_ms(self) -> float:
        """From pose_time_ns to decoded, on the client's clock."""
        return (self.decoded_ns - self.pose_time_ns) / 1e6


class _Sent(NamedTuple):
    data: bytearray
    pose_time_ns: int
    sent_ns: int


class _Arrival:
    """A frame as it came in; decoded by the first reader, outside of the I/O thread, so that frames nobody reads cost nothing."""

    def __init__(self, message: FrameMessage, sent_ns: int, received_ns: int, size: int):
        self.id, self._message, self._sent_ns, self._received_ns, self._size = message.id, message, sent_ns, received_ns, size
        self._lock, self._frame = threading.Lock(), None

    def frame(self) -> Frame:
        with self._lock:
            if self._frame is None:
                m = self._message
                views = tuple(decode_view(v, m.straight) for v in m.views)
                self._frame = Frame(m.id, views, m.pose_time_ns, m.timings, self._sent_ns, m.server_recv_ns, m.server_send_ns,
                                    self._received_ns, time.monotonic_ns(), self._size)
            return self._frame


class Client:
    """A connection to a Server. Every verb may be called from any thread; one thread inside owns the socket.

    timeout: seconds to wait for the server, for render() and for a lost answer.
    window: requests on their way at once; a newer one waits for an answer and replaces the one that waited before.
    encoding: "jpeg" (colour lossy, alpha exact) or "raw". quality: of the JPEG, 1..100. depth: ask for depth too.
    straight: colour not multiplied by alpha. name: shown in the server's log.
    server_key: the server's public key (40 characters or a .pub file). key: this client's own pair (a .key file or a KeyPair).
    Both or none: a server with keys answers nobody else, and with them everything is encrypted.

    After a restart of the server the client reconnects by itself, says hello and sends its newest request again.
    Raises StreamTimeout where nobody answers, AccessError where the server does not let this client in, RemoteError where it refuses
    a request.
    """

    def __init__(self, endpoint: str, *, timeout: float = 5.0, window: int = 1, encoding: str = "jpeg", quality: int = 85,
                 depth: bool = False, straight: bool = False, name: str = "dinar-live", server_key: str | os.PathLike | None = None,
                 key: KeyPair | str | os.PathLike | None = None):
        if encoding not in _ENCODINGS:
            raise InputError(f"encoding: got {encoding!r}, expected one of {sorted(_ENCODINGS)}")
        if not 1 <= window <= 8:
            raise InputError(f"window: got {window}, expected 1..8")
        if not 1 <= quality <= 100:
            raise InputError(f"quality: got {quality}, expected 1..100")
        is_loopback(endpoint)       # refuses what is no endpoint
        if (server_key is None) != (key is None):
            raise InputError("server_key and key: got one of them, expected both (a server with keys) or none")
        color = _ENCODINGS[encoding]
        self._format = Format(color, quality, DEFLATE_PLANE if color == JPEG else NO_PLANE, DEFLATE_PLANE if depth else NO_PLANE, straight)
        self.endpoint, self.timeout, self._window = endpoint, timeout, window
        self._hello = encode(Hello({"name": name, "window": window}))
        self._changed = threading.Condition()
        self._caps: dict | None = None
        self._greeted = self._closed = False
        self._next_id, self._seen_id = 1, 0
        self._waiting: tuple[int, bytearray, int] | None = None
        self._in_flight: dict[int, _Sent] = {}
        self._latest: _Arrival | None = None
        self._failure: tuple[int, DinarError] | None = None
        self._refusal = 0       # the event by which the last handshake failed
        self._clock: list[tuple[int, int]] = []
        self._context = zmq.Context()
        self._socket = make_socket(self._context, zmq.DEALER, send_queue=16, receive_queue=16, max_message=_MAX_MESSAGE)
        if key is not None:
            try:
                present(self._socket, read_public(server_key), key if isinstance(key, KeyPair) else KeyPair.load(key))
            except BaseException:
                self._context.destroy(linger=0)
                raise
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | sum(_REFUSALS))
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

    # ---- verbs --------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> dict:
        """What the server said about itself when the client (re)connected."""
        with self._changed:
            return dict(self._caps)

    @property
    def clock_offset_ns(self) -> int | None:
        """The server's clock minus this client's, from the quickest of the recent comparisons; None before the first."""
        with self._changed:
            return min(self._clock)[1] if self._clock else None

    def send(self, pose, camera, size: tuple[int, int] | None = None, *, pose_time_ns: int | None = None,
             source: SourceChoice | None = None) -> int:
        """Asks for a picture without waiting; returns the request's id.

        pose: has `body` [55,3], `transl` [3], `expression` [E]; None = the server's own source. camera: has `K` [3,3] and
        `world_to_camera` [4,4], or a pair of such. size: (height, width), default the server's. pose_time_ns: the time.monotonic_ns()
        that latency counts from, default now. source: without a pose, which of the server's sources and when. Raises InputError.
        """
        now = time.monotonic_ns()
        values = None if pose is None else PoseValues(pose.body, pose.transl, pose.expression)
        size = size or self.capabilities.get("size") or (512, 512)
        try:
            height, width = size
        except (TypeError, ValueError):
            raise InputError(f"size: got {size!r}, expected (height, width) in pixels") from None
        cameras = (camera,) if hasattr(camera, "K") else tuple(camera)
        views = tuple(CameraView(c.K, c.world_to_camera, width, height) for c in cameras)
        with self._changed:
            self._check_open()
            id = self._next_id
            planned_ns = now if pose_time_ns is None else pose_time_ns
            data = encode(RenderRequest(id, views, values, self._format, planned_ns, source=source))
            self._next_id += 1
            self._waiting = id, data, planned_ns
        self._waker.wake()
        return id

    def render(self, pose, camera, size: tuple[int, int] | None = None, *, timeout: float | None = None) -> Frame:
        """Asks for a picture and waits for it (or for a newer one that another thread asked for meanwhile)."""
        id = self.send(pose, camera, size)
        timeout = self.timeout if timeout is None else timeout
        return self._take(self._wait(lambda: self._newer_than(id - 1), id - 1, timeout, f"no frame for request {id}"))

    def async_read(self, timeout: float | None = None) -> Frame:
        """The next frame that no verb has returned yet. Raises StreamTimeout (a TimeoutError), or RemoteError once per refused request."""
        timeout = self.timeout if timeout is None else timeout
        return self._take(self._wait(lambda: self._newer_than(self._seen_id), self._seen_id, timeout, "no new frame"))

    def read_latest(self) -> Frame | None:
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

    # ---- waiting ------------------------------------------------------------------------------------------------

    def _newer_than(self, id: int) -> _Arrival | None:
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
        """What `ready()` returns once it is true; raises a failure of a request after `newer_than`, or StreamTimeout."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                self._check_open()
                if value := ready():
                    return value
                self._raise_failure(newer_than)
                if self._refusal in _FINAL_REFUSALS:
                    raise AccessError(f"{self.endpoint}: the server {_REFUSALS[self._refusal]}")
                left = deadline - time.monotonic()
                if left <= 0:
                    state = "is busy, or nothing was asked" if self._greeted else _REFUSALS.get(
                        self._refusal, "is not there: start it (`dinar serve`)")
                    raise StreamTimeout(f"{self.endpoint}: {what} within {timeout:g} s; the server {state}")
                self._changed.wait(left)

    def _take(self, arrival: _Arrival) -> Frame:
        with self._changed:
            self._seen_id = max(self._seen_id, arrival.id)
        return arrival.frame()

    # ---- I/O thread: owns the socket ----------------------------------------------------------------------------

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
                hello_due = now         # at once when the server asks for it
                if now >= sync_due:
                    self._transmit(encode(Time(0, time.monotonic_ns())))
                    sync_due = now + _TIME_SYNC_SECONDS
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
                    self._fail(0, ProtocolError(f"{self.endpoint} sent something else than a dinar-live message: {e}"))
                else:
                    self._receive(message, received_ns, len(part.buffer))
                self._changed.notify_all()

    def _receive(self, message, received_ns: int, size: int) -> None:
        match message:
            case FrameMessage():
                sent = self._in_flight.pop(message.id, None)
                if self._newer_than(message.id - 1) is None:
                    self._latest = _Arrival(message, sent.sent_ns if sent else message.pose_time_ns, received_ns, size)
            case Superseded():
                self._in_flight.pop(message.id, None)
            case ErrorMessage(code=ErrorCode.HELLO_REQUIRED):
                self._greeted = False
            case ErrorMessage():
                self._in_flight.pop(message.id, None)
                self._fail(message.id, RemoteError(f"{self.endpoint}: {message.text}", message.code))
            case Caps():
                self._caps, self._greeted = message.info, True
                # A server that greets has forgotten what came before: the newest request goes again, older ones are void.
                if self._in_flight and self._waiting is None:
                    id = max(self._in_flight)
                    self._waiting = id, self._in_flight[id].data, self._in_flight[id].pose_time_ns
                self._in_flight.clear()
            case Time():
                round_trip = received_ns - message.client_ns - (message.server_send_ns - message.server_recv_ns)
                offset = (message.server_recv_ns - message.client_ns + message.server_send_ns - received_ns) // 2
                self._clock = [*self._clock[1 - _TIME_SAMPLES:], (round_trip, offset)]
            case Bye():
                self._greeted = False

    def _fail(self, id: int, error: DinarError) -> None:
        """Keeps a failure for whoever waits; one without an id concerns the newest request."""
        self._failure = id or max(self._next_id - 1, 1), error
