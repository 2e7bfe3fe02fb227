"""How many clients at once hold a rate: open loops over ZeroMQ, more of them until frames are stale."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

import numpy as np
import zmq

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.core.process import settle_memory
from dinar_live.runtime.stream import Client, RenderRequest
from dinar_live.runtime.stream.auth.zap import present
from dinar_live.runtime.stream.protocol.messages import Bye, CameraView, Hello, PoseValues
from dinar_live.runtime.stream.protocol.messages_codec import encode
from dinar_live.runtime.stream.protocol.wire import MessageType, unpack_header
from dinar_live.runtime.stream.sockets import make_socket

from . import images
from .paced import FORMAT
from .served import Served
from .stats import Staleness, charged, percentiles, staleness
from .workload import Shot, shots

RATES = (30.0, 72.0, 90.0)
STALE_SHARE = 0.01  # of a client's ticks, at most
SECONDS = 6.0  # of each try
SETTLE_SECONDS = 1.0  # before, while clients come in
CHOICE_SECONDS = 3.0  # the same where the server chooses its renderer meanwhile
HELLO_SECONDS = 10.0
SAMPLES = 4  # frames that are compared with their references before
MAX_CLIENTS = 32  # where the server says nothing


@dataclass(frozen=True)
class Try:
    """So many clients at a rate: the share of stale ticks of the one that fared worst, and its latency (ms) as
    `stats.charged` counts it."""

    clients: int
    stale_share: float
    p50_ms: float
    p99_ms: float

    @property
    def holds(self) -> bool:
        return self.stale_share <= STALE_SHARE


@dataclass(frozen=True)
class Capacity:
    """clients: the most that hold rate_hz, 0 = not even one does. limit: the most that were tried for."""

    rate_hz: float
    clients: int
    limit: int
    tries: list[Try] = field(default_factory=list)

    def as_json(self) -> dict:
        return asdict(self)


class Member:
    """One client of a crowd: asks at every tick, notes when frames come, decodes none."""

    def __init__(self, context: zmq.Context, endpoint: str, access: Mapping, name: str):
        self.socket = make_socket(context, zmq.DEALER, send_queue=8, receive_queue=8, max_message=-1)
        if access:
            present(self.socket, access["server_key"], access["key"])
        self.socket.connect(endpoint)
        self._name = name
        self.next_id = 1
        self.asked_for: list[int] = []  # planned times of the requests that frames answered, ns
        self.came: list[int] = []

    def greet(self) -> None:
        """Says hello and waits for the answer. Raises DinarError where none comes."""
        if self.socket.poll(int(HELLO_SECONDS * 1e3), zmq.POLLOUT):
            self.socket.send(bytes(encode(Hello({"name": self._name}))))
        if not self.socket.poll(int(HELLO_SECONDS * 1e3)):
            raise DinarError("capacity: the server does not answer a new client")
        header = unpack_header(self.socket.recv())
        if header.type != MessageType.CAPS:
            raise DinarError("capacity: the server lets no more clients in; see --limit max_clients")

    def ask(self, shot: Shot, size: tuple[int, int], planned_ns: int) -> None:
        pose, camera = shot
        view = CameraView(camera.K, camera.world_to_camera, size[1], size[0])
        values = PoseValues(pose.body, pose.transl, pose.expression)
        request = RenderRequest(self.next_id, (view,), values, pose_time_ns=planned_ns)
        self.next_id += 1
        try:
            self.socket.send(bytes(encode(request)), zmq.NOBLOCK)
        except zmq.Again:
            pass  # the server does not read; the tick will be charged

    def take(self) -> None:
        """What has come."""
        while True:
            try:
                message = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            now, header = time.monotonic_ns(), unpack_header(message.buffer)
            if header.type == MessageType.FRAME:
                self.asked_for.append(header.client_time_ns)
                self.came.append(now)
            elif header.type == MessageType.ERROR:
                raise DinarError(
                    "capacity: the server refused a request; try one client with --scenario paced"
                )

    def close(self) -> None:
        try:
            self.socket.send(bytes(encode(Bye())), zmq.NOBLOCK)
        except zmq.Again:
            pass
        self.socket.close(100)


def crowd(
    served: Served, work: Sequence[Shot], rate: float, seconds: float, clients: int, settle: float
) -> list[tuple[Staleness, np.ndarray]]:
    """Staleness and latency (ms, charged) of each of so many clients at `rate` Hz, their ticks spread evenly over
    a period. The first `settle` seconds are not judged."""
    skipped, ticks = round(settle * rate), max(round(seconds * rate), 2)
    with ExitStack() as stack:
        context = zmq.Context()
        stack.callback(context.destroy, linger=0)
        members = [Member(context, served.endpoint, served.access, f"capacity {i}") for i in range(clients)]
        for member in members:
            stack.callback(member.close)
            member.greet()
        settle_memory()
        poller = zmq.Poller()
        for member in members:
            poller.register(member.socket, zmq.POLLIN)
        by_socket = {member.socket: member for member in members}
        period = 1e9 / rate
        begin = time.monotonic_ns() + 50_000_000
        offsets = [begin + round(i * period / clients) for i in range(clients)]
        turns = [
            (round(k * period) + offsets[i], i, k) for k in range(skipped + ticks) for i in range(clients)
        ]
        end = begin + round((skipped + ticks + 1) * period)
        for planned, i, k in [*turns, (end, -1, 0)]:
            while (left := planned - time.monotonic_ns()) > 0:
                for socket, _ in poller.poll(max(left // 1_000_000, 0)):
                    by_socket[socket].take()
                if left < 1_000_000:
                    time.sleep(max(planned - time.monotonic_ns(), 0) / 1e9)
            if i >= 0:
                served.alive()
                members[i].ask(work[(k + 7 * i) % len(work)], served.size, planned)
        found = []
        for member, offset in zip(members, offsets, strict=True):
            member.take()
            planned = offset + np.round(np.arange(skipped, skipped + ticks + 1) * period).astype(np.int64)
            waits = charged(planned[:-1], member.asked_for, member.came, end)
            found.append((staleness(planned, member.asked_for, member.came), waits.latency_ms))
        return found


def most_that_hold(holds: Callable[[int], bool], limit: int) -> int:
    """The most clients up to `limit` that hold, by doubling and halving; 0 = not even one."""
    good, bad = 0, limit + 1
    while good < limit and good + 1 < bad:
        tried = min(max(2 * good, 1), limit) if bad > limit else (good + bad) // 2
        if holds(tried):
            good = tried
        else:
            bad = tried
    return good


def run_capacity(
    served: Served, rates: Sequence[float], seconds: float, *, say: Callable[[str], None] = lambda line: None
) -> tuple[list[Capacity], list[str], dict]:
    """(capacities, faults, the server's CAPS). say: told of each try. A try that fails is made once more, and the
    better one counts. Raises InputError, DinarError."""
    if not 0 < seconds <= 3600:
        raise InputError(f"--seconds {seconds:g}: expected more than 0 and at most 3600 for each try")
    with Client(served.endpoint, timeout=30.0, name="dinar bench", **served.access) as client:
        caps = client.capabilities
        faults = _faults(served, client, caps)
    settle = CHOICE_SECONDS if "quality" in caps else SETTLE_SECONDS
    limit = int(caps.get("limits", {}).get("max_clients", MAX_CLIENTS))
    found = []
    for rate in rates:
        if not 0.5 <= rate <= 1000:
            raise InputError(f"--rate {rate:g}: expected 0.5..1000 Hz")
        work = shots(served.avatar, served.motion, served.size, round(served.motion.duration * rate), rate)
        tries: list[Try] = []

        def holds(
            clients: int, rate: float = rate, work: list[Shot] = work, tries: list[Try] = tries
        ) -> bool:
            for _ in range(2):
                worst = max(
                    crowd(served, work, rate, seconds, clients, settle),
                    key=lambda of: of[0].stale / of[0].ticks,
                )
                latency = percentiles(worst[1])
                tried = Try(clients, worst[0].stale / worst[0].ticks, latency["p50"], latency["p99"])
                tries.append(tried)
                say(
                    f"{rate:g} Hz, {clients} clients: {100 * tried.stale_share:.1f} % stale, p50 {tried.p50_ms:.1f} ms, "
                    f"p99 {tried.p99_ms:.1f} ms"
                )
                if tried.holds:
                    return True
            return False

        found.append(Capacity(rate, most_that_hold(holds, limit), limit, tries))
    return found, faults, caps


def _faults(served: Served, client: Client, caps: dict) -> list[str]:
    """Some frames against their references: a fast but wrong frame is no result."""
    work = shots(served.avatar, served.motion, served.size, SAMPLES, SAMPLES / served.motion.duration)
    client.renderer = ""
    kept = []
    for pose, camera in work:
        frame = client.render(pose, camera, served.size)
        made = frame.rendered
        if fault := images.coverage_fault(frame.rgba):
            return [fault]
        if made is None or made.scale == 1:
            kept.append((pose, camera, frame.rgba, made.renderer if made else caps["renderer"]))
    if not kept:
        return []
    return images.judge(*images.compare_served(served.avatar, served.options, kept, served.size, FORMAT))


def lines(found: Sequence[Capacity]) -> list[str]:
    """For people."""
    out = [f"{'rate':>8}  {'clients':>8}  of the worst client: stale, p50, p99"]
    for one in found:
        best = [t for t in one.tries if t.clients == one.clients and t.holds]
        more = [t for t in one.tries if t.clients == one.clients + 1]
        text = _told(best[-1]) if best else ""
        if more:
            text += f"{'; ' if text else ''}one more: {_told(min(more, key=lambda t: t.stale_share))}"
        at_least = "+" if one.clients == one.limit else ""
        out.append(f"{one.rate_hz:>5g} Hz  {f'{one.clients}{at_least}':>8}  {text}")
    return out


def _told(t: Try) -> str:
    return f"{100 * t.stale_share:.1f} %, {t.p50_ms:.1f} ms, {t.p99_ms:.1f} ms"
