"""Open loop over ZeroMQ: a pose every 1/rate seconds, whatever has come back, as a headset or a motion
capture sends them.

Latency counts from the time a request was planned, not from when it left, until a frame at least as new is
there, so a stall is charged to every request it delays (no coordinated omission), and also to those that a
newer one replaced.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from dinar_live.runtime.core.errors import DinarError, InputError, StreamTimeout
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.stream import Client, Frame, FrameFormat

from . import images
from .measurement import Measurement
from .neighbours import Neighbours
from .served import Served
from .stats import charged, charged_stages, frame_times, stages, staleness
from .workload import Shot, shots, window_examples

SAMPLES = 8  # frames compared with their references
CLIENT_SECONDS = 30.0  # how long a frame may take before it counts as lost
LAST_SECONDS = 2.0  # how long to wait for the last answers
LEAD_NS = 50_000_000  # from the end of warming up to the first tick
WARM_SHOTS = 16
WARM_ROUNDS = 3
WARM_SPREAD = 1.15
WARM_SECONDS = 20.0
SETTLE_SECONDS = 3.0  # before the first tick that counts, where the server chooses its renderer
FORMAT = FrameFormat().wire  # what a Client asks for unless told otherwise: JPEG quality 85, deflated alpha


class _Reader:
    """Takes and decodes frames as they come, on a thread of its own, so that the ticks never wait for one."""

    def __init__(self, client: Client, planned: np.ndarray):
        self._client = client
        self._tick = {int(t): k for k, t in enumerate(planned)}
        self._wanted = np.linspace(0, len(planned) - 1, min(len(planned), SAMPLES)).astype(int).tolist()
        self._closing = threading.Event()
        # planned time, the five times of `stages`, timings
        self.rows: list[tuple[int, tuple[int, ...], dict[str, float]]] = []
        # tick, frame and its renderer, to compare with their references
        self.kept: list[tuple[int, np.ndarray, str]] = []
        self.made: Counter[tuple[str, float]] = Counter()  # frames by renderer and scale
        self.fault: str | None = None
        self.error: DinarError | None = None
        self.newest = -1
        self._thread = threading.Thread(target=self._run, name="dinar-bench-reader", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                frame = self._client.async_read(0.2)
            except StreamTimeout:
                continue
            except DinarError as e:
                self.error = e
                return
            tick = self._tick.get(frame.pose_time_ns)
            if tick is None:  # of the warm-up
                continue
            self._take(tick, frame)

    def _take(self, tick: int, frame: Frame) -> None:
        self.rows.append((frame.pose_time_ns, frame_times(frame), frame.timings))
        fault = images.coverage_fault(frame.rgba)
        if fault and self.fault is None:
            self.fault = f"{fault} (tick {tick})"
        made = frame.rendered
        if made is not None:
            self.made[made.renderer, made.scale] += 1
        # a frame of fewer pixels has no reference
        if self._wanted and tick >= self._wanted[0] and (made is None or made.scale == 1):
            self._wanted.pop(0)
            self.kept.append((tick, frame.rgba, "" if made is None else made.renderer))
        self.newest = max(self.newest, tick)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()


def tick_count(rate: float, seconds: float) -> int:
    """How many requests a run makes. Raises InputError."""
    if not (0.5 <= rate <= 1000 and 0 < seconds <= 86_400 and rate * seconds >= 2):
        raise InputError(
            f"--rate {rate:g} --seconds {seconds:g}: expected 0.5..1000 Hz and at least two ticks in up to a day"
        )
    return round(rate * seconds)


def run_paced(
    served: Served,
    rate: float,
    seconds: float,
    *,
    progress: bool = False,
    neighbours: bool = False,
) -> Measurement:
    """Send poses to a server at `rate` Hz for `seconds` and time what comes back.

    neighbours: with two other clients at the same server (`neighbours.Neighbours`). Raises InputError,
    DinarError.
    """
    size, endpoint = served.size, served.endpoint
    ticks = tick_count(rate, seconds)
    work = shots(served.avatar, served.motion, size, ticks, rate)
    notes: list[str] = []
    with (
        Client(endpoint, timeout=CLIENT_SECONDS, name="dinar bench", **served.access) as client,
        contextlib.ExitStack() as stack,
    ):
        caps = client.capabilities
        settle = round(SETTLE_SECONDS * rate) if "quality" in caps else 0
        client.renderer = ""  # a server that knows says what made each frame
        began = time.monotonic()
        client.render(*work[0], size)
        first = time.monotonic() - began
        with Renderer(served.avatar, **{**served.options, "renderer": caps["renderer"]}) as renderer:
            windows = window_examples(renderer, work)
        if not _warm(client, work, windows, size):
            notes.append(f"the server did not settle within {WARM_SECONDS:g} s of warming up")
        settle_memory()  # as the programs that drive a server do
        others = Neighbours(endpoint, size, rate, served.access) if neighbours else None
        if others is not None:
            stack.enter_context(others)
        times = np.round(np.arange(-settle, ticks + 1) * (1e9 / rate)).astype(np.int64)
        times += time.monotonic_ns() + LEAD_NS - times[0]
        planned = times[settle:]
        reader = _Reader(client, planned[:-1])
        try:
            for k in tqdm(
                range(-settle, ticks), desc="paced", unit="tick", disable=not progress, leave=False
            ):
                _sleep_until(int(times[k + settle]))
                served.alive()
                if reader.error is not None:
                    raise reader.error
                client.send(*work[k % len(work)], size, pose_time_ns=int(times[k + settle]))
            end = time.monotonic() + LAST_SECONDS
            while reader.newest < ticks - 1 and time.monotonic() < end:
                time.sleep(0.01)
        finally:
            reader.close()
        ended = time.monotonic_ns()
        served.alive()
        caps = client.describe() if "quality" in caps else caps
    if not reader.rows:
        raise DinarError(
            f"the server at {endpoint} answered none of {ticks} requests; a frame takes longer than {seconds:g} s"
        )
    measurement = _measurement(served, work, reader, planned, ended, caps, first, notes)
    if others is None:
        return measurement
    return replace(
        measurement, scenario="neighbours", extra=measurement.extra | {"neighbours": others.result}
    )


def _warm(client: Client, work: list[Shot], windows: dict, size: tuple[int, int]) -> bool:
    """Ask for the same few frames, one after the other, until rounds take the same time: the network's sizes
    are then compiled."""
    chosen = [
        work[i] for i in {*windows.values(), *np.linspace(0, len(work) - 1, WARM_SHOTS).astype(int).tolist()}
    ]
    medians: list[float] = []
    end = time.monotonic() + WARM_SECONDS
    while True:
        took = []
        for pose, camera in chosen:
            start = time.monotonic()
            client.render(pose, camera, size)
            took.append(time.monotonic() - start)
            if time.monotonic() > end:
                return False
        medians.append(float(np.median(took)))
        last = medians[-WARM_ROUNDS:]
        if len(last) == WARM_ROUNDS and max(last) <= WARM_SPREAD * min(last):
            return True


def _sleep_until(planned_ns: int) -> None:
    left = planned_ns - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)


def _measurement(
    served: Served,
    work: list[Shot],
    reader: _Reader,
    planned: np.ndarray,
    ended: int,
    caps: dict,
    first: float,
    notes: list[str],
) -> Measurement:
    sent_for = np.array([row[0] for row in reader.rows], np.int64)
    times = np.array([row[1] for row in reader.rows], np.int64)
    table = stages(sent_for, times, [row[2] for row in reader.rows])
    if caps["engine"] == "none":
        table["server"] += table.pop("network")  # two readings of the clock with nothing between them
    waits = charged(planned[:-1], sent_for, times[:, -1], ended)
    check, difference = images.compare_served(
        served.avatar,
        served.options,
        ((*work[tick % len(work)], rgba, name or caps["renderer"]) for tick, rgba, name in reader.kept),
        served.size,
        FORMAT,
    )
    if check is None:
        notes.append(
            "the bundle has no check pictures; frames were compared with this machine's f32 renderer only"
        )
    if not reader.kept and reader.made:
        notes.append("every frame was scaled up, so none was compared with a reference")
    faults = [] if not reader.kept and reader.made else images.judge(check, difference)
    ticks, seconds = len(planned) - 1, float(planned[-1] - planned[0]) / 1e9
    return Measurement(
        scenario="paced",
        latency_ms=waits.latency_ms,
        stages_ms=charged_stages(table, waits),
        fps=len(sent_for) / seconds,
        size=served.size,
        renderer=caps["renderer"],
        engine=caps["engine"],
        precision=caps["precision"],
        rasterizer=caps["rasterizer"],
        includes="from the planned time of each pose until a frame at least as new is decoded in the client, by ZeroMQ over "
        "loopback TCP, JPEG and lossless alpha",
        staleness=staleness(planned, sent_for, times[:, -1]),
        check_difference=check,
        frame_difference=difference,
        notes=notes,
        faults=([reader.fault] if reader.fault else []) + faults,
        extra={
            "rate_hz": ticks / seconds,
            "dropped": ticks - len(sent_for),
            "unanswered": waits.unanswered,
            "first_frame_after_s": first,
            "frame_latency_ms": (times[:, -1] - sent_for) / 1e6,
            "made_by": {f"{name} at {scale:g}": n for (name, scale), n in reader.made.most_common()},
            **({"quality": caps["quality"]} if "quality" in caps else {}),
        },
        frames=len(sent_for),
    )
