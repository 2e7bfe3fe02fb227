"""Cameras and videos as sources: with pictures and people that tests make up, and once with the networks."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from dinar_live.runtime.core.errors import DinarError, ModelError, MotionError
from dinar_live.runtime.live import SeenSource, open_source
from dinar_live.runtime.live.feeds import CameraFeed, Frame, VideoFeed
from dinar_live.runtime.live.registry import smoothing
from dinar_live.runtime.vision.live_person import LivePerson


def wait_for(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return result


class Pictures:
    """A feed of pictures that a test gives one by one; None: the camera goes away."""

    name, lost = "camera 0", "camera 0 gives no more pictures"

    def __init__(self):
        self.waiting, self.more = [], threading.Condition()
        self.opened = 0
        self.refuse = ""
        self.open_now = False

    def open(self):
        if self.refuse:
            raise MotionError(self.refuse)
        self.opened += 1
        self.open_now = True

    def close(self):
        self.open_now = False
        with self.more:
            self.more.notify_all()

    def give(self, value, cut=False):
        now = time.monotonic()
        frame = Frame(np.full((2, 2, 3), value, np.uint8), now, now, cut)
        with self.more:
            self.waiting.append(None if value is None else frame)
            self.more.notify()

    def read(self):
        with self.more:
            self.more.wait_for(lambda: self.waiting, 0.1)
            if not self.waiting:
                return Frame(np.zeros((2, 2, 3), np.uint8), time.monotonic(), time.monotonic(), False)
            return self.waiting.pop(0)


class Performer:
    """Is seen where a picture is not black; its pelvis is as high as the picture is bright."""

    expression_names = ("jawOpen",)

    def __init__(self):
        self.doing, self.cuts, self.hold = "looking", 0, threading.Event()
        self.hold.set()
        self.values = []

    def cut(self):
        self.cuts += 1

    def see(self, rgb, t):
        self.hold.wait(20)
        value = int(rgb[0, 0, 0])
        self.doing = "following" if value else "looking"
        if not value:
            return None
        self.values.append(value)
        person = 2 if value >= 200 else 1
        missing = ("feet",) if value == 99 else ()
        pelvis = np.array([0, value / 100, 0])
        rest = np.zeros((55, 3))
        rest[[4, 5], 1], rest[[7, 8], 1] = -0.4, -0.8 - 0.1 * person
        return SimpleNamespace(
            body=np.zeros((55, 3)), pelvis=pelvis, expression=np.ones(1, np.float32), rest=rest, person=person, missing=missing
        )  # fmt: skip


@pytest.fixture
def seen():
    feed, performer = Pictures(), Performer()
    with SeenSource(feed, lambda: performer) as source:
        yield source, feed, performer
    assert not feed.open_now and not [
        t for t in threading.enumerate() if t.name in ("dinar-pictures", "dinar-look")
    ]


def test_samples_and_what_is_said(seen):
    source, feed, _ = seen
    wait_for(lambda: source.state.connected)
    assert source.read() is None and "nobody to be seen" in source.state.hint
    feed.give(100)
    sample = wait_for(source.read)
    assert sample.pelvis[1] == pytest.approx(1) and sample.expression.tolist() == [1]
    assert source.skeleton.leg_length == pytest.approx(0.9) and source.skeleton.expression_names == (
        "jawOpen",
    )
    wait_for(lambda: "nobody to be seen" in source.state.hint)  # the person left: no more samples
    assert source.read() is sample
    feed.give(99)
    wait_for(lambda: source.read() is not sample)
    skeleton = source.skeleton
    feed.give(200)
    wait_for(lambda: source.skeleton is not skeleton)  # somebody else
    assert wait_for(source.read).pelvis[1] == pytest.approx(2)


def test_the_newest_picture_wins(seen):
    source, feed, performer = seen
    performer.hold.clear()
    for value in range(1, 9):
        feed.give(value * 10, cut=value == 3)
    wait_for(lambda: not feed.waiting)
    dropped = wait_for(lambda: source.state.drops.get("pictures passed over", 0) >= 6)
    feed.read = lambda: (
        time.sleep(0.01) or Frame(np.full((2, 2, 3), 80, np.uint8), 0.0, time.monotonic(), False)
    )
    performer.hold.set()
    wait_for(lambda: performer.values and performer.values[-1] == 80)
    assert dropped and len(performer.values) < 6 and performer.cuts == 1  # a cut is not passed over


def test_a_camera_that_goes_away_and_comes_back(seen, monkeypatch):
    monkeypatch.setattr("dinar_live.runtime.live.seen_source._AGAIN_S", 0.02)
    source, feed, _ = seen
    feed.give(100)
    wait_for(source.read)
    feed.refuse = "camera 0: there is no /dev/video0"
    feed.waiting.append(None)
    wait_for(lambda: source.state.hint == "camera 0: there is no /dev/video0; trying again")
    feed.refuse = ""
    feed.waiting.append(None)
    wait_for(lambda: feed.opened >= 2 and "no /dev" not in source.state.hint)
    first = source.read()
    feed.give(120)
    wait_for(lambda: source.read() is not first)


def test_a_start_that_fails_frees_the_camera():
    feed = Pictures()

    def none():
        raise ModelError("no networks")

    with pytest.raises(MotionError, match="no networks"):
        SeenSource(feed, none).start()
    assert feed.opened == 1 and not feed.open_now


def test_a_camera_that_is_not_there():
    with pytest.raises(DinarError, match="camera 61: "):
        CameraFeed(61).open()


def test_forms(tmp_path):
    assert open_source("camera").state.name == "camera 0" and open_source("camera:2").state.name == "camera 2"
    for text, words in (
        ("camera:x", "a camera's number after the colon"),
        ("camera:64", "0 to 63"),
        ("nothing.mp4", "nothing.mp4: no such video"),
        ("video:", "VIDEO.mp4"),
    ):
        with pytest.raises(DinarError, match=words):
            open_source(text)
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n")
    with pytest.raises(DinarError, match="not a video that is read here"):
        open_source(str(tmp_path / "playlist.mp4"))
    assert smoothing(["vmc:39539", "camera:1"]) == 1.5 and smoothing(["vmc", "file:a.mp4"]) is None


def test_a_video_is_played_in_real_time_and_again(walk, clock):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        clock.now += seconds

    feed = VideoFeed(walk, clock, sleep)
    feed.open()
    clock.now += 9  # what is slow to start misses nothing
    frames = [feed.read() for _ in range(9)]
    assert [f.cut for f in frames] == [True] + [False] * 8
    assert [f.time_s for f in frames] == pytest.approx(np.arange(9) / 15)
    assert [f.received_s for f in frames] == pytest.approx(109 + np.arange(9) / 15)
    again = feed.read()
    assert again.cut and again.time_s == pytest.approx(9 / 15) and np.array_equal(again.rgb, frames[0].rgb)
    clock.now += 3  # the machine slept: no rush
    late = [feed.read() for _ in range(3)]
    assert np.diff([f.received_s for f in late]) == pytest.approx(1 / 15)
    feed.close()
    assert feed.read() is None


def test_a_person_in_a_video(walk, landmarker):
    """With the networks and the solver."""
    with SeenSource(VideoFeed(walk), lambda: LivePerson(landmarker)) as source:
        first = wait_for(source.read, 60)
        wait_for(lambda: source.read().sequence >= first.sequence + 3, 60)
        sample, skeleton = source.read(), source.skeleton
        assert "measuring" not in source.state.hint
    assert 0.6 < skeleton.leg_length < 1.1 and "jawOpen" in skeleton.expression_names
    assert np.abs(sample.body[[1, 2, 4, 5]]).max() < 0.5 and sample.body.shape == (55, 3)
    assert sample.pelvis[2] < -1.5  # before the camera
