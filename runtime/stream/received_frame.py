"""ReceivedFrame: one frame as a program gets it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.core.notebook_png import notebook_png
from dinar_live.runtime.stream.protocol.image_codec import DecodedView, decode_view
from dinar_live.runtime.stream.protocol.messages import CameraView, FrameMessage, OpenXRView, Rendered


@dataclass(frozen=True, eq=False)
class ReceivedFrame:
    """One frame. Times in nanoseconds; those of the server are on its own clock (see Client.clock).

    rgba: u8[H,W,4], premultiplied unless straight was asked for. depth: f32[H,W] metres, 0 = nothing, or
        None.
    views: rgba and depth of every camera; `rgba` and `depth` are the first one's. cameras: those that were
        rendered, as asked for.
    pose_time_ns: when the pose was taken (or planned to be sent), sent_ns: when the request left,
        received_ns, decoded_ns.
    source_time_ns: when a source of the server gave the pose, on the server's clock; None where the client
        did.
    timings: the server's stages in ms. rendered: the avatar's renderer that made it and at what part of the size,
        where the request named one or asked by renderer="". straight: unmultiplied colour, as asked.
    """

    id: int
    views: tuple[DecodedView, ...] = field(repr=False)
    pose_time_ns: int
    timings: dict[str, float]
    sent_ns: int
    server_recv_ns: int
    server_send_ns: int
    received_ns: int
    decoded_ns: int
    bytes: int
    cameras: tuple[CameraView | OpenXRView, ...] = field(default=(), repr=False)
    source_time_ns: int | None = None
    rendered: Rendered | None = None
    straight: bool = False

    def __repr__(self) -> str:
        views = ", ".join(f"{v.rgba.shape[1]}x{v.rgba.shape[0]} px" for v in self.views)
        return f"ReceivedFrame({self.id}, views {views or 'none'}, latency {self.latency_ms:.1f} ms)"

    def _repr_png_(self) -> bytes:
        """The first view as PNG, by which notebooks show it."""
        return notebook_png(self.rgba, self.straight)

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


class UndecodedFrame:
    """A frame as it came in; decoded by the first reader, outside of the I/O thread, so that frames nobody
    reads cost nothing."""

    def __init__(self, message: FrameMessage, sent_ns: int, received_ns: int, size: int):
        self.id = message.id
        self._message = message
        self._sent_ns = sent_ns
        self._received_ns = received_ns
        self._size = size
        self._lock = threading.Lock()
        self._frame: ReceivedFrame | None = None

    def frame(self) -> ReceivedFrame:
        """The decoded frame. Raises ProtocolError."""
        with self._lock:
            if self._frame is None:
                m = self._message
                views = tuple(decode_view(v, m.straight, m.background) for v in m.views)
                self._frame = ReceivedFrame(
                    m.id,
                    views,
                    m.pose_time_ns,
                    m.timings,
                    self._sent_ns,
                    m.server_recv_ns,
                    m.server_send_ns,
                    self._received_ns,
                    time.monotonic_ns(),
                    self._size,
                    tuple(v.camera for v in m.views),
                    m.source_time_ns,
                    m.rendered,
                    m.straight,
                )
            return self._frame
