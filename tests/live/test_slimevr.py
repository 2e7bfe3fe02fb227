"""SlimeVR's VMC, from examples/slimevr_sender.py, which writes bundles as the server's public source does."""

import importlib.util
import pathlib
import random
import sys

import numpy as np
import pytest

from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.live import SlimeVrSource, open_source
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.motion.authored import idle_motion

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
ARMS = [
    j
    for name, j in J.items()
    if name.endswith(("shoulder", "elbow", "wrist")) or (name[-1] in "123" and "spine" not in name)
]
SENT = [j for name, j in J.items() if "eye" not in name and name != "jaw"]


@pytest.fixture(scope="module")
def server():
    sys.path.insert(0, str(EXAMPLES))
    try:
        spec = importlib.util.spec_from_file_location("slimevr_sender", EXAMPLES / "slimevr_sender.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def motion():
    return demo_motion(250)


@pytest.fixture
def source(clock):
    return SlimeVrSource(0, clock=clock)


def test_all_of_250_bundles_a_second_are_used(server, source, clock, motion, degrees):
    performer = server.Performer()
    for i in range(500):
        source.feed(server.bundle(performer, motion.body[i], motion.pelvis[i], i / 250))
        clock.now += 1 / 250
        if i and i % 50 == 0:  # which bones there are is learned from the first one
            assert degrees(source.read().body[SENT], motion.body[i][SENT]).max() < 0.01
            np.testing.assert_allclose(source.read().pelvis, motion.pelvis[i], atol=1e-4)
    assert source.state.frames == 500 and source.state.drops == {} and source.state.hint == ""


def test_arms_that_controllers_track_hang(server, source, clock, motion, degrees):
    performer = server.Performer()
    for i in range(300):  # for a second the arms are waited for
        source.feed(server.bundle(performer, motion.body[i], motion.pelvis[i], i / 250, arms=False))
        clock.now += 1 / 250
    np.testing.assert_allclose(source.read().body[ARMS], idle_motion().body[0][ARMS], atol=1e-6)
    others = [j for j in SENT if j not in ARMS]
    assert degrees(source.read().body[others], motion.body[299][others]).max() < 0.01


def test_it_says_where_to_switch_sending_on():
    source = open_source("slimevr:39555")
    assert isinstance(source, SlimeVrSource) and source.state.name == "SlimeVR on UDP 127.0.0.1:39555"
    assert "in SlimeVR's settings" in source.state.hint and "Port Out 39555" in source.state.hint


def test_mutated_bundles_never_raise(server, source, clock, motion):
    r, performer = random.Random(9), server.Performer()
    whole = [server.bundle(performer, motion.body[i], motion.pelvis[i], i / 250) for i in range(10)]
    for _ in range(1000):
        data = bytearray(r.choice(whole))
        for _ in range(r.randint(0, 8)):
            data[r.randrange(len(data))] = r.choice((0, 255, r.randrange(256)))
        source.feed(bytes(data[: r.randint(0, len(data))] if r.random() < 0.2 else data))
        clock.now += 0.02
        sample = source.read()
        assert sample is None or (np.isfinite(sample.body).all() and np.isfinite(sample.pelvis).all())
