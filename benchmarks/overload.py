"""What a renderer that is too slow for the rate costs: poses at 30 and 60 Hz to one that sleeps for 55 ms.

    python benchmarks/overload.py [--render-ms 55] [--rates 30 60] [--ticks 150] [--rounds 2]

The server is a process of its own. Three clients take turns, so that what else the machine does hits all: one
request at a time (window 1), two with nothing beyond them (how clients were until November 2026), and two
with one more that replaces the one that waits. Latency is from a pose's planned time to its decoded picture.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import threading
import time

import numpy as np

from dinar_live.runtime import Camera, Pose
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.stream import Client, RenderedFrame, Server

SIZE = (512, 512)
CASES = (("window 1", 1, 1), ("window 2, none beyond", 2, 2), ("window 2", 2, 3))  # name, window, at most
SKIPPED = 5  # frames at the start of each run


def serve(render_ms: float, pipe) -> None:
    """A server until `pipe` says something; tells its endpoint first."""
    rgba = np.zeros((*SIZE, 4), np.uint8)
    rgba[40:480, 160:350] = np.random.default_rng(0).integers(0, 255, (440, 190, 4), np.uint8)
    rgba[40:480, 160:350, 3] = 255

    def render(request):
        time.sleep(render_ms / 1e3)
        return RenderedFrame(rgba)

    with Server(render, {"size": list(SIZE)}) as server:
        settle_memory()
        pipe.send(server.endpoint)
        pipe.recv()


def paced_ms(endpoint: str, rate: float, ticks: int, window: int, most: int) -> tuple[np.ndarray, float]:
    """Latencies in milliseconds and frames a second; at most `most` requests without an answer."""
    camera, pose, rows, stop = Camera.orbit((0, -0.35, 0), SIZE), Pose(), [], threading.Event()
    with Client(endpoint, window=window, name="overload") as client:
        client._connection._most = most

        def read() -> None:
            while not stop.is_set():
                try:
                    rows.append(client.async_read(0.2).latency_ms)
                except TimeoutError:
                    continue

        reader = threading.Thread(target=read)
        reader.start()
        began = time.monotonic_ns() + 50_000_000
        for tick in range(ticks):
            planned = began + int(tick * 1e9 / rate)
            time.sleep(max(0, planned - time.monotonic_ns()) / 1e9)
            client.send(pose, camera, pose_time_ns=planned)
        time.sleep(0.5)
        stop.set()
        reader.join()
    return np.array(rows[SKIPPED:]), len(rows) / (ticks / rate)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--render-ms", type=float, default=55.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[30.0, 60.0], help="Hz")
    parser.add_argument("--ticks", type=int, default=150, help="per run")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(args.render_ms, there), daemon=True
    )
    server.start()
    try:
        if not here.poll(60):
            raise SystemExit("the server did not start")
        endpoint = here.recv()
        settle_memory()
        for rate in args.rates:
            runs = [
                [paced_ms(endpoint, rate, args.ticks, window, most) for _, window, most in CASES]
                for _ in range(args.rounds)
            ]
            for (name, _, _), ran in zip(CASES, zip(*runs, strict=True), strict=True):
                p50, p95 = np.percentile(np.concatenate([ms for ms, _ in ran]), (50, 95))
                fps = np.mean([f for _, f in ran])
                print(
                    f"{args.render_ms:g} ms at {rate:g} Hz, {name:<22} p50 {p50:5.1f}   p95 {p95:5.1f} ms   {fps:4.1f} fps"
                )
        if hasattr(os, "getloadavg"):
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    finally:
        here.send("stop")
        server.join(10)
        server.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
