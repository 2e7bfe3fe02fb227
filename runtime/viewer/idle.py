"""Keeps the picture moving while someone watches and no client drives."""
from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from ..errors import DinarError, StreamTimeout
from ..stream import Client, FrameFormat

log = logging.getLogger(__name__)

QUIET_SECONDS = 0.5     # without a client's request, before the idle motion takes over
FPS = 30.0
_RETRY_SECONDS = 1.0
_ANSWER_SECONDS = 3.0
_LOOK_SECONDS = 0.05


class IdleDriver:
    """Asks the server for frames without a pose, as one more client, whenever `wanted()` is true and no other client asked lately.

    endpoint: of the server. camera: called for each frame; returns what Client.send takes.
    report: told what goes wrong ("" = all is well again). access: keys, as keyword arguments of Client.
    """

    def __init__(self, endpoint: str, camera: Callable, wanted: Callable[[], bool], report: Callable[[str], None],
                 access: Mapping | None = None):
        self._endpoint, self._camera, self._access, self._wanted, self._report = endpoint, camera, dict(access or {}), wanted, report
        self._sent: deque[int] = deque(maxlen=8)
        self._client_seen = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dinar-page-idle", daemon=True)
        self._thread.start()

    def owns(self, pose_time_ns: int) -> bool:
        """Whether the request with this time is ours; one that is not silences us for a while. Called on the render thread."""
        if pose_time_ns in self._sent:
            return True
        self._client_seen = time.monotonic()
        return False

    def close(self) -> None:
        """Ends the thread and its connection."""
        self._stop.set()
        self._thread.join()

    def _due(self) -> bool:
        return self._wanted() and time.monotonic() - self._client_seen > QUIET_SECONDS

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._due():
                self._stop.wait(_LOOK_SECONDS)
                continue
            try:
                # Raw: on this machine a copy is cheaper than a JPEG, and the picture itself comes to the page through offer().
                with Client(self._endpoint, format=FrameFormat("raw"), name="dinar page", **self._access) as client:
                    self._drive(client)
            except DinarError as e:
                log.info("idle motion: %s", e)
                self._report(str(e))
                self._stop.wait(_RETRY_SECONDS)

    def _drive(self, client: Client) -> None:
        """Frames at FPS until nobody watches any more; pauses while another client drives."""
        next_at = time.monotonic()
        while self._wanted() and not self._stop.is_set():
            if not self._due():
                self._stop.wait(_LOOK_SECONDS)
                next_at = time.monotonic()
                continue
            now_ns = time.monotonic_ns()
            self._sent.append(now_ns)
            client.send(None, self._camera(), pose_time_ns=now_ns)
            try:
                client.async_read(_ANSWER_SECONDS)
            except StreamTimeout:
                if self._due():
                    raise
            else:
                self._report("")
            next_at = max(next_at + 1 / FPS, time.monotonic() - 1 / FPS)
            self._stop.wait(max(0.0, next_at - time.monotonic()))
