"""What the avatar does while a source performs, stalls, ends and returns; with a clock that the test
turns."""

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.live import Follower, SampleBuffer
from dinar_live.runtime.live.source import Skeleton, Source
from dinar_live.runtime.motion import demo_motion, idle_motion
from dinar_live.runtime.motion.reference_body import rest_joints

REST = rest_joints()
LEG = demo_motion(10).leg_length
STEP = 1 / 60


class Scripted(Source):
    """A live source that the test feeds."""

    def __init__(self, clock):
        self.samples = SampleBuffer(clock)
        self.samples.set_skeleton(Skeleton(LEG, ("smile",)))

    def start(self):
        pass

    def close(self):
        pass

    def read(self):
        return self.samples.newest

    @property
    def skeleton(self):
        return self.samples.skeleton

    @property
    def state(self):
        return self.samples.state("scripted")

    def perform(self, body, pelvis=(0.0, 1.0, 0.0), smile=0.0):
        now = self.samples.clock()
        return self.samples.put(body, pelvis, [smile], time_s=now, now=now)


@pytest.fixture
def source(clock):
    return Scripted(clock)


def raised(angle=1.0):
    body = np.zeros((55, 3), np.float32)
    body[16, 2] = body[17, 2] = angle
    return body


def run(follower, source, clock, seconds, body=None, **values):
    """Poses of so many seconds, with a sample each step while `body` is given."""
    out = []
    for _ in range(round(seconds / STEP)):
        clock.now += STEP
        if body is not None:
            source.perform(body, **values)
        out.append(follower.pose_at(clock.now))
    return out


def test_idles_before_the_first_sample(source, clock):
    follower = Follower(source, REST, clock=clock)
    idle = idle_motion().for_avatar(REST)
    np.testing.assert_array_equal(follower.pose_at(3.0).body, idle.pose_at(3.0).body)
    assert not follower.following and follower.duration == idle.duration


def test_eases_in_follows_holds_eases_out_and_comes_back(source, clock, degrees):
    follower = Follower(source, REST, ("smile",), hold_s=0.5, ease_s=1.0, clock=clock)
    idle = idle_motion().for_avatar(REST, ("smile",))
    run(follower, source, clock, 0.5)

    easing = run(follower, source, clock, 1.1, raised(), smile=1.0)
    error = np.array([degrees(p.body[16], raised()[16]) for p in easing])
    assert (
        error[0] > 50 and error[-1] == 0 and (np.diff(error) < 1).all() and np.abs(np.diff(error)).max() < 5
    )

    assert follower.following
    np.testing.assert_array_equal(follower.pose_at(clock.now).body, raised())
    assert easing[-1].expression == pytest.approx([1.0])

    held = run(follower, source, clock, 0.48)
    assert all(np.array_equal(p.body, raised()) for p in held)  # exactly the last pose
    out = run(follower, source, clock, 1.2)
    assert not follower.following
    angles = np.array([degrees(p.body[16], raised()[16]) for p in out])
    assert angles[0] < 1 and angles[-1] > 50 and np.abs(np.diff(angles)).max() < 5
    np.testing.assert_allclose(out[-1].body[1:], idle.pose_at(clock.now).body[1:], atol=1e-5)
    stalled = clock.now

    back = run(follower, source, clock, 1.1, raised(0.8))
    angles = np.array([degrees(p.body[16], raised(0.8)[16]) for p in back])
    assert angles[0] > 50 and angles[-1] == 0 and np.abs(np.diff(angles)).max() < 5
    assert source.state.gaps == 1 and source.state.frames == round(1.1 / STEP) * 2 and clock.now > stalled


def test_a_short_stall_is_only_held(source, clock):
    follower = Follower(source, REST, clock=clock)
    run(follower, source, clock, 1.5, raised())
    poses = run(follower, source, clock, 0.4) + run(follower, source, clock, 0.2, raised())
    assert all(np.array_equal(p.body, raised()) for p in poses)


def test_a_return_during_easing_goes_back_without_a_jump(source, clock, degrees):
    follower = Follower(source, REST, clock=clock)
    run(follower, source, clock, 1.5, raised())
    poses = run(follower, source, clock, 1.0) + run(follower, source, clock, 1.0, raised())
    angles = np.array([degrees(p.body[16], raised()[16]) for p in poses])
    assert 10 < angles.max() and np.abs(np.diff(angles)).max() < 5 and angles[-1] == 0


def test_idles_where_the_performer_was(source, clock):
    """2 m ahead and turned by 90 degrees: no sliding back to the origin."""
    follower = Follower(source, REST, clock=clock)
    body = raised()
    run(follower, source, clock, 1.2, body, pelvis=(0.0, 1.0, 0.0))
    body[0] = 0, np.pi / 2, 0
    run(follower, source, clock, 0.2, body, pelvis=(0.0, 1.0, 2.0))
    pose = run(follower, source, clock, 3.0)[-1]
    assert np.hypot(*(REST[0] + pose.transl)[[0, 2]] - (0, 2)) < 0.1
    assert abs(pose.body[0, 1] - np.pi / 2) < 0.2


def test_nobody_looked_for_a_while(source, clock):
    """The easing goes by the clock, not by how often it is asked."""
    follower = Follower(source, REST, clock=clock)
    follower.pose_at(0)
    for _ in range(5):
        clock.now += 1
        source.perform(raised())
    np.testing.assert_array_equal(follower.pose_at(0).body, raised())
    clock.now += 10
    assert not np.array_equal(follower.pose_at(0).body, raised())


def test_a_new_skeleton_is_fitted_anew(source, clock):
    follower = Follower(source, REST, ("smile", "frown"), clock=clock)
    run(follower, source, clock, 1.2, raised(), pelvis=(5.0, 1.0, 0.0))
    assert abs(follower.pose_at(0).transl[0] - 0) < 1e-5
    source.samples.set_skeleton(Skeleton(LEG / 2, ("frown",)))
    run(follower, source, clock, 1.2, raised(), pelvis=(7.0, 0.5, 0.0), smile=0.5)
    pose = follower.pose_at(0)
    assert abs(pose.transl[0]) < 1e-5 and list(pose.expression) == [0, 0.5]


def test_impossible_values_do_not_get_in(source, clock):
    follower = Follower(source, REST, clock=clock)
    run(follower, source, clock, 1.2, raised())
    for bad in (np.full((55, 3), np.nan), np.full((55, 3), 99.0), np.zeros((54, 3))):
        assert not source.perform(bad)
    assert not source.perform(raised(), pelvis=(np.inf, 0, 0)) and not source.perform(raised(), smile=np.nan)
    assert source.state.drops == {"values": 5}
    np.testing.assert_array_equal(follower.pose_at(0).body, raised())


def test_filters_see_each_sample_once(source, clock):
    class Half:
        calls = resets = 0

        def reset(self):
            self.resets += 1

        def step(self, t, body, pelvis):
            self.calls += 1
            return np.asarray(body, np.float64) / 2, pelvis

    half = Half()
    follower = Follower(source, REST, ("smile",), filters=[half], clock=clock)
    run(follower, source, clock, 1.2, raised())
    calls = half.calls
    follower.pose_at(0)
    source.samples.replace_expression([0.5])
    pose = follower.pose_at(0)
    np.testing.assert_allclose(pose.body, raised() / 2, atol=1e-6)
    assert pose.expression[0] == 0.5 and half.calls == calls == round(1.2 / STEP) and half.resets == 1


def test_times_out_of_range_are_refused(source):
    with pytest.raises(MotionError, match="hold_s"):
        Follower(source, REST, hold_s=-1)
    with pytest.raises(MotionError, match="ease_s"):
        Follower(source, REST, ease_s=float("nan"))
