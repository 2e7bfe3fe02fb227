"""mocopi's datagrams, from examples/mocopi_sender.py, which shares no code with the receiver, and the bytes of the
first bones of a frame that was published by others."""

import importlib.util
import pathlib
import random
import socket
import struct
import time

import numpy as np
import pytest

from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.live import MocopiSource, mocopi
from dinar_live.runtime.live.mocopi_format import Malformed, MocopiFrame, MocopiSkeleton, read
from dinar_live.runtime.motion import demo_motion

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "mocopi_sender.py"
SENT = [J[name] for name in mocopi.JOINTS.values()]


@pytest.fixture(scope="module")
def suit():
    spec = importlib.util.spec_from_file_location("mocopi_sender", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def motion():
    return demo_motion(50)


@pytest.fixture
def source(clock):
    return MocopiSource(0, clock=clock)


@pytest.mark.parametrize("skeleton", [True, False], ids=["with a skeleton", "frames alone"])
def test_poses_of_the_file(suit, source, clock, motion, degrees, skeleton):
    performer = suit.Performer()
    if skeleton:
        source.feed(performer.skeleton())
    for n, i in enumerate(range(0, motion.frames, 23)):
        source.feed(performer.frame(motion.body[i], motion.pelvis[i], n))
        clock.now += 1 / 50
        sample = source.read()
        assert degrees(sample.body[SENT], motion.body[i][SENT]).max() < 0.01
        np.testing.assert_allclose(sample.pelvis, motion.pelvis[i], atol=1e-4)
        others = [j for j in range(55) if j not in SENT]
        assert not sample.body[others].any()
    state = source.state
    assert state.calibration == "none" and state.drops == {} and state.hint == ""
    assert source.skeleton.expression_names == ()


def test_a_skeleton_of_another_size_is_scaled(suit, source, clock):
    performer = suit.Performer()
    performer.rest = performer.rest * 0.7
    source.feed(performer.skeleton())
    source.feed(performer.frame(np.zeros((55, 3)), performer.rest[0], 1))
    small = source.read().pelvis
    source.feed(performer.frame(np.zeros((55, 3)), performer.rest[0] + (0, 0, 0.7), 2))
    np.testing.assert_allclose(source.read().pelvis - small, (0, 0, 1.0), atol=1e-3)


def test_the_published_layout_of_a_frame():
    """The beginning of a frame as the app wrote it: quaternion (0, 0, 0, -1) before the position, bones in order."""
    root = bytes.fromhex("000000800000000000000080000080bf") + struct.pack("<3f", 0, 0.9329, 0)
    bone = lambda number, tran: (  # noqa: E731
        struct.pack("<I4sI4sH", 46, b"btdt", 2, b"bnid", number) + struct.pack("<I4s", 28, b"tran") + tran
    )
    bones = b"".join(bone(i, root) for i in range(27))
    assert len(bones) == 1458
    fram = (
        struct.pack("<I4sI", 4, b"fnum", 1)
        + struct.pack("<I4sI", 4, b"time", 0)
        + struct.pack("<I4sd", 8, b"uttm", 1704335286.0)
        + struct.pack("<I4s", 1458, b"btrs")
        + bones
    )
    data = (
        struct.pack("<I4s", 35, b"head")
        + struct.pack("<I4s", 18, b"ftyp")
        + b"sony motion format"
        + struct.pack("<I4sB", 1, b"vrsn", 1)
        + struct.pack("<I4sI4sQI4sH", 26, b"sndf", 8, b"ipad", 7, 2, b"rcvp", 12351)
        + struct.pack("<I4s", 1506, b"fram")
        + fram
    )
    assert len(data) == 1591
    frame = read(data)
    assert isinstance(frame, MocopiFrame) and frame.number == 1 and frame.bad == 0
    assert frame.seconds == 1704335286.0 and (frame.rotations == (0, 0, 0, -1)).all()
    np.testing.assert_allclose(frame.positions[0], (0, 0.9329, 0), atol=1e-6)


def test_late_repeated_and_lost_frames(suit, source, clock, motion, degrees):
    performer = suit.Performer()
    for i, newest in ((10, 10), (12, 12), (11, 12), (12, 12), (20, 20), (19, 20)):
        source.feed(performer.frame(motion.body[i], motion.pelvis[i], i))
        clock.now += 0.02
        assert degrees(source.read().body[SENT], motion.body[newest][SENT]).max() < 0.01
    assert source.state.drops == {"late": 2, "duplicate": 1}
    clock.now += 1.0
    source.feed(performer.frame(motion.body[3], motion.pelvis[3], 3))  # the app was started again
    assert degrees(source.read().body[SENT], motion.body[3][SENT]).max() < 0.01


def test_bones_with_impossible_numbers_keep_the_last_ones(suit, source, clock, motion, degrees):
    performer = suit.Performer()
    source.feed(performer.frame(motion.body[40], motion.pelvis[40], 1))
    good = performer.frame(motion.body[300], motion.pelvis[300], 2)
    for number, bad in enumerate((float("nan"), float("inf"), 1e30, 0.0), 2):
        data = good.replace(struct.pack("<I4sI", 4, b"fnum", 2), struct.pack("<I4sI", 4, b"fnum", number))
        at = 0
        while (at := data.find(b"tran", at) + 4) > 3:
            data = data[:at] + struct.pack("<4f", bad, bad, bad, bad) + data[at + 16 :]
        source.feed(data)
        clock.now += 0.02
    assert degrees(source.read().body[SENT], motion.body[40][SENT]).max() < 0.01
    assert source.state.drops == {"values": 4 * 27}


def nested(depth):
    data = b""
    for _ in range(depth):
        data = struct.pack("<I4s", len(data), b"fram") + data
    return data


def test_what_is_no_mocopi_is_counted(suit, source):
    performer = suit.Performer()
    frame, skeleton = performer.frame(np.zeros((55, 3)), (0, 1, 0), 1), performer.skeleton()
    bad = [
        b"",
        b"\0" * 7,
        b"\xff" * 60_000,
        nested(500),
        frame[:-1],
        frame + b"x",
        frame.replace(b"sony", b"tony"),
        frame.replace(b"fnum", b"fnuX"),
        frame.replace(b"btrs", b"btrX"),
        frame + frame,
        skeleton.replace(b"bons", b"bonX"),
        skeleton.replace(struct.pack("<I4sH", 2, b"pbid", 7), struct.pack("<I4sH", 2, b"pbid", 26)),
        skeleton.replace(struct.pack("<I4sH", 2, b"pbid", 0xFFFF), struct.pack("<I4sH", 2, b"pbid", 3)),
        skeleton.replace(struct.pack("<I4sH", 2, b"bnid", 5), struct.pack("<I4sH", 2, b"bnid", 500)),
        frame.replace(struct.pack("<I4s", 28, b"tran"), struct.pack("<I4s", 24, b"tran")),
    ]
    for n, data in enumerate(bad, 1):
        source.feed(data)
        assert source.state.drops == {"no mocopi": n} and source.read() is None
    assert "waiting for packets" in source.state.hint


def test_mutated_datagrams_never_raise(suit, source, clock, motion):
    r, performer = random.Random(5), suit.Performer()
    whole = [performer.skeleton(), *(performer.frame(motion.body[i], motion.pelvis[i], i) for i in range(9))]
    kinds = set()
    for _ in range(3000):
        data = bytearray(r.choice(whole))
        for _ in range(r.randint(0, 6)):
            data[r.randrange(len(data))] = r.choice((0, 255, r.randrange(256)))
        if r.random() < 0.2:
            data = data[: r.randint(0, len(data))]
        try:
            kinds.add(type(read(bytes(data))))
        except Malformed:
            kinds.add(Malformed)
        source.feed(bytes(data))
        clock.now += 0.02
        sample = source.read()
        assert sample is None or (np.isfinite(sample.body).all() and np.isfinite(sample.pelvis).all())
    assert kinds == {MocopiFrame, MocopiSkeleton, Malformed}


def test_through_udp(suit, motion, degrees):
    performer = suit.Performer()
    with MocopiSource(0) as source, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        end, n = time.monotonic() + 10, 0
        while source.read() is None and time.monotonic() < end:
            sock.sendto(performer.skeleton(), ("127.0.0.1", source.port))
            sock.sendto(performer.frame(motion.body[77], motion.pelvis[77], n), ("127.0.0.1", source.port))
            n += 1
            time.sleep(0.02)
        assert degrees(source.read().body[SENT], motion.body[77][SENT]).max() < 0.01
        assert source.state.peer == "127.0.0.1"
