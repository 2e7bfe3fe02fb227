"""Closed loop over ZeroMQ, two eyes a request: how often a headset gets a new pair of frames."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.stream import Client, Frame, FrameFormat

from . import images
from .measurement import Measurement
from .served import Served
from .stats import frame_times, stages
from .workload import shots

EYES_METRES = 0.064
RATE = 30.0  # at most so many frames of each second of the motion
IN_FLIGHT = 2  # so that the server renders one pair while the one before is encoded, sent and decoded
SAMPLES = 8  # frames compared with their references
WARM_SHOTS = 16
WARM_SECONDS = 30.0
WARM_SPREAD = 1.15
CLIENT_SECONDS = 30.0
FORMAT = FrameFormat()

Pair = tuple[Pose, tuple[Camera, Camera]]


@dataclass(eq=False)
class _Answers:
    """What came back. rows: every frame; kept: which pair, and its two frames, to compare with their
    references; fault: what is wrong with the first frame that cannot show a person; seconds: of all."""

    rows: list[Frame] = field(default_factory=list)
    kept: list[tuple[int, list[np.ndarray]]] = field(default_factory=list)
    fault: str | None = None
    seconds: float = 0.0

    def take(self, frame: Frame, pair: int, keep: bool) -> None:
        self.rows.append(frame)
        for view in frame.views:
            self.fault = self.fault or images.coverage_fault(view.rgba)
        if keep:
            self.kept.append((pair, [view.rgba for view in frame.views]))


def eyes(camera: Camera) -> tuple[Camera, Camera]:
    """The left and the right eye where `camera` is the point between them."""

    def moved(shift: float) -> Camera:
        matrix = camera.world_to_camera.copy()
        matrix[0, 3] += shift
        return Camera(camera.K, matrix)

    return moved(EYES_METRES / 2), moved(-EYES_METRES / 2)


def run_stereo(served: Served, frames: int, *, progress: bool = False) -> Measurement:
    """Ask a server for `frames` pairs of frames as fast as it answers and time them. Raises InputError,
    DinarError."""
    if not 2 <= frames <= 1_000_000:
        raise InputError(f"--frames: got {frames}, expected 2..1000000")
    size, motion = served.size, served.motion
    notes: list[str] = []
    work: list[Pair] = [
        (pose, eyes(camera))
        for pose, camera in shots(served.avatar, motion, size, frames, min(RATE, frames / motion.duration))
    ]
    with Client(
        served.endpoint,
        timeout=CLIENT_SECONDS,
        window=IN_FLIGHT,
        format=FORMAT,
        name="dinar bench",
        **served.access,
    ) as client:
        caps = client.capabilities
        began = time.monotonic()
        client.render(*work[0], size)
        first = time.monotonic() - began
        if not _warm(client, work, size):
            notes.append(f"the server did not settle within {WARM_SECONDS:g} s of warming up")
        settle_memory()
        answers = _ask(client, work, frames, served, progress)
    rows = answers.rows
    asked_ns, times = np.array([f.pose_time_ns for f in rows]), np.array([frame_times(f) for f in rows])
    table = stages(asked_ns, times, [f.timings for f in rows])
    if caps["engine"] == "none":
        table["server"] += table.pop("network")
    references = images.References(
        served.avatar,
        {**served.options, "renderer": caps["renderer"]},
    )
    check = references.check_pictures()
    samples = (
        (work[i % len(work)][0], work[i % len(work)][1][eye], rgba)
        for i, views in answers.kept
        for eye, rgba in enumerate(views)
    )
    difference = references.frames(samples, size, FORMAT.wire)
    return Measurement(
        scenario="stereo",
        latency_ms=(times[:, -1] - asked_ns) / 1e6,
        stages_ms=table,
        fps=len(rows) / answers.seconds,
        size=size,
        renderer=caps["renderer"],
        engine=caps["engine"],
        precision=caps["precision"],
        rasterizer=caps["rasterizer"],
        includes="from asking for a pair of frames to both decoded in the client, two on their way at once, by ZeroMQ over loopback TCP, "
        "JPEG and lossless alpha",
        check_difference=check,
        frame_difference=difference,
        notes=notes,
        faults=([answers.fault] if answers.fault else []) + images.judge(check, difference),
        extra={"first_frame_after_s": first, "dropped": frames - len(rows)},
    )


def _ask(client: Client, work: list[Pair], frames: int, served: Served, progress: bool) -> _Answers:
    """Ask for `frames` pairs, at most IN_FLIGHT at a time, until all are answered or replaced by newer ones."""
    wanted = set(np.linspace(0, frames - 1, min(frames, SAMPLES)).astype(int).tolist())
    answers = _Answers()
    pending: dict[int, int] = {}  # id -> which pair
    asked, start = 0, time.monotonic_ns()
    with tqdm(total=frames, desc="stereo", unit="pair", disable=not progress, leave=False) as bar:
        while pending or asked < frames:
            while len(pending) < IN_FLIGHT and asked < frames:
                if pending:
                    # so that the one before has left and is begun; else this one would take its place
                    time.sleep(0.0005)
                pending[client.send(*work[asked % len(work)], served.size)] = asked
                asked += 1
            frame = client.async_read()
            pair = pending[frame.id]
            pending = {id: k for id, k in pending.items() if id > frame.id}
            answers.take(frame, pair, pair in wanted)
            bar.update(asked - len(pending) - bar.n)
            served.alive()
    answers.seconds = (answers.rows[-1].decoded_ns - start) / 1e9
    return answers


def _warm(client: Client, work: list[Pair], size: tuple[int, int]) -> bool:
    """Ask for the same pairs in rounds until two rounds take the same time; False if they never did."""
    chosen = [work[i] for i in np.linspace(0, len(work) - 1, WARM_SHOTS).astype(int).tolist()]
    before, end = float("inf"), time.monotonic() + WARM_SECONDS
    while time.monotonic() < end:
        took = []
        for pose, cameras in chosen:
            start = time.monotonic()
            client.render(pose, cameras, size)
            took.append(time.monotonic() - start)
        now = float(np.median(took))
        if max(now, before) <= WARM_SPREAD * min(now, before):
            return True
        before = now
    return False
