"""The foot lock for live sources: its delay, what it holds, and what becomes of gaps."""

import dataclasses
import time

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.live import FileSource, Follower
from dinar_live.runtime.motion import FootLock, foot_report, load_motion
from dinar_live.runtime.motion.foot_contacts import Contact, lowest_near, runs
from dinar_live.runtime.motion.foot_legs import legs_of

CLIPS = ("walk_meredith", "zombie", "cmu_jumping_jacks")


def played(clip, lock, t0=0.0):
    """The clip through the lock without its delay, the clip as long as that, and which marks were held when."""
    bodies, paths, on = [], [], []
    for i in range(clip.frames):
        body, pelvis = lock.step(t0 + i / clip.fps, clip.body[i], clip.pelvis[i])
        bodies.append(body)
        paths.append(pelvis)
        on.append([[spot is not None for spot in foot.spots] for foot in lock._feet])
    late = int(lock.latency * clip.fps + 1e-6)
    given = clip.slice(0, clip.frames - late)
    out = dataclasses.replace(given, body=np.array(bodies[late:]), pelvis=np.array(paths[late:]))
    on = np.array(on[late:])
    return given, out, [Contact(s, m, a, b) for s in (0, 1) for m in (0, 1) for a, b in runs(on[:, s, m])]


@pytest.mark.parametrize("name", ["skating", *CLIPS])
def test_planted_feet_stay_and_nothing_pops(name, demo, shared):
    if name == "skating":
        clip = demo.slice(300, 600)
        t = np.arange(clip.frames) / clip.fps
        clip = dataclasses.replace(
            clip, pelvis=clip.pelvis + np.stack([0.03 * np.sin(1.1 * t), 0 * t, 0 * t], -1)
        )
    elif not (path := shared / "bvh" / f"{name}.bvh").exists():
        pytest.skip("the capture is not here")
    else:
        clip = load_motion(path)
        clip = clip.slice(0, min(clip.frames, 500))
    given, out, held = played(clip, FootLock())
    report = foot_report(given, out, over=held)
    assert sum(c.stop - c.first for c in held) > 0.3 * given.frames
    assert report.slide_before.max() > 10
    assert report.slide_after.max() <= 5.0
    assert report.added <= 2.0
    assert report.below_after <= report.below_before + 0.3  # soles go no deeper
    others = [j for j in range(55) if j not in (1, 2, 4, 5, 7, 8)]
    np.testing.assert_allclose(out.body[:, others], given.body[:, others], atol=1e-6)


def test_soles_stay_out_of_the_ground_while_the_pelvis_drops(demo, rest):
    """A performer who sinks faster than 2 degrees a frame can bend knees, and one who tips a planted foot over its
    edge: the shown feet are never deeper than theirs and the ground."""
    clip = demo.slice(300, 420)
    t = np.arange(clip.frames) / clip.fps
    body = clip.body.copy()
    body[:, [7, 8], 2] += (0.2 * np.sin(2.0 * t))[:, None].astype(np.float32)
    knees = (0.9 * np.clip(np.sin(5 * t), 0, 1)).astype(np.float32)
    body[:, [1, 2], 0] -= knees[:, None]
    body[:, [4, 5], 0] += 2 * knees[:, None]
    body[:, [7, 8], 0] -= knees[:, None]
    clip = dataclasses.replace(clip, body=body)
    standing = legs_of(clip, rest)
    lowest = np.minimum(standing.soles().min(axis=1) - standing.pelvis[:, 1], 0)
    clip = dataclasses.replace(
        clip, pelvis=clip.pelvis * np.float32((1, 0, 1)) - np.outer(lowest, (0, 1, 0)).astype(np.float32)
    )
    given, out, held = played(clip, FootLock())
    assert held
    before, after = legs_of(given, rest).soles(), legs_of(out, rest).soles()
    ground = lowest_near(before.min(axis=1), round(0.6 * clip.fps))
    deeper = np.minimum(before, ground[:, None]) - after
    assert deeper.max() < 3e-4
    assert foot_report(given, out, over=held).added <= 2.0


def test_the_delay_is_what_it_says(demo):
    lock = FootLock(delay=0.2)
    assert lock.latency == 0.2
    for i in range(30):
        body, _ = lock.step(i / 30, demo.body[i], demo.pelvis[i])
        np.testing.assert_allclose(body[20], demo.body[max(i - 6, 0)][20], atol=1e-6)


def test_a_gap_begins_anew(demo):
    lock, fresh = FootLock(), FootLock()
    for i in range(20):
        lock.step(i / 30, demo.body[i], demo.pelvis[i])
    for i in range(400, 420):
        a = lock.step(1 + i / 30, demo.body[i], demo.pelvis[i])
        b = fresh.step(1 + i / 30, demo.body[i], demo.pelvis[i])
        np.testing.assert_array_equal(a[0], b[0])


def test_a_clock_that_is_set_back_does_no_harm(demo):
    lock = FootLock()
    for t in (0.0, 0.03, 0.06, 0.01, 0.04, 0.04, 0.1):
        body, pelvis = lock.step(t, demo.body[0], demo.pelvis[0])
        assert np.isfinite(body).all() and np.isfinite(pelvis).all()


def test_paths_of_another_size(demo, rest):
    """A performer of half the size: the path comes back in its own metres, the poses are the same."""
    small = dataclasses.replace(demo.slice(0, 90), pelvis=demo.pelvis[:90] * 0.5)
    _, a, _ = played(demo.slice(0, 90), FootLock(rest))
    lock = FootLock(rest)
    lock.leg_length = demo.leg_length * 0.5
    _, b, _ = played(small, lock)
    np.testing.assert_allclose(a.body, b.body, atol=1e-4)
    np.testing.assert_allclose(a.pelvis, b.pelvis * 2, atol=1e-4)


def test_errors(rest):
    with pytest.raises(MotionError, match="delay: got 10 ms, expected 30 to 500 ms"):
        FootLock(delay=0.01)
    with pytest.raises(MotionError, match=r"rig_joints: got shape \[3, 3\]"):
        FootLock(rest[:3])


def test_the_follower_tells_it_how_long_the_performers_legs_are(demo, rest):
    small = dataclasses.replace(demo, pelvis=demo.pelvis * 0.5, leg_length=demo.leg_length * 0.5)
    lock = FootLock(rest)
    with FileSource(small) as source:
        follower = Follower(source, rest, filters=[lock])
        end = time.monotonic() + 20
        while not follower.following and time.monotonic() < end:
            time.sleep(0.01)
        follower.pose_at(0.0)
    assert lock.leg_length == pytest.approx(small.leg_length)
