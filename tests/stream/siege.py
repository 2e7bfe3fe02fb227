"""A `dinar serve` under siege: floods, kills, stops, strangers, broken bytes and ever new sizes, all at once.

    python tests/stream/siege.py 600             # ten minutes by hand; prints a report, exit code 1 if anything failed
    python tests/stream/siege.py attack KIND ENDPOINT        # what it starts as processes of its own, to kill and to stop

What must hold: the server does not end, one well-behaved client is served throughout, resident memory grows by no more
than the budget of --memory allows, and SIGTERM ends it within 2 s. Run for a shorter time by test_siege.py.
"""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time

import zmq

from dinar_live.runtime import Camera
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.stream import Client
from dinar_live.runtime.stream.protocol.messages import (
    CameraView,
    Describe,
    Hello,
    RenderRequest,
    SourceChoice,
)
from dinar_live.runtime.stream.protocol.messages_codec import encode

MEMORY = 256  # MiB, --memory
# Beside the budget: libraries' own pools, what waits for clients that do not read, and estimates that are too low.
MORE_MEMORY = 128  # MiB
GAP_SECONDS = (
    6.0  # without a frame for the good client, at most; a turn of the largest frame takes long on a slow CPU
)
END_SECONDS = 2.0
ATTACKERS = 5  # at a time
KINDS = ("flood", "strangers", "sizes", "garbage", "churn", "polite")
SIZES = (128, 200, 256, 320, 384, 448, 512, 640, 768, 1024)


# ---- attackers: processes of their own ---------------------------------------------------------------------


def request(id, size=(64, 64), renderer=None, cameras=1):
    camera = Camera.look_at((0, 0.9, 3), (0, 0.9, 0), size)
    view = CameraView(camera.K, camera.world_to_camera, size[1], size[0])
    return bytes(
        encode(RenderRequest(id, (view,) * cameras, source=SourceChoice(0, 0.0, True), renderer=renderer))
    )


def dealer(endpoint, **options):
    made = zmq.Context.instance().socket(zmq.DEALER)
    for name, value in options.items():
        made.setsockopt(getattr(zmq, name.upper()), value)
    made.connect(endpoint)
    return made


def flood(endpoint):
    """Asks as fast as it can and never reads."""
    line = dealer(endpoint, rcvhwm=1, rcvbuf=4096, sndhwm=0)
    line.send(bytes(encode(Hello({"name": "flood"}))))
    for id in range(1, 1 << 40):
        line.send(request(id))


def strangers(endpoint):
    """Asks what the server is like, without HELLO."""
    line, question = dealer(endpoint, sndhwm=0), bytes(encode(Describe(1)))
    while True:
        line.send(question)


def sizes(endpoint):
    """Ever new sizes, kinds and renderers; reads what comes."""
    rng, line = random.Random(os.getpid()), dealer(endpoint)
    line.send(bytes(encode(Hello({"name": "sizes"}))))
    for id in range(1, 1 << 40):
        size = (rng.choice(SIZES), rng.choice(SIZES))
        cameras = 2 if 2 * size[0] * size[1] <= 1 << 19 else 1
        line.send(request(id, size, rng.choice((None, "", "light", "texture", "nonsense")), cameras))
        if line.poll(2000):
            line.recv()


def garbage(endpoint):
    """Bytes that are no ZMTP, cut off in the middle, and connections that are reset."""
    rng = random.Random(os.getpid())
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    while True:
        with socket.create_connection((host, int(port)), 5) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            greeting = b"\xff" + bytes(8) + b"\x7f\3\0NULL" + bytes(48) if rng.random() < 0.5 else b""
            try:
                line.sendall(greeting[: rng.randrange(65)] + rng.randbytes(rng.randrange(1, 4000)))
            except OSError:
                pass
            time.sleep(rng.random() / 20)


def churn(endpoint):
    """Comes, asks, and is gone in the middle of it."""
    while True:
        line = dealer(endpoint, linger=0)
        line.send(bytes(encode(Hello({"name": "churn"}))))
        line.send(request(1, (256, 256)))
        line.poll(20)
        line.close()


def polite(endpoint):
    """A well-behaved client, to be stopped and killed."""
    with Client(endpoint, name="polite", timeout=60) as client:
        camera = Camera.look_at((0, 0.9, 3), (0, 0.9, 0), (256, 256))
        while True:
            client.render(None, camera, (256, 256), source=SourceChoice(0, 0.0, True))


# ---- the siege ---------------------------------------------------------------------------------------------


def resident(pid):
    """MiB."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


class Besiegers:
    """ATTACKERS processes at a time; each is stopped, let go on or killed after some random while."""

    def __init__(self, endpoint, seed=1):
        self._endpoint, self._rng = endpoint, random.Random(seed)
        self._running: list[tuple[subprocess.Popen, float]] = []
        self.begun, self.killed, self.stopped = dict.fromkeys(KINDS, 0), 0, 0

    def keep_on(self):
        now = time.monotonic()
        for entry in list(self._running):
            process, end = entry
            if now > end or process.poll() is not None:
                process.kill()
                process.wait()
                self.killed += 1
                self._running.remove(entry)
            elif self._rng.random() < 0.02:
                process.send_signal(self._rng.choice((signal.SIGSTOP, signal.SIGCONT)))
                self.stopped += 1
        while len(self._running) < ATTACKERS:
            kind = min(KINDS, key=lambda kind: (self.begun[kind], self._rng.random()))
            command = [sys.executable, __file__, "attack", kind, self._endpoint]
            self.begun[kind] += 1
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._running.append((process, now + 2 + self._rng.random() * 8))

    def close(self):
        for process, _ in self._running:
            process.kill()
            process.wait()


def serve():
    command = [
        sys.executable,
        "-m",
        "dinar_live.cli.main",
        "serve",
        "demo",
        "--no-page",
        "--endpoint",
        "tcp://127.0.0.1:0",
    ]
    command += ["--size", "256", "--memory", str(MEMORY), "--limit", f"max_pixels={1 << 20}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if found := re.match(r"ready (\S+)", line):
            return process, found[1]
    raise SystemExit(f"the server did not start (exit code {process.wait()})")


def siege(seconds):
    """The report; "faults" says what did not hold."""
    server, endpoint = serve()
    before, most, faults = resident(server.pid), 0.0, []
    besiegers = Besiegers(endpoint)
    frames, refused, longest = 0, 0, 0.0
    try:
        with Client(endpoint, name="good", timeout=GAP_SECONDS) as client:
            camera = Camera.look_at((0, 0.9, 3), (0, 0.9, 0), (256, 256))
            end = last = time.monotonic()
            end += seconds
            while time.monotonic() < end and server.poll() is None:
                besiegers.keep_on()
                try:
                    frame = client.render(None, camera, (256, 256), source=SourceChoice(0, 0.0, True))
                    frames += bool(frame.rgba.any())
                    longest = max(longest, time.monotonic() - last)
                    last = time.monotonic()
                except DinarError as e:
                    refused += 1
                    if len(faults) < 5:
                        faults.append(f"the good client: {e}")
                most = max(most, resident(server.pid)) if server.poll() is None else most
                time.sleep(0.05)
    finally:
        besiegers.close()
    began = time.monotonic()
    ended = server.poll()
    if ended is None:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
    took = time.monotonic() - began
    said = server.stdout.read()[-2000:]
    if ended is not None or server.returncode != 0:
        faults.append(f"the server ended with {server.returncode}: {said}")
    if took > END_SECONDS:
        faults.append(f"SIGTERM to exit took {took:.1f} s, expected at most {END_SECONDS:g}")
    if most - before > MEMORY + MORE_MEMORY:
        faults.append(
            f"resident memory grew by {most - before:.0f} MiB, expected at most {MEMORY + MORE_MEMORY}"
        )
    if longest > GAP_SECONDS or not frames:
        faults.append(f"the good client got {frames} frames, once none for {longest:.1f} s")
    return {
        "seconds": seconds,
        "frames": frames,
        "longest_gap_s": round(longest, 2),
        "memory_mib": [round(before), round(most)],
        "sigterm_s": round(took, 2),
        "attackers": besiegers.begun,
        "killed": besiegers.killed,
        "signals": besiegers.stopped,
        "faults": faults,
    }


def main(arguments):
    if arguments[:1] == ["attack"]:
        kinds = {f.__name__: f for f in (flood, strangers, sizes, garbage, churn, polite)}
        kinds[arguments[1]](arguments[2])
        return 0
    report = siege(float(arguments[0]) if arguments else 600.0)
    print(json.dumps(report, indent=1))
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
