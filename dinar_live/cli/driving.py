"""Driving a server with a motion: on a fixed schedule, or as fast as it answers. What `play` and `demo`
share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dinar_live.runtime.bench.stats import frame_times, stages
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError, RemoteError, StreamTimeout
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.motion import Motion
from dinar_live.runtime.render.framing import FollowingCamera
from dinar_live.runtime.stream import Client, Frame
from dinar_live.runtime.stream.protocol.wire import ErrorCode

MAX_KEPT = 200_000  # figures of so many frames
# A pose is computed so long before it is due, not right after the one before: the client's thread needs the
# interpreter to send that.
POSE_LEAD_NS = 8_000_000
# Refusals that pass by themselves: the server restarts, or another client leaves.
_PASSING = {ErrorCode.CLOSING, ErrorCode.CLIENTS, ErrorCode.HELLO_REQUIRED}


class Target:
    """A motion fitted to the avatar that a server has.

    capabilities: of Client. size: (height, width), default the server's. Raises DinarError.
    """

    def __init__(self, capabilities: Mapping, motion: Motion, size: tuple[int, int] | None = None):
        try:
            joints = np.array(capabilities["rest_joints"], np.float32)
            names = tuple(str(n) for n in capabilities["expression_names"])
            low, high = (float(y) for y in capabilities["body_extent"])
            height, width = (int(n) for n in size or capabilities["size"])
        except (KeyError, TypeError, ValueError) as e:
            raise DinarError(
                "the server's capabilities lack what a motion needs, expected rest_joints, expression_names, body_extent and "
                f"size ({e!r}); it is no `dinar serve`"
            ) from None
        self.size = (height, width)
        self.fitted = motion.for_avatar(joints, names)
        self._following = FollowingCamera(joints[0], (low, high), self.size)

    def at(self, t: float, loop: bool = True) -> tuple[Pose, Camera]:
        """The pose at t seconds and a camera that shows it whole; to be called in the order of time."""
        pose = self.fitted.pose_at(t, loop)
        return pose, self._following.at(pose.transl)


class Figures:
    """What came back: latencies from the planned send time (ms), ticks whose newest frame was older than a
    period, superseded."""

    def __init__(self):
        self.sent = self.frames = self.stale = self.superseded = 0
        self.latency_ms: deque[float] = deque(maxlen=MAX_KEPT)
        self._rows: deque[tuple] = deque(maxlen=MAX_KEPT)  # planned time, `frame_times`, the server's stages
        self.began = self.last_frame = time.monotonic()
        self._pending: dict[int, int] = {}  # id -> tick
        self._newest_tick: int | None = None

    def count_sent(self, id: int, tick: int) -> None:
        self.sent += 1
        self._pending[id] = tick

    def count_frame(self, frame: Frame) -> int | None:
        """Returns the tick that the frame was asked for at."""
        tick = self._pending.pop(frame.id, None)
        passed = [i for i in self._pending if i < frame.id]
        for i in passed:
            del self._pending[i]
        self.superseded += len(passed)
        self.frames += 1
        self.last_frame = time.monotonic()
        self._newest_tick = tick if tick is not None else self._newest_tick
        self.latency_ms.append(frame.latency_ms)
        self._rows.append((frame.pose_time_ns, frame_times(frame), frame.timings))
        return tick

    def count_tick(self, tick: int) -> None:
        self.stale += self._newest_tick is not None and self._newest_tick < tick - 1

    def forget_pending(self) -> None:
        """Requests that a vanished server will not answer are neither superseded nor stale."""
        self._pending.clear()
        self._newest_tick = None

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def fps(self) -> float:
        """Frames per second from the start to the last frame."""
        return self.frames / max(self.last_frame - self.began, 1e-6)

    def stages(self) -> dict[str, np.ndarray]:
        """Where the latency of each frame went, ms: stage -> f64[frames], as in `dinar bench --scenario
        paced`."""
        planned, times, timings = zip(*self._rows, strict=True)
        return stages(np.array(planned), np.array(times), list(timings))

    def line(self) -> str:
        """fps, latency, stale and superseded frames in one line."""
        if not self.frames:
            return "no frames"
        p50, p95 = np.percentile(self.latency_ms, (50, 95))
        return f"{self.fps:5.1f} fps   latency p50 {p50:.1f} ms, p95 {p95:.1f} ms   stale {self.stale}   superseded {self.superseded}"


def read(client: Client, seconds: float) -> Frame | None:
    """The next new frame, or None when none comes in time or the server is on its way out. Raises RemoteError
    for real refusals."""
    try:
        return client.async_read(seconds)
    except StreamTimeout:
        return None
    except RemoteError as e:
        if e.code not in _PASSING:
            raise
        return None


def paced(
    client: Client,
    target: Target,
    figures: Figures,
    *,
    fps: float,
    frames: int | None = None,
    loop: bool = True,
    on_frame: Callable[[Frame, int | None], None] | None = None,
    on_tick: Callable[[int], None] | None = None,
) -> None:
    """Sends poses at began + tick / fps whatever comes back, `frames` of them (None = until interrupted).

    The schedule is absolute, so that no lateness adds up; ticks that were slept through are left out.
    on_frame(frame, tick) is called for each frame and on_tick(tick) shortly before each pose.
    """
    settle_memory()
    figures.began = time.monotonic()
    began, period, tick = time.monotonic_ns(), 1e9 / fps, 0
    lead = min(POSE_LEAD_NS, period / 4)

    def take(frame: Frame | None) -> None:
        if frame is not None:
            asked_at = figures.count_frame(frame)
            if on_frame is not None:
                on_frame(frame, asked_at)

    def read_until(time_ns: float) -> None:
        while (left := time_ns - time.monotonic_ns()) > 0:
            take(read(client, left / 1e9))

    while frames is None or tick < frames:
        planned = began + round(tick * period)
        read_until(planned - lead)
        if on_tick is not None:
            on_tick(tick)
        pose, camera = target.at(tick / fps, loop)
        read_until(planned)
        figures.count_tick(tick)
        figures.count_sent(client.send(pose, camera, target.size, pose_time_ns=planned), tick)
        tick = max(tick + 1, int((time.monotonic_ns() - began) / period))
    end = time.monotonic() + 1.0
    while figures.pending and (left := end - time.monotonic()) > 0:
        take(read(client, left))


def closed_loop(
    client: Client,
    target: Target,
    figures: Figures,
    times: Sequence[float],
    on_frame: Callable[[Frame, int | None], None] | None = None,
) -> None:
    """Asks for the pose at each of `times` (seconds) as soon as the server has time for it: two on their way
    at once. One is left out (and counted as superseded) only where the machine is so busy that the next comes
    before the server has taken it up.

    client: made with window=2. on_frame(frame, index) is called for each frame. Raises StreamTimeout when
        the server stops answering.
    """
    figures.began, asked = time.monotonic(), 0
    while asked < len(times) or figures.pending:
        while figures.pending < 2 and asked < len(times):
            if figures.pending:
                time.sleep(0.001)  # until the one before has left; else this one would replace it
            figures.count_sent(client.send(*target.at(times[asked]), target.size), asked)
            asked += 1
        frame = client.async_read()
        index = figures.count_frame(frame)
        if on_frame is not None:
            on_frame(frame, index)
