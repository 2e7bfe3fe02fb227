"""Two other clients beside that of a benchmark, in a process of their own: one reads at a third of the rate, one
never reads. A server must not let them slow down the client that is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

import numpy as np
import zmq

from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.render.framing import FollowingCamera
from dinar_live.runtime.stream import Client, RenderRequest
from dinar_live.runtime.stream.auth.zap import present
from dinar_live.runtime.stream.protocol.messages import CameraView, Hello, PoseValues
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.sockets import make_socket

from .stats import percentiles

THIRD = 3
HELLO_SECONDS = 12.0  # a client that does not read is dropped by then, and comes again
END_SECONDS = 10.0


class Neighbours:
    """Both clients for as long as the `with` block lasts, asking for frames of `size` (height, width) at `rate` Hz
    each.

    access: keys, as keyword arguments of Client. `result` afterwards: reads and age_ms (p50, p90, p95, p99,
    max) of the client that reads at a third of the rate, asked (requests of the one that never reads). Raises
    DinarError if the process fails.
    """

    def __init__(self, endpoint: str, size: tuple[int, int], rate: float, access: Mapping | None = None):
        self._orders = json.dumps(
            {
                "endpoint": endpoint,
                "size": size,
                "rate": rate,
                "access": {
                    k: [v.public, v.secret] if k == "key" else str(v) for k, v in (access or {}).items()
                },
            }
        )
        self.result: dict = {}

    def __enter__(self) -> Neighbours:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None and answers is not None  # both are pipes
        try:
            orders.write(self._orders + "\n")  # not an argument: there may be a secret key in it
            orders.flush()
            if answers.readline() != "ready\n":
                raise DinarError("the other clients could not start; their process says why")
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        return self

    def __exit__(self, kind, *exc) -> None:
        try:
            said, _ = self._process.communicate(timeout=END_SECONDS)  # it ends with its standard input
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
        if kind is None:
            try:
                self.result = json.loads(said)
            except ValueError:
                raise DinarError(
                    "the other clients ended in the middle of the run; their process says why"
                ) from None


class _Work:
    """Poses and cameras of the built-in motion, in the order of time."""

    def __init__(self, caps: Mapping, size: tuple[int, int], rate: float):
        self._fitted = demo_motion().for_avatar(
            np.array(caps["rest_joints"], np.float32), tuple(caps["expression_names"])
        )
        self._follow = FollowingCamera(caps["rest_joints"][0], tuple(caps["body_extent"]), size)
        self._rate = rate

    def at(self, tick: int):
        pose = self._fitted.pose_at(tick / self._rate)
        return pose, self._follow.at(pose.transl)


def _ticks(rate: float, ended: threading.Event):
    """0, 1, 2, ... at their times, until `ended`."""
    began, tick = time.monotonic(), 0
    while not ended.wait(max(0.0, began + tick / rate - time.monotonic())):
        yield tick
        tick = max(tick + 1, int((time.monotonic() - began) * rate))


def _read_a_third(
    client: Client, work: _Work, size, rate: float, ended: threading.Event, ages: list[float]
) -> None:
    seen = 0
    for tick in _ticks(rate, ended):
        client.send(*work.at(tick), size)
        if tick % THIRD == 0 and (frame := client.read_latest()) is not None and frame.id != seen:
            seen = frame.id
            ages.append((time.monotonic_ns() - frame.pose_time_ns) / 1e6)


def _never_read(
    endpoint: str, access: Mapping, work: _Work, size, rate: float, ended: threading.Event
) -> int:
    context = zmq.Context()
    deaf = make_socket(context, zmq.DEALER, send_queue=8, receive_queue=1, max_message=-1)
    deaf.setsockopt(zmq.RCVBUF, 4096)
    if access:
        present(deaf, access["server_key"], access["key"])
    deaf.connect(endpoint)
    hello_at, asked = float("-inf"), 0
    try:
        for tick in _ticks(rate, ended):
            pose, camera = work.at(tick)
            view = CameraView(camera.K, camera.world_to_camera, size[1], size[0])
            values = PoseValues(pose.body, pose.transl, pose.expression)
            messages = [encode(RenderRequest(tick + 1, (view,), values, pose_time_ns=time.monotonic_ns()))]
            if time.monotonic() - hello_at > HELLO_SECONDS:
                messages.insert(0, encode(Hello({"name": "never reads"})))
            for message in messages:
                try:
                    deaf.send(message, zmq.NOBLOCK)
                except zmq.Again:
                    continue
                hello_at = time.monotonic() if len(messages) == 2 else hello_at
                asked += 1
    finally:
        context.destroy(linger=0)
    return asked


def main() -> None:
    from dinar_live.runtime.stream import KeyPair

    orders = json.loads(sys.stdin.readline())
    endpoint, size, rate, access = orders["endpoint"], tuple(orders["size"]), orders["rate"], orders["access"]
    if access:
        access["key"] = KeyPair(*access["key"])
    ended = threading.Event()
    ages: list[float] = []
    asked: list[int] = []
    with Client(endpoint, name="reads a third", **access) as client:
        works = [_Work(client.capabilities, size, rate) for _ in range(2)]
        settle_memory()
        threads = [
            threading.Thread(target=_read_a_third, args=(client, works[0], size, rate, ended, ages)),
            threading.Thread(
                target=lambda: asked.append(_never_read(endpoint, access, works[1], size, rate, ended))
            ),
        ]
        for thread in threads:
            thread.start()
        print("ready", flush=True)
        while os.read(0, 4096):
            pass
        ended.set()
        for thread in threads:
            thread.join()
    print(json.dumps({"reads": len(ages), "age_ms": percentiles(ages) if ages else {}, "asked": sum(asked)}))


if __name__ == "__main__":
    main()
