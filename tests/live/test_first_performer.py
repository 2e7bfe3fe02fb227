"""FirstPerformer: whom it follows, and when it changes over."""

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.live import FirstPerformer, Follower, SampleBuffer, VmcSource
from dinar_live.runtime.live.source import Skeleton, Source, SourceState
from dinar_live.runtime.motion.reference_body import rest_joints


class Puppet(Source):
    """A source that sends what the test says."""

    def __init__(self, clock, name="puppet", fails=False):
        self.samples, self.name, self.fails, self.running = SampleBuffer(clock), name, fails, False
        self.asked = 0

    def start(self):
        if self.fails:
            raise MotionError("the port is taken")
        self.running = True

    def close(self):
        self.running = False

    def read(self):
        return self.samples.newest

    def calibrate(self):
        self.asked += 1

    @property
    def state(self):
        return SourceState(self.name)

    @property
    def skeleton(self):
        return self.samples.skeleton

    def perform(self, x):
        if self.skeleton is None:
            self.samples.set_skeleton(Skeleton(0.8))
        body = np.zeros((55, 3), np.float32)
        body[16, 0] = x
        now = self.samples.clock()
        self.samples.put(body, np.zeros(3), np.zeros(0), time_s=now, now=now)


@pytest.fixture
def three(clock):
    return [Puppet(clock, name) for name in "abc"]


def test_the_first_that_performs_is_followed_until_it_is_silent(three, clock):
    first = FirstPerformer(three, clock=clock)
    a, b, c = three
    assert first.read() is None and first.skeleton is None and first.state.name == "a"
    b.perform(0.1)
    assert first.current is b and first.read().body[16, 0] == np.float32(0.1)
    for _ in range(30):
        clock.now += 0.1
        a.perform(0.2)
        b.perform(0.3)
        assert first.current is b
    for _ in range(9):
        clock.now += 0.1
        a.perform(0.4)
        c.perform(0.5)
        assert first.current is b
    clock.now += 0.2
    a.perform(0.4)
    c.perform(0.5)
    assert first.current is a and first.skeleton is a.skeleton
    clock.now += 5  # all are silent: the last one stays
    assert first.current is a and first.read() is not None
    first.calibrate()
    assert (a.asked, b.asked, c.asked) == (1, 0, 0)


def test_samples_are_numbered_through(three, clock):
    first, numbers = FirstPerformer(three, clock=clock), []
    for i in range(20):
        three[i // 10].perform(0.1)
        numbers.append(first.read().sequence)
        assert first.read().sequence == numbers[-1]
        clock.now += 0.3 if i != 9 else 2.0
    assert numbers == list(range(1, 21))


def test_a_follower_goes_from_one_to_the_other(three, clock):
    first = FirstPerformer(three, clock=clock)
    follower = Follower(first, rest_joints(), (), clock=clock, ease_s=0.1)
    for who, x in ((three[1], 0.3), (three[0], -0.4)):
        for _ in range(20):
            who.perform(x)
            clock.now += 0.1
            pose = follower.pose_at(0.0)
        assert pose.body[16, 0] == pytest.approx(x)


def test_all_start_and_end_together(clock):
    good, bad = Puppet(clock), Puppet(clock, fails=True)
    with pytest.raises(MotionError, match="taken"):
        FirstPerformer([good, bad]).start()
    assert not good.running
    with FirstPerformer([good, Puppet(clock)]):
        assert good.running
    assert not good.running
    with pytest.raises(MotionError, match="at least one"):
        FirstPerformer([])


def test_two_vmc_ports(sender, clock):
    sources = [VmcSource(0, clock=clock), VmcSource(0, clock=clock)]
    first = FirstPerformer(sources, clock=clock)
    for data in sender.Performer().messages(np.zeros((55, 3)), (0, 1, 0)):
        sources[1].feed(data)
    assert first.current is sources[1] and first.read().body.shape == (55, 3)
