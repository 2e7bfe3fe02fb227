"""Provokes `Assertion failed: !_io_error` of libzmq 4.3.5 in this process: a peer fills the queue while
nobody reads and resets the connection. Prints "alive" if that is not the end. Run by test_floods.py:

    python hostile_peer.py server|client|twin|spectators|publisher heartbeat|ping

server, client: who is attacked, its thread that reads being held up meanwhile. twin: a second peer with the
routing id of a first one, whom nothing holds up but libzmq itself. spectators: a spectator of the server;
publisher: a subscriber of a SmplxPublisher, which only sends. heartbeat: the queue stays full for longer
than the time between two heartbeats. ping: it is read at once, and a PING of the peer's is in what came
before the reset.
"""

import os
import socket
import sys
import threading
import time

import numpy as np
from zmtp import PING, ZmtpPeer, frame

import dinar_live.runtime.stream.connection as connection_module
from dinar_live.runtime.live import SmplxPublisher
from dinar_live.runtime.stream import Client, RenderedFrame, Server
from dinar_live.runtime.stream.protocol.messages import Caps, Time
from dinar_live.runtime.stream.protocol.messages_codec import encode

HEARTBEATS = 1.5  # seconds, longer than the time between two


class Held:
    """What runs `function` only while nobody holds it."""

    def __init__(self, function):
        self.function, self.free = function, threading.Event()
        self.free.set()

    def __call__(self, *args):
        assert self.free.wait(10)
        return self.function(*args)


def attack(peer: ZmtpPeer, held: Held, message: bytes, how: str, count: int = 900) -> None:
    held.free.clear()
    time.sleep(0.6)  # until the thread waits: it wakes every half second
    peer.send((message if how == "heartbeat" else PING + message) * count)
    time.sleep(0.3)
    peer.reset()
    time.sleep(HEARTBEATS if how == "heartbeat" else 0.1)
    held.free.set()
    time.sleep(0.5)


def attack_server(how: str, twin: bool) -> None:
    held = Held(Server._drain)
    Server._drain = lambda self: held(self)
    with Server(lambda request: RenderedFrame(np.zeros((64, 48, 4), np.uint8)), {}) as server:
        peer = ZmtpPeer(server.endpoint, routing_id=b"twin")
        if not twin:
            attack(peer, held, frame(b"x"), how)
        else:
            peer.send(frame(b"x"))
            time.sleep(0.2)
            second = ZmtpPeer(server.endpoint, routing_id=b"twin")
            second.send(frame(b"x") * 400)
            time.sleep(0.2)
            second.reset()
            time.sleep(HEARTBEATS)
        with Client(server.endpoint):  # it still serves
            pass


def attack_client(how: str) -> None:
    held = connection_module.decode = Held(connection_module.decode)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        peer = ZmtpPeer(connection=listener.accept()[0], type=b"ROUTER")
        peer.send(frame(bytes(encode(Caps({}, 1)))))
        time.sleep(0.5)
        attack(peer, held, frame(bytes(encode(Time(0, 1, 1, 1, 1)))), how)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with Client(f"tcp://127.0.0.1:{listener.getsockname()[1]}"):
        thread.join(20)
        assert not thread.is_alive()


def attack_spectators(how: str) -> None:
    held = Held(Server._serve_spectators)
    Server._serve_spectators = lambda *of: held(*of)
    with Server(
        lambda request: RenderedFrame(np.zeros((64, 48, 4), np.uint8)), {}, spectators="tcp://127.0.0.1:0"
    ) as server:
        assert server.spectators
        for size in (300, 900):  # as much as nobody minds, and more
            peer = ZmtpPeer(server.spectators, type=b"SUB")
            attack(peer, held, frame(b"\1x"), how, size)
        peer = ZmtpPeer(server.spectators, type=b"SUB")  # it still serves
        peer.send(frame(b"\1"))
        end = time.monotonic() + 10
        while not server.stats()["spectators"]:
            assert time.monotonic() < end
            time.sleep(0.05)


def attack_publisher(how: str) -> None:
    with SmplxPublisher("tcp://127.0.0.1:0") as publisher:
        for size in (300, 900):
            held = Held(None)  # it reads only while it sends
            attack(ZmtpPeer(publisher.endpoint, type=b"SUB"), held, frame(b"\1x"), how, size)
            publisher.send(np.zeros((55, 3)))
        peer = ZmtpPeer(publisher.endpoint, type=b"SUB")
        peer.socket.settimeout(0.2)
        peer.send(frame(b"\1"))
        for _ in range(50):
            publisher.send(np.zeros((55, 3)))
            try:
                assert peer.socket.recv(1)
                return
            except TimeoutError:
                pass
        raise AssertionError("it publishes no more")


if __name__ == "__main__":
    whom, how = sys.argv[1:]
    if whom == "spectators":
        attack_spectators(how)
    elif whom == "publisher":
        attack_publisher(how)
    elif whom == "client":
        attack_client(how)
    else:
        attack_server(how, twin=whom == "twin")
    print("alive", flush=True)
    os._exit(0)
