"""VMC through real UDP: the same poses as the file they were played from, with loss, reordering and
repetition on the way."""

import random
import socket
import time

import numpy as np
import pytest

from dinar_live.runtime.live import VmcSource
from dinar_live.runtime.motion import demo_motion

FPS = 90


@pytest.fixture(scope="module")
def motion():
    return demo_motion(120)


def wait_for(ready, seconds=5.0):
    end = time.monotonic() + seconds
    while not (value := ready()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.001)
    return value


class Line:
    """A UDP line to a source that loses, swaps and repeats datagrams."""

    def __init__(self, port, loss=0.0, swap=0.0, repeat=0.0, seed=1):
        self._socket, self._to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", port)
        self._loss, self._swap, self._repeat, self._random = loss, swap, repeat, random.Random(seed)
        self._kept = None

    def send(self, datagram):
        if self._random.random() < self._loss:
            return
        out = [datagram] * (2 if self._random.random() < self._repeat else 1)
        if self._kept is not None:
            out, self._kept = [*out, self._kept], None
        elif self._random.random() < self._swap:
            self._kept, out = datagram, []
        for d in out:
            self._socket.sendto(d, self._to)


@pytest.mark.parametrize("axes", [None, 11], ids=["vrm0", "vrm1"])
@pytest.mark.parametrize("bundled", [True, False], ids=["bundles", "messages"])
def test_poses_of_the_file(sender, motion, degrees, axes, bundled):
    performer = sender.Performer(None if axes is None else sender.random_axes(axes))
    with VmcSource(0) as source:
        line, began = Line(source.port), time.time()

        def send(body, pelvis):
            now = time.time()
            messages = performer.messages(body, pelvis, (), now - began)
            for d in [sender.bundle(messages, now)] if bundled else messages:
                line.send(d)

        if axes is not None:
            while source.state.calibration != "done":
                send(np.zeros((55, 3)), performer.rest[0])
                time.sleep(1 / FPS)
                assert time.time() - began < 5
        else:
            send(motion.body[0], motion.pelvis[0])  # which bones there are
            wait_for(source.read)
        for i in range(0, motion.frames, 40):
            frames = source.state.frames
            send(motion.body[i], motion.pelvis[i])
            wait_for(lambda frames=frames: source.state.frames > frames)
            sample = source.read()
            assert degrees(sample.body, motion.body[i]).max() < 3
            assert degrees(sample.body, motion.body[i]).max() < 0.05  # what is really reached
            np.testing.assert_allclose(sample.pelvis, motion.pelvis[i], atol=1e-4)
        assert source.state.dropped == 0 and source.state.peer == "127.0.0.1"


@pytest.mark.parametrize(
    "loss, swap, repeat",
    [(0.2, 0, 0), (0, 0.3, 0), (0, 0, 0.3), (0.2, 0.2, 0.2)],
    ids=["loss", "swap", "repeat", "all"],
)
def test_bundles_over_a_bad_line(sender, motion, degrees, loss, swap, repeat):
    """Every sample is a frame of the file, and none goes back in time."""
    performer = sender.Performer()
    shown, frames = [], 0
    with VmcSource(0) as source:
        line = Line(source.port, loss, swap, repeat)
        for i in range(150):
            now = time.time()
            line.send(sender.bundle(performer.messages(motion.body[i], motion.pelvis[i], (), i / 120), now))
            time.sleep(1 / 150)
            if source.state.frames > frames:
                frames = source.state.frames
                error = degrees(source.read().body, motion.body[:150]).max(axis=1)
                shown.append(int(error.argmin()))
                assert error.min() < 0.05
        drops = source.state.drops
    assert shown == sorted(shown) and shown[-1] >= 140
    assert len(shown) > 150 * (1 - loss) * (1 - swap) * 0.7
    assert bool(drops.get("late")) == bool(swap) and bool(drops.get("duplicate")) == bool(repeat)


def test_single_messages_over_a_bad_line(sender, motion, degrees):
    """Lost bones keep their last rotation; nothing marks a late single message, so that one bone may be a
    frame old."""
    performer = sender.Performer()
    errors, frames = [], 0
    with VmcSource(0) as source:
        line = Line(source.port, loss=0.2, swap=0.05, repeat=0.1)
        for i in range(150):
            for message in performer.messages(motion.body[i], motion.pelvis[i], (), i / 120):
                line.send(message)
            time.sleep(1 / 150)
            if i > 10 and source.state.frames > frames:
                frames = source.state.frames
                body = source.read().body
                errors.append(
                    min((degrees(body, motion.body[k]) for k in range(max(i - 4, 0), i + 1)), key=np.max)
                )
    errors = np.array(errors)
    assert len(errors) > 100
    assert np.mean(errors < 3) > 0.99 and np.percentile(errors.max(axis=1), 90) < 3


def test_garbage_on_the_port_does_not_stop_a_performer(sender, motion, degrees):
    performer, rng = sender.Performer(), np.random.default_rng(2)
    noise = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with VmcSource(0) as source:
        line, to = Line(source.port), ("127.0.0.1", source.port)
        for i in range(40):
            noise.sendto(rng.bytes(int(rng.integers(0, 60_000))), to)
            noise.sendto(b"#bundle\0" + bytes(8) + rng.bytes(2000), to)
            line.send(
                sender.bundle(performer.messages(motion.body[i], motion.pelvis[i], (), i / 120), time.time())
            )
            time.sleep(0.005)
        wait_for(lambda: source.state.frames >= 40)
        assert degrees(source.read().body, motion.body[39]).max() < 0.05
        assert source.state.drops["no OSC"] >= 40


def test_closing_frees_the_port_and_may_be_repeated(sender):
    source = VmcSource(0)
    source.start()
    port = source.port
    source.close()
    source.close()
    with VmcSource(port) as again:
        assert again.port == port
