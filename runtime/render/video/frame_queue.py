"""FrameQueue: frames are taken on a thread of their own, so that rendering and writing overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import numpy as np

from dinar_live.runtime.core.errors import DinarError

ROOM = 4
"""Frames that wait at most: the renderer is held up when the writer is that far behind."""
STALLED_SECONDS = 120.0


class FrameQueue:
    """Calls `take(frame)` on a thread, in order, for each frame that is put.

    A frame is copied into memory of the queue, of which there is room for ROOM frames. What `take` raises comes
    out of the next `put`, or of `finish`; no later frame is taken then.
    """

    def __init__(self, take: Callable[[np.ndarray], None], name: str):
        self._take = take
        self._free: queue.Queue[np.ndarray | None] = queue.Queue()
        self._waiting: queue.Queue[np.ndarray | None] = queue.Queue()
        for _ in range(ROOM):
            self._free.put(None)  # memory is taken with the first frames, whose size is known then
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, frame: np.ndarray) -> None:
        """Hand over a frame, when there is room. Raises what `take` raised, and DinarError where it does not
        come back."""
        try:
            buffer = self._free.get(timeout=STALLED_SECONDS)
        except queue.Empty:
            raise DinarError(f"no frame could be written in {STALLED_SECONDS:g} s") from None
        self._raise()
        if buffer is None or buffer.shape != frame.shape or buffer.dtype != frame.dtype:
            buffer = np.empty(frame.shape, frame.dtype)
        np.copyto(buffer, frame)
        self._waiting.put(buffer)

    def finish(self) -> None:
        """Wait until all frames are taken. Raises what `take` raised."""
        self._waiting.put(None)
        self._thread.join()
        self._raise()

    def abandon(self) -> None:
        """Take no more frames. Returns when `take` is not being called any more."""
        self._dropping = True
        self._waiting.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (frame := self._waiting.get()) is not None:
            if self._error is None and not self._dropping:
                try:
                    self._take(frame)
                except BaseException as e:  # told to whoever puts the next one
                    self._error = e
            self._free.put(frame)
