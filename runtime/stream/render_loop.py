"""RenderLoop: the thread that renders what clients ask for, and those that encode it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.stream.protocol.image_codec import FrameEncoder
from dinar_live.runtime.stream.protocol.messages import (
    MAX_CAMERAS,
    ErrorMessage,
    FrameMessage,
    RenderRequest,
)
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.protocol.wire import ErrorCode

from .mailbox import Mailbox
from .rendering import PendingRequest, Refused, RenderedFrame, SpareTime, checked_frames

log = logging.getLogger(__name__)


class RenderLoop:
    """Takes requests out of `mailbox`, has them rendered one after the other and encoded by `workers` threads
    meanwhile.

    render, ready: see Server. post(client, message, request): takes each answer, from any thread. session: of
        the server. spare_time: used while nothing waits and nothing is encoded.
    """

    def __init__(
        self,
        mailbox: Mailbox[PendingRequest],
        render: Callable[[RenderRequest], RenderedFrame | tuple[RenderedFrame, ...]],
        ready: Callable[[RenderRequest], bool],
        post: Callable[[bytes, bytearray, RenderRequest], None],
        *,
        workers: int,
        session: int,
    ):
        self._mailbox = mailbox
        self._render = render
        self._ready = ready
        self._post = post
        self._session = session
        self.spare_time: SpareTime | None = None
        self.observer: Callable[[Mapping[str, float]], None] | None = None
        self._scratch = threading.local()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="dinar-encode")
        self._thread = threading.Thread(target=self._run, name="dinar-render", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Waits, once the mailbox is closed, until the last frame is posted, or so long for one that is
        still being rendered."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.error("a render is still running %g s after close(); its client gets no answer", seconds)
        self._pool.shutdown(wait=not self._thread.is_alive())
        if not self._thread.is_alive():
            # Or the server and this would keep each other, and the renderer, where garbage is not collected
            # (core/process.py).
            del self._render, self._ready, self._post
            self.spare_time = self.observer = None

    def _run(self) -> None:
        encoding: deque[Future] = deque()
        while (taken := self._mailbox.take(self._is_ready)) is not None:
            # The renderer may reuse a frame's memory two calls later, so only the last one may still be on
            # its way.
            while len(encoding) > 1:
                encoding.popleft().result()
            client, (request, received_ns) = taken
            began_ns = time.monotonic_ns()
            try:
                frames = checked_frames(self._render(request), request)
            except Exception as e:  # whatever a renderer does wrong must not end the service
                self._fail(client, request, e)
                continue
            timings = {"wait": (began_ns - received_ns) / 1e6, **(frames[0].timings or {})}
            timings["render"] = (time.monotonic_ns() - began_ns) / 1e6
            encoding.append(self._pool.submit(self._encode, client, request, received_ns, frames, timings))
            self._use_spare_time(encoding)

    def _use_spare_time(self, encoding: deque[Future]) -> None:
        """Only once the last frame is on its way: nothing may slow it down."""
        spare = self.spare_time
        try:
            if spare is not None and self._mailbox.empty and spare.due():
                while encoding:
                    encoding.popleft().result()
                if self._mailbox.empty:
                    spare.use()
        except Exception:  # a trial must not end the service either
            log.exception("a trial failed")

    def _is_ready(self, item: PendingRequest) -> bool:
        try:
            return self._ready(item.request)
        except Exception:  # `render` will say what is wrong
            log.exception("ready failed")
            return True

    def _encode(
        self, client: bytes, request: RenderRequest, received_ns: int, frames, timings: dict[str, float]
    ) -> None:
        began_ns = time.monotonic_ns()
        try:
            if not hasattr(self._scratch, "encoders"):
                self._scratch.encoders = [FrameEncoder() for _ in range(MAX_CAMERAS)]
            views = tuple(
                encoder.encode(f.camera or camera, f.rgba, f.depth, request.format)
                for encoder, camera, f in zip(self._scratch.encoders, request.cameras, frames, strict=False)
            )
            timings = {**timings, "encode": (time.monotonic_ns() - began_ns) / 1e6}
            message = encode(
                FrameMessage(
                    request.id,
                    views,
                    timings,
                    request.pose_time_ns,
                    received_ns,
                    0,
                    request.format.straight,
                    self._session,
                    request.format.background,
                    frames[0].source_time_ns,
                    None if request.renderer is None else frames[0].rendered,
                )
            )
        except Exception as e:
            self._fail(client, request, e)
            return
        try:
            if (observer := self.observer) is not None:
                observer(timings)
        except Exception:  # who counts must not end the service either
            log.exception("an observer failed")
        self._post(client, message, request)

    def _fail(self, client: bytes, request: RenderRequest, reason: Exception) -> None:
        if isinstance(reason, DinarError):
            code, text = (reason.code if isinstance(reason, Refused) else ErrorCode.REFUSED), str(reason)
        else:
            log.error("request %d failed", request.id, exc_info=reason)
            code, text = ErrorCode.RENDER_FAILED, "the renderer failed; the server's log says why"
        self._post(
            client, encode(ErrorMessage(request.id, code, text, request.pose_time_ns, self._session)), request
        )
