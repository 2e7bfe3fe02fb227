"""Many clients at one server: turns, neighbours that are slow or dead, spectators."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq

from dinar_live.runtime.core.errors import DinarError, InputError, StreamTimeout
from dinar_live.runtime.stream import (
    Client,
    FrameFormat,
    KeyFolder,
    KeyPair,
    Limits,
    RenderRequest,
    Server,
    Spectator,
)
from dinar_live.runtime.stream import spectator_broadcast as stage_module
from dinar_live.runtime.stream.auth import keys as keys_module
from dinar_live.runtime.stream.leader_election import LeaderElection
from dinar_live.runtime.stream.mailbox import Mailbox
from dinar_live.runtime.stream.protocol.messages import CameraView, Hello
from dinar_live.runtime.stream.protocol.messages_codec import encode

RAW = FrameFormat("raw")


class TestMailbox:
    def test_turns_whatever_the_rates(self):
        """One client fills its slot again and again, the others once each: nobody waits for more than one
        picture of each other."""
        box, taken = Mailbox(), []
        for client in (b"a", b"b", b"c"):
            box.put(client, 0)
        for n in range(9):
            for _ in range(50):
                box.put(b"a", n)
            client, _ = box.take()
            taken.append(client)
            if client != b"a":
                box.put(client, n)
        assert taken == [b"a", b"b", b"c"] * 3

    def test_who_is_not_ready_is_passed_by_and_keeps_the_turn(self):
        box, ready = Mailbox(), {b"b"}
        for client in (b"a", b"b"):
            box.put(client, client)
        assert box.take(lambda item: item in ready) == (b"b", b"b")
        box.put(b"b", b"b")
        ready.add(b"a")
        assert box.take(lambda item: item in ready) == (b"a", b"a")

    def test_waits_for_readiness_and_ends_with_close(self):
        box, ready, taken = Mailbox(), threading.Event(), []
        box.put(b"a", 1)
        thread = threading.Thread(
            target=lambda: taken.extend([box.take(lambda item: ready.is_set()), box.take()])
        )
        thread.start()
        time.sleep(0.03)
        assert not taken
        ready.set()
        time.sleep(0.05)
        assert box.close() == []
        thread.join(5)
        assert taken == [(b"a", 1), None]


class TestLead:
    def test_the_first_leads_until_it_is_quiet(self):
        lead = LeaderElection(0.5)
        assert lead.claims("a", 0.0) and not lead.claims("b", 0.4) and lead.claims("a", 0.5)
        assert not lead.claims("b", 1.0) and lead.claims("b", 1.01) and not lead.claims("a", 1.02)

    def test_a_higher_rank_takes_over_at_once_and_is_not_taken_over_by_a_lower_one(self):
        lead = LeaderElection(0.5)
        assert (
            lead.claims("viewer", 0.0, 0)
            and lead.claims("driver", 0.1, 1)
            and not lead.claims("viewer", 0.2, 0)
        )
        assert not lead.claims("driver 2", 0.3, 1) and lead.claims("viewer", 0.7, 0)


def test_a_greedy_client_does_not_starve_the_others(stub, camera, pose):
    """One asks as fast as it can with eight requests on their way; the other gets its turns."""
    stub.seconds, stop = 0.005, threading.Event()

    def greedy(endpoint):
        with Client(endpoint, format=RAW, window=8) as client:
            while not stop.is_set():
                client.send(pose(0.5), camera)
                time.sleep(0.0005)

    with Server(stub, {"size": [64, 48]}) as server, Client(server.endpoint, format=RAW) as calm:
        thread = threading.Thread(target=greedy, args=(server.endpoint,))
        thread.start()
        try:
            calm.render(pose(1.0), camera)
            before = len(stub.requests)
            for _ in range(20):
                calm.render(pose(1.0), camera)
            rendered = stub.requests[before:]
        finally:
            stop.set()
            thread.join()
    shades = [float(r.pose.body[0, 0]) for r in rendered]
    assert shades.count(1.0) == 20
    # one of the other's that is begun already, one that came before, and what is rendered while the answer is
    # on its way
    gaps = np.diff([i for i, s in enumerate(shades) if s == 1.0])
    assert gaps.mean() <= 8


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be stopped here")
def test_a_stopped_client_and_its_neighbours(stub, camera, pose, eventually):
    """SIGSTOP in the middle of 4 MB frames: the neighbour goes on, the stopped one is dropped in the end."""
    program = (
        "import sys, types\nimport numpy as np\nfrom dinar_live.runtime.stream import Client, FrameFormat\n"
        "camera = types.SimpleNamespace(K=np.eye(3, dtype='f4'), world_to_camera=np.eye(4, dtype='f4'))\n"
        "with Client(sys.argv[1], format=FrameFormat('raw'), window=4) as client:\n"
        "    print('up', flush=True)\n"
        "    while True:\n"
        "        client.send(None, camera, (1024, 1024))\n"
        "        client.async_read()\n"
    )
    with (
        Server(stub, {"size": [64, 48]}, limits=Limits(idle_timeout=3.0, send_queue=1)) as server,
        Client(server.endpoint) as client,
    ):
        process = subprocess.Popen([sys.executable, "-c", program, server.endpoint], stdout=subprocess.PIPE)
        try:
            assert process.stdout.readline() == b"up\n"
            eventually(lambda: server.stats()["frames"] > 2, 20)
            os.kill(process.pid, signal.SIGSTOP)
            for _ in range(10):
                assert client.render(pose(), camera).rgba.any()
            eventually(lambda: client.render(pose(), camera) and server.stats()["clients"] == 1, 20)
        finally:
            process.kill()
            process.communicate()
        assert client.render(pose(), camera).rgba.any()


def overview():
    return RenderRequest(1, (CameraView(np.eye(3, dtype="f4"), np.eye(4, dtype="f4"), 32, 24),))


@pytest.fixture
def watched(stub):
    """A server with spectators and nothing to show of its own."""
    with Server(stub, {"size": [64, 48]}, spectators="tcp://127.0.0.1:0") as server:
        yield server


def watching(server, count=1):
    def condition():
        return server.stats()["spectators"] == count

    return condition


def test_spectators_see_what_the_client_sees(watched, camera, pose, eventually):
    with (
        Client(watched.endpoint, format=FrameFormat("raw", depth="inverse", background=(1, 0, 0))) as client,
        Spectator(watched.spectators) as one,
        Spectator(watched.spectators) as two,
    ):
        eventually(watching(watched, 2))
        frame = client.render(pose(0.5), camera)
        for spectator in (one, two):
            seen = spectator.read()
            assert (
                seen.id == frame.id
                and seen.pose_time_ns == frame.pose_time_ns
                and seen.timings.keys() == frame.timings.keys()
            )
            np.testing.assert_array_equal(seen.rgba, frame.rgba)
            np.testing.assert_array_equal(seen.depth, frame.depth)
            np.testing.assert_array_equal(seen.cameras[0].K, camera.K)
        with pytest.raises(StreamTimeout, match="nothing to see"):
            one.read(0.05)
        assert one.read_latest().id == frame.id
    eventually(watching(watched, 0))


def test_a_slow_spectator_sees_the_newest_and_holds_up_nobody(watched, stub, camera, pose, eventually):
    with Client(watched.endpoint, format=RAW) as client, Spectator(watched.spectators) as spectator:
        eventually(watching(watched))
        for _ in range(30):
            last = client.render(pose(), camera).id
        eventually(lambda: spectator.read_latest() is not None and spectator.read_latest().id == last)


def test_spectators_that_never_read_cost_nothing(watched, camera, pose, eventually):
    context = zmq.Context()
    deaf = context.socket(zmq.SUB)
    for option, value in ((zmq.RCVHWM, 1), (zmq.RCVBUF, 4096), (zmq.SUBSCRIBE, b"")):
        deaf.setsockopt(option, value)
    deaf.connect(watched.spectators)
    try:
        eventually(watching(watched))
        with Client(watched.endpoint, format=RAW) as client:
            for _ in range(8):
                client.render(pose(), camera, (512, 1024))  # 16 MB in all
    finally:
        context.destroy(linger=0)
    eventually(watching(watched, 0))


def test_one_client_leads_and_one_that_drives_takes_over(stub, camera, pose, eventually, monkeypatch):
    monkeypatch.setattr(stage_module, "QUIET_SECONDS", 60.0)  # however slow the machine is
    small = (24, 16)
    with (
        Server(stub, {"size": [64, 48]}, spectators="tcp://127.0.0.1:0") as watched,
        Client(watched.endpoint, format=RAW) as viewer,
        Client(watched.endpoint, format=RAW) as driver,
        Client(watched.endpoint, format=RAW) as second,
        Spectator(watched.spectators) as spectator,
    ):
        eventually(watching(watched))
        viewer.render(None, camera)
        assert spectator.read().rgba.shape[:2] == (64, 48)
        driver.render(pose(), camera, small)
        assert spectator.read().rgba.shape[:2] == small
        viewer.render(None, camera), second.render(pose(), camera)
        with pytest.raises(StreamTimeout):
            spectator.read(0.1)


def test_the_overview_is_shown_while_no_client_is(stub, camera, pose, eventually):
    with Server(stub, {"size": [64, 48]}, spectators="tcp://127.0.0.1:0", overview=overview()) as server:
        time.sleep(0.1)
        assert not stub.requests  # nobody watches
        with Spectator(server.spectators) as spectator:
            for _ in range(3):
                assert spectator.read().rgba.shape[:2] == (24, 32)
            with Client(server.endpoint) as client:
                client.render(pose(), camera)
                eventually(lambda: spectator.read().rgba.shape[:2] == (64, 48))
                eventually(lambda: spectator.read().rgba.shape[:2] == (24, 32))
        eventually(watching(server, 0))
        assert server.stats()["clients"] == 0 and server.stats()["frames"] == 1
        count = len(stub.requests)
        time.sleep(0.15)
        assert len(stub.requests) <= count + 1


def test_spectators_need_keys_where_clients_do(stub, tmp_path, monkeypatch, camera, pose, eventually):
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS", 0.05)
    keys, ann, bob = KeyFolder(tmp_path / "keys"), KeyPair.new(), KeyPair.new()
    keys.add("ann", ann.public), keys.add("bob", bob.public)
    with Server(
        stub, {"size": [64, 48]}, keys=keys, spectators="tcp://127.0.0.1:0", overview=overview()
    ) as server:
        access = {"server_key": server.server_key}
        with (
            Spectator(server.spectators, key=ann, **access) as first,
            Spectator(server.spectators, key=bob, **access) as second,
            Spectator(server.spectators) as open_one,
            Spectator(server.spectators, key=KeyPair.new(), **access) as stranger,
        ):
            assert first.read().rgba.any() and second.read().rgba.any()
            for outsider in (open_one, stranger):
                with pytest.raises(StreamTimeout):
                    outsider.read(0.2)
            keys.revoke("ann")
            # Everybody is asked again; a SUB socket subscribes anew when it is read.
            eventually(
                lambda: (first.read_latest(), second.read_latest()) and server.stats()["spectators"] == 1
            )
            with pytest.raises(StreamTimeout):
                first.read(0.3)
            assert second.read().rgba.any()


def test_clients_go_on_while_the_spectators_port_is_not_free_again(
    stub, tmp_path, monkeypatch, camera, pose, eventually
):
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS", 0.05)
    taken, tried, bind = threading.Event(), [], stage_module.bind

    def bound(*args, **kwargs):
        if taken.is_set():
            tried.append(1)
            raise DinarError("the port is in use")
        return bind(*args, **kwargs)

    monkeypatch.setattr(stage_module, "bind", bound)
    keys, ann, bob = KeyFolder(tmp_path / "keys"), KeyPair.new(), KeyPair.new()
    keys.add("ann", ann.public), keys.add("bob", bob.public)
    with Server(
        stub, {"size": [64, 48]}, keys=keys, spectators="tcp://127.0.0.1:0", overview=overview()
    ) as server:
        access = {"server_key": server.server_key, "key": bob}
        with Client(server.endpoint, **access) as client, Spectator(server.spectators, **access) as spectator:
            assert client.render(pose(), camera).rgba.any() and spectator.read().rgba.any()
            taken.set()
            keys.revoke("ann")
            for _ in range(2):  # now, and half a second later
                tried.clear()
                eventually(lambda: tried)
                assert client.render(pose(), camera).rgba.any() and server.stats()["spectators"] == 0
            taken.clear()
            eventually(lambda: spectator.read_latest() and server.stats()["spectators"] == 1)


@pytest.mark.parametrize(
    ("endpoint", "error", "words"),
    [("tcp://*:0", DinarError, "will not listen"), ("nonsense", InputError, "endpoint: got")],
)
def test_where_spectators_cannot_be_served(stub, endpoint, error, words):
    with pytest.raises(error, match=words):
        Server(stub, {}, spectators=endpoint).start()


def test_what_a_spectator_cannot_be_made_of():
    for wrong in ({"endpoint": "127.0.0.1"}, {"endpoint": "tcp://127.0.0.1:1", "key": KeyPair.new()}):
        with pytest.raises(InputError):
            Spectator(**wrong)


def test_hello_again_in_the_middle_is_no_new_client(server, raw_peer, eventually):
    peer = raw_peer()
    peer.hello()
    peer.send(encode(Hello({"name": "again"})))
    peer.receive()
    assert server.stats()["clients"] == 1
