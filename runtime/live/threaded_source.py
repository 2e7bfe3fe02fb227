"""ThreadedSource: what sources that listen to the network have in common."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from .sample_buffer import SampleBuffer
from .source import Sample, Skeleton, Source

Connection = TypeVar("Connection")


class ThreadedSource(Source, Generic[Connection]):
    """Listens on a thread of its own and puts what comes into `samples`. clock: seconds, monotonic."""

    thread_name = "dinar-live"

    def __init__(self, clock: Callable[[], float]):
        self.samples = SampleBuffer(clock)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @abstractmethod
    def _open(self) -> Connection:
        """What to listen to. Raises MotionError, saying why not."""

    @abstractmethod
    def _listen(self, connection: Connection) -> None:
        """Use what comes until `_stop` is set, then close the connection. Runs on the thread."""

    def start(self) -> None:
        self._stop.clear()
        connection = self._open()
        self._thread = threading.Thread(
            target=self._listen, args=(connection,), name=self.thread_name, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def read(self) -> Sample | None:
        return self.samples.newest

    @property
    def skeleton(self) -> Skeleton | None:
        return self.samples.skeleton
