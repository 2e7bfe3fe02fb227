"""A stand-in renderer, a server around it, and a bare socket that can say anything."""

import threading
import time
import types

import numpy as np
import pytest
import zmq

from dinar_live.runtime.stream import RenderedFrame, Server
from dinar_live.runtime.stream.protocol.messages import Caps, Hello
from dinar_live.runtime.stream.protocol.messages_codec import decode, encode


def picture(height: int, width: int, shade: float = 1.0) -> np.ndarray:
    """A smooth premultiplied blob on nothing, u8[H,W,4]; `shade` in [0,1] scales its red."""
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((x - width / 2) / (width / 3), (y - height / 2) / (height / 3))
    alpha = np.clip((1.1 - radius) * 8, 0, 1)
    color = np.stack([shade * x / width, y / height, 0.5 + 0.5 * np.sin(x / 9) * np.sin(y / 7)], -1)
    return np.ascontiguousarray(
        np.round(np.concatenate([color * alpha[..., None], alpha[..., None]], -1) * 255).astype(np.uint8)
    )


class Stub:
    """A renderer: red tells pose.body[0,0]; `seconds` of work; `gate`, when given, holds every render until
    it is set."""

    def __init__(self):
        self.seconds, self.gate, self.failure = 0.0, None, None
        self.requests, self.threads = [], set()

    def __call__(self, request):
        self.requests.append(request)
        self.threads.add(threading.get_ident())
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        time.sleep(self.seconds)
        shade = 1.0 if request.pose is None else float(request.pose.body[0, 0])
        frames = tuple(
            RenderedFrame(picture(*c.size, shade), np.full(c.size, 2.5, np.float32), {"stub": 1.5})
            for c in request.cameras
        )
        return frames if len(frames) > 1 else frames[0]


class RawPeer:
    """A DEALER without manners."""

    def __init__(self, endpoint: str):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def send(self, message) -> None:
        self.socket.send(message if isinstance(message, (bytes, bytearray)) else encode(message))

    def receive(self, seconds: float = 5.0):
        assert self.socket.poll(int(seconds * 1000)), "no answer"
        return decode(self.socket.recv())

    def silent(self, seconds: float = 0.3) -> bool:
        return not self.socket.poll(int(seconds * 1000))

    def hello(self):
        self.send(Hello({"name": "raw"}))
        caps = self.receive()
        assert isinstance(caps, Caps)
        return caps

    def close(self) -> None:
        self.socket.close()
        self.context.term()


@pytest.fixture
def make_picture():
    return picture


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def server(stub):
    with Server(stub, {"size": [64, 48], "avatar": "stub"}) as server:
        yield server
        if stub.gate is not None:
            stub.gate.set()


@pytest.fixture
def raw_peer_of():
    """Makes bare peers of a server."""
    peers = []

    def make(server):
        peers.append(RawPeer(server.endpoint))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def raw_peer(server, raw_peer_of):
    """Makes bare peers of `server`."""
    return lambda: raw_peer_of(server)


@pytest.fixture
def camera():
    return types.SimpleNamespace(
        K=np.float32([[60, 0, 24], [0, 60, 32], [0, 0, 1]]), world_to_camera=np.eye(4, dtype=np.float32)
    )


@pytest.fixture
def pose():
    """Makes a pose whose body[0,0] is `shade`."""

    def make(shade: float = 1.0):
        body = np.zeros((55, 3), np.float32)
        body[0, 0] = shade
        return types.SimpleNamespace(
            body=body, transl=np.zeros(3, np.float32), expression=np.zeros(4, np.float32)
        )

    return make
