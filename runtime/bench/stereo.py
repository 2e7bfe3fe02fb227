"""Closed loop over ZeroMQ, two eyes a request: how often a headset gets a new pair of pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.motion.motion import Motion
from dinar_live.runtime.stream import Client, Frame, FrameFormat

from . import images
from .measurement import Measurement
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


def eyes(camera: Camera) -> tuple[Camera, Camera]:
    """The left and the right eye where `camera` is the point between them."""
    pair = []
    for shift in (EYES_METRES / 2, -EYES_METRES / 2):
        matrix = camera.world_to_camera.copy()
        matrix[0, 3] += shift
        pair.append(Camera(camera.K, matrix))
    return tuple(pair)


def run_stereo(
    avatar: Avatar,
    motion: Motion,
    endpoint: str,
    frames: int,
    options: dict,
    *,
    access: Mapping | None = None,
    alive: Callable[[], None] = lambda: None,
    progress: bool = False,
) -> Measurement:
    """Ask the server of `avatar` at `endpoint` for `frames` pairs of pictures as fast as it answers and time
    them.

    options: keyword arguments of Renderer that the server was started with. access: keys, as keyword
    arguments of Client. alive: raises if the server is gone. Raises InputError, DinarError.
    """
    if not 2 <= frames <= 1_000_000:
        raise InputError(f"--frames: got {frames}, expected 2..1000000")
    size, notes = options["size"], []
    work: list[Pair] = [
        (pose, eyes(camera))
        for pose, camera in shots(avatar, motion, size, frames, min(RATE, frames / motion.duration))
    ]
    wanted, kept, fault = set(np.linspace(0, frames - 1, min(frames, SAMPLES)).astype(int).tolist()), [], None
    rows: list[Frame] = []
    with Client(
        endpoint,
        timeout=CLIENT_SECONDS,
        window=IN_FLIGHT,
        format=FORMAT,
        name="dinar bench",
        **(access or {}),
    ) as client:
        caps = client.capabilities
        began = time.monotonic()
        client.render(*work[0], size)
        first = time.monotonic() - began
        if not _warm(client, work, size):
            notes.append(f"the server did not settle within {WARM_SECONDS:g} s of warming up")
        settle_memory()
        pending: dict[int, int] = {}  # id -> which pair
        asked, start = 0, time.monotonic_ns()
        with tqdm(total=frames, desc="stereo", unit="pair", disable=not progress, leave=False) as bar:
            while pending or asked < frames:
                while len(pending) < IN_FLIGHT and asked < frames:
                    if pending:
                        time.sleep(
                            0.0005
                        )  # so that the one before has left and is begun; else this one would take its place
                    pending[client.send(*work[asked % len(work)], size)] = asked
                    asked += 1
                frame = client.async_read()
                i = pending[frame.id]
                pending = {id: k for id, k in pending.items() if id > frame.id}
                rows.append(frame)
                fault = (
                    fault
                    or images.coverage_fault(frame.views[0].rgba)
                    or images.coverage_fault(frame.views[1].rgba)
                )
                if i in wanted:
                    kept.append((i, [v.rgba for v in frame.views]))
                bar.update(asked - len(pending) - bar.n)
                alive()
    seconds = (rows[-1].decoded_ns - start) / 1e9
    asked_ns, times = np.array([f.pose_time_ns for f in rows]), np.array([frame_times(f) for f in rows])
    table = stages(asked_ns, times, [f.timings for f in rows])
    if caps["engine"] == "none":
        table["server"] += table.pop("network")
    references = images.References(avatar, {**options, "renderer": caps["renderer"]})
    check = references.check_pictures()
    samples = (
        (work[i % len(work)][0], work[i % len(work)][1][eye], rgba)
        for i, views in kept
        for eye, rgba in enumerate(views)
    )
    difference = references.frames(samples, size, FORMAT.wire)
    return Measurement(
        scenario="stereo",
        latency_ms=(times[:, -1] - asked_ns) / 1e6,
        stages_ms=table,
        fps=len(rows) / seconds,
        size=size,
        renderer=caps["renderer"],
        engine=caps["engine"],
        precision=caps["precision"],
        rasterizer=caps["rasterizer"],
        includes="from asking for a pair of pictures to both decoded in the client, two on their way at once, by ZeroMQ over loopback TCP, "
        "JPEG and lossless alpha",
        check_difference=check,
        frame_difference=difference,
        notes=notes,
        faults=([fault] if fault else []) + images.judge(check, difference),
        extra={"first_frame_after_s": first, "dropped": frames - len(rows)},
    )


def _warm(client: Client, work: list[Pair], size: tuple[int, int]) -> bool:
    """Ask for the same pairs in rounds until two rounds take the same time; False if they never did."""
    chosen = [work[i] for i in np.linspace(0, len(work) - 1, WARM_SHOTS).astype(int).tolist()]
    before, end = float("inf"), time.monotonic() + WARM_SECONDS
    while time.monotonic() < end:
        took = []
        for shot in chosen:
            start = time.monotonic()
            client.render(*shot, size)
            took.append(time.monotonic() - start)
        now = float(np.median(took))
        if max(now, before) <= WARM_SPREAD * min(now, before):
            return True
        before = now
    return False
