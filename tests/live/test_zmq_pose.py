"""The SMPL-X publisher and subscriber: bytes, ZeroMQ, hostile messages."""

import itertools
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.live import SmplxPublisher, SmplxSubscriber
from dinar_live.runtime.live.zmq_pose import MAX_MESSAGE, encode_pose

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "smplx_publisher.py"


def wait_for(ready, seconds=10.0):
    end = time.monotonic() + seconds
    while not (value := ready()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.005)
    return value


def test_golden_bytes():
    """docs/live.md, byte by byte."""
    body = np.arange(165, dtype=np.float32).reshape(55, 3) / 100
    data = encode_pose(
        body, (1, 2, 3), (0.5,), sequence=9, session=0x01020304, time_ns=77, leg_length=0.8, names=b"smile"
    )
    expected = struct.pack(
        "<4sHHIHHQQQQIIQ", b"DNRL", 1, 32, 0, 64, 5, 9, 77, 0, 0, len(data) - 64, 0x01020304, 0
    )
    expected += struct.pack("<HHI", 3, 1, 660) + body.astype("<f4").tobytes() + bytes(4)
    expected += struct.pack("<HHI3f", 4, 1, 12, 1, 2, 3) + bytes(4)
    expected += struct.pack("<HHIf", 5, 1, 4, 0.5) + bytes(4)
    expected += struct.pack("<HHI", 49, 1, 5) + b"smile" + bytes(3)
    expected += struct.pack("<HHIf", 48, 1, 4, 0.8) + bytes(4)
    assert bytes(data) == expected and len(data) == 64 + 672 + 24 + 16 + 16 + 16


def test_poses_come_through_and_only_the_newest_counts():
    body = np.random.default_rng(1).uniform(-1, 1, (55, 3)).astype(np.float32)
    with (
        SmplxPublisher("tcp://127.0.0.1:0", leg_length=0.9, expression_names=("smile", "frown")) as publisher,
        SmplxSubscriber(publisher.endpoint) as source,
    ):
        wait_for(lambda: publisher.send(body, (1, 2, 3), (0.25, 0.75)) and source.read())
        last = [publisher.send(body * k / 500, (k, 0, 0), (0, 0)) for k in range(500)][-1]
        sample = wait_for(lambda: source.read() if source.read().pelvis[0] == 499 else None)
        np.testing.assert_array_equal(sample.body, body * 499 / 500)
        assert source.skeleton.expression_names == (
            "smile",
            "frown",
        ) and source.skeleton.leg_length == pytest.approx(0.9)
        assert last > 500 and source.state.connected


def test_only_the_newest_of_a_burst_is_read():
    """CONFLATE after connect has no effect; a publisher that queues everything shows whether it was set
    before."""
    context = zmq.Context()
    publisher = context.socket(zmq.PUB)
    source = SmplxSubscriber(f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}")
    seen = []
    source.feed = lambda data: (seen.append(data), time.sleep(0.3))
    try:
        with source:
            wait_for(lambda: publisher.send(b"first") or seen)
            time.sleep(0.5)
            seen.clear()
            for i in range(200):
                publisher.send(b"%d" % i)
            time.sleep(1.0)
        assert len(seen) <= 3 and seen[-1] == b"199"
    finally:
        context.destroy(linger=0)


def test_a_publisher_that_starts_again_and_messages_out_of_order(clock):
    source = SmplxSubscriber("tcp://127.0.0.1:5998", clock=clock)

    def feed(sequence, session=1):
        clock.now += 0.01
        source.feed(
            bytes(encode_pose(np.zeros((55, 3)), (sequence, 0, 0), sequence=sequence, session=session))
        )

    for sequence in (1, 2, 4, 3, 4, 9):
        feed(sequence)
    assert source.read().pelvis[0] == 9 and source.state.drops == {"lost": 5, "late": 1, "duplicate": 1}
    feed(1, session=2)
    assert source.read().pelvis[0] == 1


def test_an_oversized_message_never_arrives_and_ends_nothing_for_good():
    """libzmq cuts the connection and does not connect again by itself."""
    context = zmq.Context()
    publisher = context.socket(zmq.PUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    numbers = itertools.count(1)

    def send():
        publisher.send(bytes(encode_pose(np.zeros((55, 3)), (0, 0, 0), sequence=next(numbers))))

    try:
        with SmplxSubscriber(f"tcp://127.0.0.1:{port}") as source:
            wait_for(lambda: send() or source.read())
            publisher.send(bytes(MAX_MESSAGE + 1))
            time.sleep(0.3)
            frames = source.state.frames
            assert "malformed" not in source.state.drops
            wait_for(lambda: send() or source.state.frames > frames + 3)
    finally:
        context.destroy(linger=0)


GOOD = bytes(encode_pose(np.zeros((55, 3)), (0, 0, 0), (0.5, 0.5), sequence=1, leg_length=0.8, names=b"a\nb"))


def changed(offset, data):
    return GOOD[:offset] + data + GOOD[offset + len(data) :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:40],
        GOOD[:-8],
        GOOD + b"\0" * 8,
        changed(0, b"XXXX"),
        changed(4, b"\2"),
        changed(6, b"\3"),
        changed(14, b"\xff"),
        changed(64, b"\7"),
        changed(68, b"\xff\xff\xff\xff"),
        changed(72, b"\0\0\xc0\x7f"),
        changed(72, b"\0\0\x80\x7f"),
        changed(72, struct.pack("<f", 1e9)),
        bytes(encode_pose(np.zeros((55, 3)), (0, 0, 0), (0.5,), sequence=1, names=b"a\nb")),
        bytes(encode_pose(np.zeros((55, 3)), (0, 0, 0), (0.5, 0.1), sequence=1, names=b"a\na")),
        bytes(encode_pose(np.zeros((55, 3)), (0, 0, 0), (0.5,), sequence=1, names=b"\xff\xfe")),
        bytes(encode_pose(np.zeros((55, 3)), (0, 0, 0), sequence=1, leg_length=0.0)),
    ],
)
def test_damaged_messages_are_counted_drops(data):
    source = SmplxSubscriber("tcp://127.0.0.1:5998")
    source.feed(data)
    assert source.read() is None and source.state.dropped == 1


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
    )
)
def test_no_bytes_raise(data):
    source = SmplxSubscriber("tcp://127.0.0.1:5998")
    source.feed(data if isinstance(data, bytes) else changed(*data))
    sample = source.read()
    assert sample is None or np.isfinite(sample.body).all()


def test_a_publisher_refuses_what_it_cannot_send():
    with pytest.raises(DinarError, match="insecure"):
        SmplxPublisher("tcp://0.0.0.0:0")
    with pytest.raises(InputError, match="expression_names"):
        SmplxPublisher("tcp://127.0.0.1:0", expression_names=("a\nb",))
    with SmplxPublisher("tcp://127.0.0.1:0", expression_names=("a",)) as publisher:
        for bad in (
            (np.zeros((24, 3)),),
            (np.full((55, 3), np.nan),),
            (np.zeros((55, 3)), (0, 0)),
            (np.zeros((55, 3)), (0, 0, 0), (1, 2)),
        ):
            with pytest.raises(InputError):
                publisher.send(*bad)


def test_the_example_publishes():
    text = EXAMPLE.read_text()
    port = 5560
    assert f"tcp://127.0.0.1:{port}" in text and len(text.splitlines()) <= 32
    process = subprocess.Popen([sys.executable, EXAMPLE])
    try:
        with SmplxSubscriber(f"tcp://127.0.0.1:{port}") as source:
            first = wait_for(source.read, 20)
            wait_for(lambda: source.read().sequence > first.sequence + 5)
            assert source.skeleton.expression_names == ("smile",) and source.read().body.any()
    finally:
        process.kill()
        process.wait()
