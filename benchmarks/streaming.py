"""What streaming adds to the render time, pose in to picture out over loopback: with a renderer that takes no
time, open and with keys.

    python benchmarks/streaming.py [--size 512] [--frames 300] [--rounds 5] [--color raw] [--paced]

Server and client are processes of their own. The two kinds take turns, a round of each, so that what else the
machine does hits both. Added is the time from just before Client.render to its decoded picture, minus the
server's `render` stage.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import pathlib
import sys
import tempfile
import time

import numpy as np

from dinar_live.runtime import Avatar, Camera, Pose, Renderer
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.stream import Client, FrameFormat, KeyFolder, KeyPair, RenderedFrame, Server

WARM = 30
RATE = 30.0


def picture(size: int) -> np.ndarray:
    """The demo avatar, as large as a default camera shows it, u8[size, size, 4]."""
    avatar = Avatar.demo()
    with Renderer(avatar, size=(size, size)) as renderer:
        frame = renderer.render(
            Pose(body=np.zeros((55, 3))), Camera.orbit(avatar.rig.joints[0], (size, size), azimuth=0.5)
        )
        return frame.rgba.copy()


def serve(rgba: np.ndarray, folder: str | None, pipe) -> None:
    """A server until `pipe` says something; tells its endpoint first."""
    keys = None if folder is None else KeyFolder(folder)
    with Server(lambda request: RenderedFrame(rgba), {"size": list(rgba.shape[:2])}, keys=keys) as server:
        settle_memory()
        pipe.send(server.endpoint)
        pipe.recv()


@contextlib.contextmanager
def client_of(rgba: np.ndarray, curve: bool, color: str):
    """A client of a server in another process."""
    with tempfile.TemporaryDirectory() as folder:
        access, keys = {}, None
        if curve:
            keys, pair = KeyFolder(pathlib.Path(folder) / "keys"), KeyPair.new()
            keys.add("bench", pair.public)
            access = {"server_key": keys.pair.public, "key": pair}
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(rgba, keys and str(keys.folder), there), daemon=True
        )
        process.start()
        try:
            if not here.poll(60):
                raise SystemExit("the server did not start")
            with Client(here.recv(), format=FrameFormat(color=color), **access) as client:
                yield client
        finally:
            here.send("stop")
            process.join(10)
            process.kill()


def added_ms(client: Client, camera: Camera, frames: int, paced: bool) -> np.ndarray:
    """Milliseconds that streaming added to each of `frames` pictures."""
    pose, out, next_at = Pose(body=np.zeros((55, 3))), np.empty(frames), time.monotonic()
    for i in range(-WARM, frames):
        if paced:
            next_at += 1 / RATE
            time.sleep(max(0.0, next_at - time.monotonic()))
        began = time.monotonic_ns()
        frame = client.render(pose, camera)
        if i >= 0:
            out[i] = (time.monotonic_ns() - began) / 1e6 - frame.timings["render"]
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=300, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--color", choices=("jpeg", "raw"), default="jpeg")
    parser.add_argument(
        "--paced", action="store_true", help=f"{RATE:g} pictures a second instead of as fast as they come"
    )
    args = parser.parse_args()
    rgba = picture(args.size)
    camera = Camera.orbit(np.zeros(3), (args.size, args.size))
    with client_of(rgba, False, args.color) as open_client, client_of(rgba, True, args.color) as keyed_client:
        settle_memory()
        rounds = [
            (
                added_ms(open_client, camera, args.frames, args.paced),
                added_ms(keyed_client, camera, args.frames, args.paced),
            )
            for _ in range(args.rounds)
        ]
    plain, curve = (np.concatenate(part) for part in zip(*rounds, strict=True))
    print(
        f"{args.size}x{args.size} {args.color}, {'paced' if args.paced else 'closed loop'}, {len(plain)} pictures each, ms added:"
    )
    for name, values in (("open", plain), ("CURVE", curve)):
        p50, p90, p99 = np.percentile(values, (50, 90, 99))
        print(f"  {name:<6} p50 {p50:.2f}   p90 {p90:.2f}   p99 {p99:.2f}")
    differences = [np.median(b) - np.median(a) for a, b in rounds]
    print(
        f"  CURVE costs {np.median(differences):.2f} ms (rounds: {', '.join(f'{d:.2f}' for d in differences)})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
