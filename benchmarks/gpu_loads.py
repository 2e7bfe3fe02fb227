"""What benchmarks/gpu_check.py asks of a renderer: frames while engines are built, frames at a steady pace, frames
for several clients at once."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import numpy as np
from gpu_report import Check, Load

from dinar_live.runtime import Avatar, Pose, Renderer
from dinar_live.runtime.bench.workload import Shot
from dinar_live.runtime.render.framing import whole_body_camera

CLOSE_SECONDS = 1.0  # a renderer ends within this, whatever is being built
FILLS = (0.85, 0.2, 0.35, 0.5, 0.65, 1.4)  # of the frame's height: other windows, so other engines


def load_of(name: str, asked_hz: float | None, latencies: list[float], seconds: float) -> Load:
    """latencies: ms of every frame; seconds: that they took together."""
    times = np.array(latencies) if latencies else np.full(1, np.nan)
    return Load(
        name,
        asked_hz,
        len(latencies) / seconds if seconds > 0 else 0.0,
        float(np.percentile(times, 50)),
        float(np.percentile(times, 99)),
        float(times.max()),
    )


def background_check(avatar: Avatar, size: tuple[int, int], name: str, seconds: float) -> list[Check]:
    """Frames of the person near and far, with engines for smaller parts of the frame being built meanwhile; then
    another renderer that is closed while it builds."""
    rig, pose = avatar.rig, Pose()
    cameras = [whole_body_camera(rig, rig.joints[0], size, fill=fill, azimuth=fill) for fill in FILLS]
    times: list[float] = []
    with Renderer(avatar, size, renderer=name, device="cuda") as renderer:
        renderer.render(pose, cameras[0])
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < len(cameras):
            began = time.perf_counter()
            renderer.render(pose, cameras[len(times) // 8 % len(cameras)])
            times.append((time.perf_counter() - began) * 1e3)
        level = renderer.describe().rpartition(", ")[2]
        renderer.render(pose, cameras[1])
        began = time.perf_counter()
    closed = time.perf_counter() - began
    p50, p99, worst = np.percentile(times, (50, 99, 100))
    text = f"{len(times)} frames while engines are built: p50 {p50:.2f}, p99 {p99:.2f}, worst {worst:.1f} ms; {level}"
    return [
        Check(f"background, {name}", "single launches" not in level, text),
        Check(
            f"close while building, {name}",
            closed <= CLOSE_SECONDS,
            f"{closed:.2f} s, at most {CLOSE_SECONDS:g}",
        ),
    ]


def paced(
    avatar: Avatar, size: tuple[int, int], name: str, work: list[Shot], rate: float, seconds: float
) -> Load:
    """Frames that are due every 1/rate s: the GPU rests in between, and its clocks fall. Latency from when a frame is
    due."""
    with Renderer(avatar, size, renderer=name, device="cuda", background_compile=False) as renderer:
        for shot in work:
            renderer.render(*shot)
        latencies: list[float] = []
        began = time.perf_counter()
        for i in range(max(3, int(rate * seconds))):
            due = began + i / rate
            if (rest := due - time.perf_counter()) > 0:
                time.sleep(rest)
            elif rest < -seconds:
                break  # hopelessly late
            renderer.render(*work[i % len(work)])
            latencies.append((time.perf_counter() - due) * 1e3)
        return load_of(f"paced, {name}", rate, latencies, time.perf_counter() - began)


def clients(
    avatar: Avatar,
    size: tuple[int, int],
    name: str,
    work: list[Shot],
    count: int,
    rate: float,
    seconds: float,
) -> Load:
    """So many clients of one server on 127.0.0.1, each asking at `rate` Hz and decoding its JPEGs, on threads of this
    process. Latency from when a frame is due to its pixels at the client."""
    from dinar_live.runtime.service.avatar_service import AvatarService
    from dinar_live.runtime.stream import Client, Server

    latencies: list[list[float]] = [[] for _ in range(count)]
    failures: list[BaseException] = []

    def ask(client: Client, mine: list[float], began: float) -> None:
        try:
            for i in range(max(3, int(rate * seconds))):
                due = began + i / rate
                if (rest := due - time.perf_counter()) > 0:
                    time.sleep(rest)
                elif rest < -seconds:
                    return
                client.render(*work[i % len(work)])
                mine.append((time.perf_counter() - due) * 1e3)
        except BaseException as e:  # for the thread that waits
            failures.append(e)

    with AvatarService(avatar, size=size, renderer=name, device="cuda") as service:
        service.warm_up()
        with Server(service.render, service.capabilities()) as server, ExitStack() as stack:
            members = [stack.enter_context(Client(server.endpoint, timeout=30)) for _ in range(count)]
            for client in members:
                client.render(*work[0])
            began = time.perf_counter()
            threads = [
                threading.Thread(target=ask, args=(client, mine, began + n / rate / count))
                for n, (client, mine) in enumerate(zip(members, latencies, strict=True))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took = time.perf_counter() - began
    if failures:
        raise failures[0]
    every = [ms for mine in latencies for ms in mine]
    return load_of(f"{count} client{'s' * (count > 1)}, {name}", rate * count, every, took)
