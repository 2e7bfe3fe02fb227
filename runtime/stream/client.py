"""Client: poses out, frames in."""

from __future__ import annotations

import os
import time

from dinar_live.runtime.core.errors import DinarError, InputError, StreamTimeout
from dinar_live.runtime.stream.auth.keys import KeyPair, connection_keys
from dinar_live.runtime.stream.protocol.fields import name_bytes
from dinar_live.runtime.stream.protocol.frame_format import FrameFormat
from dinar_live.runtime.stream.protocol.messages import (
    CameraView,
    Hello,
    OpenXRView,
    PoseValues,
    RenderRequest,
    SourceChoice,
)
from dinar_live.runtime.stream.protocol.messages_codec import encode

from .clock import ClockSync
from .connection import NO_REQUEST, Connection
from .received_frame import ReceivedFrame, UndecodedFrame
from .sockets import is_loopback

_DEFAULT = FrameFormat()


class Client:
    """A connection to a Server. Every verb may be called from any thread; one thread inside owns the socket.

    format: how frames come, unless a request says otherwise. avatar: the name of one that the server has,
        "" = its first.
    timeout: seconds to wait for the server, for render() and for a lost answer.
    window: requests on their way at once; a newer one waits for an answer and replaces the one that waited
        before. With 2 or more, one beyond the window may go to the server, at most 250 a second, and replaces
        the one that waits there: the newest pose is there when the renderer is free.
    name: shown in the server's log.
    renderer (an attribute): the name of one of the avatar's, "" = the server's choice; frames then say which it
        was (`rendered`). None, the default = the server's choice, and nothing is said.
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
        self.endpoint = endpoint
        self.format = format
        self.renderer: str | None = None
        self._greeting = {"name": name, "window": window}
        self._avatar = avatar
        self._connection = Connection(
            endpoint,
            self._hello(),
            timeout=timeout,
            window=window,
            keys=connection_keys(server_key, key),
        )
        try:
            self._connection.wait(lambda: self._connection.caps is not None, 0, timeout, "no server answered")
        except BaseException:
            self.close()
            raise

    # ---- verbs ---------------------------------------------------------------------------------------------

    @property
    def timeout(self) -> float:
        """Seconds to wait for the server, for render() and for a lost answer."""
        return self._connection.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._connection.timeout = seconds

    @property
    def capabilities(self) -> dict:
        """What the server said about itself when the client (re)connected."""
        with self._connection.changed:
            return dict(self._connection.caps or {})

    @property
    def clock(self) -> ClockSync | None:
        """How far the server's clock is ahead of this client's, by the best of the recent comparisons; None
        before the first."""
        with self._connection.changed:
            return self._connection.comparison.at(time.monotonic_ns())

    @property
    def clock_offset_ns(self) -> int | None:
        """`clock.offset_ns`, or None."""
        clock = self.clock
        return None if clock is None else clock.offset_ns

    def sync_clock(self, exchanges: int = 8) -> ClockSync:
        """Compares clocks so many times in a row, now. Comparisons also run every two seconds by themselves.
        Raises StreamTimeout."""
        connection = self._connection
        left = connection.ping(exchanges)
        connection.wait(lambda: connection.pings <= left, NO_REQUEST, self.timeout, "no clock comparison")
        clock = self.clock
        if clock is None:  # forgotten at once, because another server has answered
            raise StreamTimeout(f"{self.endpoint}: the server has restarted while clocks were compared")
        return clock

    def pose_age_ms(self, frame: ReceivedFrame) -> float:
        """How old the pose in `frame` was when it was decoded, also where a source of the server gave it."""
        if frame.source_time_ns is None:
            return frame.latency_ms
        clock = self.clock or self.sync_clock(1)
        return (frame.decoded_ns + clock.offset_ns - frame.source_time_ns) / 1e6

    @property
    def avatar(self) -> str:
        """Whose frames are asked for; "" = the server's first."""
        return self._avatar

    def describe(self, avatar: str = "") -> dict:
        """What the server says about one of its avatars ("" = the first), like `capabilities`. Raises
        StreamTimeout, RemoteError."""
        connection = self._connection
        id = connection.question(avatar)
        try:
            told = connection.wait(
                lambda: connection.described[id], NO_REQUEST, self.timeout, "no description"
            )
        finally:
            with connection.changed:
                del connection.described[id]
        if isinstance(told, DinarError):
            raise told
        return told

    def select(self, avatar: str) -> dict:
        """Asks for frames of another avatar from now on; returns what the server says about it. Raises as
        `describe` does."""
        caps = self.describe(avatar)
        with self._connection.changed:
            self._avatar = avatar
            self._connection.caps = caps
            self._connection.hello = self._hello()
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
        """Asks for a frame without waiting; returns the request's id.

        pose: has `body` [55,3], `transl` [3], `expression` [E]; None = a source of the server. camera: has
        `K` [3,3] and `world_to_camera` [4,4], or is an OpenXRView; or a pair of such. size: (height, width),
        default what CameraView and OpenXRView say themselves, or the server's. format: of this frame,
        default the client's. source: without a pose, which of the server's (`sources` in `capabilities`) and
        when. pose_time_ns: the time.monotonic_ns() that latency counts from, default now. Raises InputError.
        """
        now = time.monotonic_ns()
        values = None if pose is None else PoseValues(pose.body, pose.transl, pose.expression)
        cameras = (camera,) if isinstance(camera, OpenXRView) or hasattr(camera, "K") else tuple(camera)
        views = tuple(self._view(c, size) for c in cameras)
        wire_format = (format or self.format).wire
        planned_ns = now if pose_time_ns is None else pose_time_ns
        return self._connection.offer(
            lambda id: RenderRequest(
                id,
                views,
                values,
                wire_format,
                planned_ns,
                source=source,
                avatar=self._avatar,
                renderer=self.renderer,
            )
        )

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
        """Asks for a frame as `send` does and waits for it (or for a newer one that another thread asked
        for meanwhile)."""
        id = self.send(pose, camera, size, format=format, source=source)
        return self._frame_after(id - 1, timeout, f"no frame for request {id}")

    def async_read(self, timeout: float | None = None) -> ReceivedFrame:
        """The next frame that no verb has returned yet. Raises StreamTimeout (a TimeoutError), or RemoteError
        once per refused request."""
        return self._frame_after(None, timeout, "no new frame")

    def read_latest(self) -> ReceivedFrame | None:
        """The newest frame so far, again if there is no newer one; None before the first. Never waits."""
        connection = self._connection
        with connection.changed:
            connection.check_open()
            connection.raise_failure(connection.seen_id)
            arrival = connection.latest
        return None if arrival is None else self._take(arrival)

    def close(self) -> None:
        """Says goodbye and frees the connection. May be called twice."""
        self._connection.close()

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

    def _hello(self) -> bytearray:
        name_bytes("avatar", self._avatar)
        return encode(Hello(self._greeting | ({"avatar": self._avatar} if self._avatar else {})))

    def _frame_after(self, id: int | None, timeout: float | None, what: str) -> ReceivedFrame:
        """Waits for a frame newer than `id`, None = than all that were returned."""
        connection = self._connection
        arrival = connection.wait(
            lambda: connection.newer_than(connection.seen_id if id is None else id),
            connection.seen_id if id is None else id,
            self.timeout if timeout is None else timeout,
            what,
        )
        return self._take(arrival)

    def _take(self, arrival: UndecodedFrame) -> ReceivedFrame:
        with self._connection.changed:
            self._connection.seen_id = max(self._connection.seen_id, arrival.id)
        return arrival.frame()
