"""Gateway: serves the page and sends the newest picture to whoever watches it."""
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ..errors import DinarError, InputError
from ..stream import RenderRequest
from .http import Pages
from .idle import IdleDriver
from .picture import BACKDROPS, PictureEncoder

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_VIEWERS = 16
MAX_MESSAGE = 256           # bytes; all a viewer says is which frame it drew and what it wants
_RATE_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
_BAD_MESSAGE = 1008         # WebSocket close code: policy violation


class _Viewer:
    """One open page: a new frame goes to it when it has drawn the one before (`ready`) and watches."""

    __slots__ = ("backdrop", "latency_ms", "outgoing", "ready", "sent", "watching", "woken")

    def __init__(self):
        self.backdrop, self.watching, self.ready = "light", True, True
        self.sent: tuple[int, float, float] | None = None       # id, when it was rendered, milliseconds from its request to there
        self.latency_ms: float | None = None
        self.outgoing: list[str | bytes] = []
        self.woken = asyncio.Event()

    def put(self, message: str | bytes) -> None:
        self.outgoing.append(message)
        self.woken.set()


class Gateway:
    """The page to watch, on the loopback address only.

    info: JSON shown on the page (name, description, endpoint). port: 0 picks a free one.

    Pages get JPEGs over a WebSocket; each says when it has drawn one, and only then gets the next, the newest of that time. So a slow
    viewer delays nobody. start() raises DinarError where the port cannot be used.
    """

    def __init__(self, info: Mapping, *, port: int = 8080):
        if not 0 <= port < 65536:
            raise InputError(f"page port: got {port}, expected 0..65535 (0 picks a free one)")
        self.port = port
        self._info = dict(info)
        self._pages = Pages()
        self._viewers: set[_Viewer] = set()
        self._watched = self._want = self._busy = self._closed = False
        self._problem = ""
        self._lock = threading.Lock()
        self._rgba = np.empty((0, 0, 4), np.uint8)
        self._encoder = PictureEncoder()
        self._rendered = self._sent_id = 0
        self._rate: deque[tuple[float, int]] = deque()
        self._idle: IdleDriver | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}/"

    # ---- life ---------------------------------------------------------------------------------------------------

    def start(self) -> Gateway:
        """Opens the port and starts the thread."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, self.port))
            listener.listen()
        except OSError as e:
            listener.close()
            raise DinarError(f"cannot serve the page on {self.url}: {e.strerror}. Choose another port (--page-port, 0 picks a free one) "
                             "or do without (--no-page)") from None
        self.port = listener.getsockname()[1]
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dinar-page-encode")
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(listener, started)), name="dinar-page", daemon=True)
        self._thread.start()
        started.wait(_CLOSE_SECONDS)
        return self

    def describe(self, info: Mapping) -> None:
        """Adds to what the page says about the server."""
        self._info = {**self._info, **info}
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._tell, self._hello())

    def drive_idle(self, endpoint: str, camera: Callable, access: Mapping | None = None) -> None:
        """While someone watches and no client drives, ask the server at `endpoint` for frames without a pose, seen by `camera()`.
        access: the keys for it, as keyword arguments of Client."""
        self._idle = IdleDriver(endpoint, camera, lambda: self._watched, self._report, access)

    def close(self) -> None:
        """Says goodbye to the pages and frees the port. Frames offered later are ignored."""
        if self._idle is not None:
            self._idle.close()
        with self._lock:
            if self._closed or self._thread is None:
                return
            self._closed, self._want = True, False
            self._loop.call_soon_threadsafe(self._finished.set)
        self._thread.join(_CLOSE_SECONDS)
        self._pool.shutdown()

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *exc) -> None:
        self.close()

    # ---- render thread ------------------------------------------------------------------------------------------

    def offer(self, rgba: np.ndarray, request: RenderRequest, timings: Mapping[str, float]) -> None:
        """The server's on_frame: copies the picture u8[H,W,4] if a viewer waits for one, else returns at once."""
        idle = self._idle is not None and self._idle.owns(request.pose_time_ns)
        self._rendered += 1
        if not self._want:
            return
        with self._lock:
            if not self._want:
                return
            self._want, self._busy = False, True
        if self._rgba.shape != rgba.shape:
            self._rgba = np.empty_like(rgba)
        np.copyto(self._rgba, rgba)
        header = {"driver": "idle" if idle else "client", "straight": request.format.straight, "timings": dict(timings),
                  "at": time.monotonic()}
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._encode, header)

    # ---- page thread --------------------------------------------------------------------------------------------

    async def _main(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop, self._finished = asyncio.get_running_loop(), asyncio.Event()
        quiet = logging.getLogger("dinar_live.viewer.websockets")
        quiet.setLevel(logging.CRITICAL)        # what a stranger sends to the port is no news
        async with serve(self._connected, sock=listener, process_request=lambda _, request: self._pages.answer(request), compression=None,
                         max_size=MAX_MESSAGE, max_queue=8, open_timeout=5, close_timeout=1, server_header="dinar-live", logger=quiet):
            started.set()
            await self._finished.wait()

    async def _connected(self, connection: ServerConnection) -> None:
        if len(self._viewers) >= MAX_VIEWERS:
            await connection.close(1013, "too many pages are open")
            return
        viewer = _Viewer()
        viewer.put(self._hello())
        if self._problem:
            viewer.put(_problem_message(self._problem))
        self._viewers.add(viewer)
        self._update()
        sender = asyncio.create_task(self._send(connection, viewer))
        try:
            async for message in connection:
                if not self._heard(viewer, message):
                    await connection.close(_BAD_MESSAGE, "not a message of the page")
        except ConnectionClosed:
            pass        # a page that vanished
        finally:
            self._viewers.discard(viewer)
            self._update()
            sender.cancel()

    async def _send(self, connection: ServerConnection, viewer: _Viewer) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await viewer.woken.wait()
                viewer.woken.clear()
                messages, viewer.outgoing = viewer.outgoing, []
                for message in messages:
                    await connection.send(message)

    def _heard(self, viewer: _Viewer, text: str | bytes) -> bool:
        """Takes {"drawn": id}, {"watch": bool} or {"backdrop": name}; False for anything else."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return False
        match message:
            case {"drawn": int(id)}:
                if viewer.sent is not None and id == viewer.sent[0]:
                    _, at, before_ms = viewer.sent
                    viewer.latency_ms = before_ms + (time.monotonic() - at) * 1e3
                    viewer.ready, viewer.sent = True, None
            case {"watch": bool(watching)}:
                viewer.watching = watching
            case {"backdrop": str(name)} if name in BACKDROPS:
                viewer.backdrop = name
            case _:
                return False
        self._update()
        return True

    def _update(self) -> None:
        """Tells the render thread whether a picture is wanted now."""
        self._watched = any(v.watching for v in self._viewers)
        with self._lock:
            self._want = not (self._closed or self._busy) and any(v.ready and v.watching for v in self._viewers)

    def _encode(self, header: dict) -> None:
        names = {v.backdrop for v in self._viewers}

        def work() -> tuple[dict[str, bytes], float]:
            began = time.monotonic()
            pictures = {name: self._encoder.encode(self._rgba, name, straight=header["straight"]) for name in names}
            return pictures, (time.monotonic() - began) * 1e3

        self._loop.run_in_executor(self._pool, work).add_done_callback(lambda done: self._deliver(header, done))

    def _deliver(self, header: dict, done: asyncio.Future) -> None:
        self._busy = False
        try:
            pictures, page_ms = done.result()
        except Exception:       # one picture less; the next may do
            log.exception("a picture for the page failed")
            self._update()
            return
        self._sent_id += 1
        height, width = self._rgba.shape[:2]
        timings = {k: round(v, 2) for k, v in header["timings"].items()} | {"page": round(page_ms, 2)}
        before_ms = timings.get("wait", 0.0) + timings.get("render", 0.0)
        common = {"type": "frame", "id": self._sent_id, "width": width, "height": height, "driver": header["driver"], "timings": timings,
                  "rate": self._measure_rate()}
        for viewer in self._viewers:
            if not (viewer.ready and viewer.watching and viewer.backdrop in pictures):
                continue
            viewer.ready, viewer.sent = False, (self._sent_id, header["at"], before_ms)
            latency = None if viewer.latency_ms is None else round(viewer.latency_ms, 1)
            text = json.dumps(common | {"latency_ms": latency}).encode()
            viewer.put(struct.pack("<I", len(text)) + text + pictures[viewer.backdrop])
        self._update()

    def _measure_rate(self) -> float | None:
        """Frames per second that the server rendered over the last second or so; None while too few were sent to tell."""
        now = time.monotonic()
        if self._rate and now - self._rate[-1][0] > _RATE_SECONDS:
            self._rate.clear()
        self._rate.append((now, self._rendered))
        while now - self._rate[0][0] > _RATE_SECONDS:
            self._rate.popleft()
        (t0, n0), (t1, n1) = self._rate[0], self._rate[-1]
        return round((n1 - n0) / (t1 - t0), 1) if t1 - t0 > _RATE_SECONDS / 3 else None

    def _report(self, text: str) -> None:
        """Called by the idle driver: shows a problem on the pages, or takes it away."""
        if text != self._problem:
            self._problem = text
            with self._lock:
                if not self._closed:
                    self._loop.call_soon_threadsafe(self._tell, _problem_message(text))

    def _hello(self) -> str:
        return json.dumps({"type": "hello", "backdrops": BACKDROPS, **self._info})

    def _tell(self, message: str) -> None:
        for viewer in self._viewers:
            viewer.put(message)


def _problem_message(text: str) -> str:
    return json.dumps({"type": "problem", "text": text})
