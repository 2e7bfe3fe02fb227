"""Clients that die, crowds that say nothing, clocks that jump."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import zmq

from dinar_live.runtime import stream
from dinar_live.runtime.stream import Client, Limits, RenderedFrame, RenderRequest, Server
from dinar_live.runtime.stream.protocol.messages import CameraView, FrameMessage, Time
from dinar_live.runtime.stream.protocol.wire import ErrorCode

# Asks for pictures of 4 MB as fast as they come; dies in the middle of one.
GREEDY = """
import sys, types
import numpy as np
from dinar_live.runtime.stream import Client, FrameFormat
camera = types.SimpleNamespace(K=np.eye(3, dtype="f4"), world_to_camera=np.eye(4, dtype="f4"))
with Client(sys.argv[1], format=FrameFormat("raw"), window=2) as client:
    while True:
        client.send(None, camera, (1024, 1024))
        client.async_read()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_killed_in_the_middle_of_a_frame(camera, pose, eventually):
    noise = np.random.default_rng(1).integers(0, 255, (1024, 1024, 4), np.uint8)

    def render(request):
        height, width = request.cameras[0].size
        return RenderedFrame(np.ascontiguousarray(noise[:height, :width]))

    with Server(render, {}, limits=Limits(idle_timeout=4.0)) as server, Client(server.endpoint) as other:
        victims = [subprocess.Popen([sys.executable, "-c", GREEDY, server.endpoint]) for _ in range(3)]
        try:
            eventually(
                lambda: server.stats()["clients"] == 4 and server.stats()["bytes_sent"] > 200 << 20, 30
            )
        finally:
            for victim in victims:
                victim.kill()
                victim.wait()
        for _ in range(20):
            assert other.render(pose(), camera, (64, 48)).rgba.shape == (64, 48, 4)
        eventually(lambda: server.stats()["clients"] == 1, 10)


def test_two_hundred_connections_that_say_nothing(server, stub, camera, pose, eventually):
    host, port = server.endpoint.removeprefix("tcp://").split(":")
    dumb = [
        socket.create_connection((host, int(port))) for _ in range(140)
    ]  # both ends are files of this process
    context = zmq.Context()
    silent = [context.socket(zmq.DEALER) for _ in range(60)]
    try:
        for dealer in silent:
            dealer.connect(server.endpoint)
        with Client(server.endpoint) as client:
            for i in range(20):
                assert client.render(pose(), camera).id == i + 1
            assert server.stats()["clients"] == 1, "who says no HELLO takes no place"
        # Who does not even speak ZMTP is cut after the time for a handshake.
        for peer in dumb:
            peer.settimeout(15)
            while peer.recv(4096):
                pass
    finally:
        context.destroy(linger=0)
        for peer in dumb:
            peer.close()


@pytest.mark.parametrize("times", [[5, 3, 1], [2**63, 1, 2**64 - 1], [0, 0, 0]])
def test_a_clients_clock_may_jump(server, raw_peer, times):
    """Pose times are echoed, and nothing is ordered or dropped by them."""
    peer = raw_peer()
    peer.hello()
    view = CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), 48, 64)
    for id, pose_time_ns in enumerate(times, 1):
        peer.send(RenderRequest(id, (view,), pose_time_ns=pose_time_ns))
        answer = peer.receive()
        assert isinstance(answer, FrameMessage) and (answer.id, answer.pose_time_ns) == (id, pose_time_ns)
        peer.send(Time(id, pose_time_ns))
        answer = peer.receive()
        assert (answer.id, answer.client_ns) == (
            id,
            pose_time_ns,
        ) and answer.server_send_ns >= answer.server_recv_ns > 0


def test_the_wall_clock_is_not_asked():
    """Which an administrator, or the network, may set at any time."""
    folder = pathlib.Path(stream.__file__).parent
    found = [
        f"{path.name}: {line}"
        for path in folder.glob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\btime\.(time|time_ns|localtime|gmtime)\(|datetime", line)
    ]
    assert not found


def test_the_same_id_twice_is_rendered_once(server, stub, raw_peer):
    peer = raw_peer()
    peer.hello()
    view = CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), 48, 64)
    stub.gate = threading.Event()
    for id in (7, 7, 6):
        peer.send(RenderRequest(id, (view,)))
    refused = [peer.receive() for _ in range(2)]
    assert [(a.id, a.code) for a in refused] == [(7, ErrorCode.BAD_ID), (6, ErrorCode.BAD_ID)]
    stub.gate.set()
    assert peer.receive().id == 7 and peer.silent()
    assert len(stub.requests) == 1


def test_two_clients_may_use_the_same_ids(server, raw_peer, make_picture):
    a, b = raw_peer(), raw_peer()
    view = CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), 48, 64)
    for peer in (a, b):
        peer.hello()
        peer.send(RenderRequest(1, (view,), pose_time_ns=id(peer) % 1000))
    for peer in (a, b):
        answer = peer.receive()
        assert (answer.id, answer.pose_time_ns) == (1, id(peer) % 1000) and peer.silent(0.1)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_clients_that_come_and_go_leave_nothing_open(server, camera, pose, eventually):
    def visit():
        with Client(server.endpoint) as client:
            client.render(pose(), camera)

    visit()
    eventually(lambda: server.stats()["clients"] == 0)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        visit()
    eventually(lambda: server.stats()["clients"] == 0 and len(os.listdir("/proc/self/fd")) <= before + 2)
