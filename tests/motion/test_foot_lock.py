"""Feet held in clips: how far they slide, what joints gain, how deep soles go; over the demonstration, a walk made to
skate, and the captures where they are at hand."""

import dataclasses

import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import foot_report, kinematics, load_motion, lock_feet
from dinar_live.runtime.motion.foot_contacts import contacts, extent
from dinar_live.runtime.motion.foot_legs import added_turns, legs_of
from dinar_live.runtime.motion.foot_lock import eased, held_within

CLIPS = ("walk_meredith", "wave_hello", "zombie", "jesse_dance", "cmu_jumping_jacks")


@pytest.fixture(scope="module", params=["demo", "skating", *CLIPS])
def clip(request, demo, shared):
    """A clip; "skating" is the demonstration on ice: the ground moves by 5 cm."""
    if request.param == "demo":
        return demo
    if request.param == "skating":
        t = np.arange(demo.frames) / demo.fps
        ice = np.stack([0.03 * np.sin(1.1 * t), 0 * t, 0.02 * np.cos(1.7 * t)], -1)
        return dataclasses.replace(demo, pelvis=demo.pelvis + ice)
    path = shared / "bvh" / f"{request.param}.bvh"
    if not path.exists():
        pytest.skip("the capture is not here")
    return load_motion(path)


def test_planted_feet_stay_and_nothing_pops(clip, rest):
    """The figures promised: 5 mm a contact, 2 degrees a frame; most of the contacts' time is held."""
    before = legs_of(clip, rest)
    found = contacts(before.marks(), clip.fps, kinematics.leg_length(rest))
    _, held = held_within(before, found, clip.fps)
    time = [sum(c.stop - c.first for c in some) for some in (held, found)]
    assert time[0] >= 0.85 * time[1] > 0
    locked = lock_feet(clip)
    report = foot_report(clip, locked, over=held)
    assert report.slide_before.max() > 4
    assert report.slide_after.max() <= 5.0
    assert report.added <= 2.0
    assert report.below_after <= report.below_before + 0.3  # soles go no deeper
    if not clip.cyclic:
        assert f"{len(held)} of {len(found)} contacts" in locked.notes[-1]


def test_a_loop_has_no_seam(demo, rest):
    """From the last frame to the first, too."""
    locked = lock_feet(demo)
    ends = [
        legs_of(
            dataclasses.replace(
                m, body=m.body[[-1, 0]], pelvis=m.pelvis[[-1, 0]], expression=m.expression[[-1, 0]]
            ),
            rest,
        )
        for m in (demo, locked)
    ]
    assert np.degrees(added_turns(ends[0].world, ends[1].world).max()) < 0.5
    moved = ends[1].marks() - ends[0].marks()
    assert np.abs(moved[1] - moved[0]).max() < 0.002


def test_what_is_not_leg_stays(clip):
    locked = lock_feet(clip)
    legs = [1, 2, 4, 5, 7, 8]
    others = [j for j in range(55) if j not in legs]
    np.testing.assert_array_equal(locked.body[:, others], clip.body[:, others])
    np.testing.assert_array_equal(locked.pelvis[:, [0, 2]], clip.pelvis[:, [0, 2]])
    assert locked.frames == clip.frames and locked.fps == clip.fps and locked.cyclic == clip.cyclic


def test_scale_free(demo, rest):
    """The same clip of a body of half the size: the same poses."""
    small = dataclasses.replace(demo, pelvis=demo.pelvis * 0.5, leg_length=demo.leg_length * 0.5)
    a, b = lock_feet(demo), lock_feet(small, rig_joints=rest * 0.5)
    np.testing.assert_allclose(a.body, b.body, atol=2e-4)
    np.testing.assert_allclose(a.pelvis, b.pelvis * 2, atol=2e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_short_clips(demo, frames):
    part = demo.slice(0, frames)
    locked = lock_feet(part)
    assert locked.frames == frames
    assert np.abs(locked.body - part.body).max() < 0.05


def test_a_body_in_the_air_is_left_alone(demo):
    """Free fall: no foot rests."""
    t = np.arange(60) / 30
    m = dataclasses.replace(demo.slice(0, 60), pelvis=demo.pelvis[:60] + np.stack([0 * t, 4 * t, 0 * t], -1))
    locked = lock_feet(m)
    np.testing.assert_allclose(locked.body, m.body, atol=1e-6)
    assert "0 of 0 contacts" in locked.notes[-1]


def test_the_report_sees_slides_and_jerks(demo, rest):
    """What a foot does that is not held, and a knee that is kicked for one frame."""
    kicked = demo.body.copy()
    kicked[100, 4, 0] += np.radians(7)
    report = foot_report(demo, dataclasses.replace(demo, body=kicked))
    assert report.added == pytest.approx(7, abs=0.1)
    moving = demo.pelvis + np.linspace(0, 0.5, demo.frames)[:, None] * (1.0, 0.0, 0.0)
    assert foot_report(demo, dataclasses.replace(demo, pelvis=moving)).slide_after.max() > 20
    sunk = demo.pelvis - (0.0, 0.01, 0.0)
    assert foot_report(demo, dataclasses.replace(demo, pelvis=sunk)).below_after == pytest.approx(10, abs=0.1)


def test_eased_keeps_what_is_known_and_comes_to_rest():
    known = np.zeros(200, bool)
    known[50:60] = known[150:] = True
    values = np.where(known, 1.0, np.nan)[:, None] + np.arange(200)[:, None] * 0.001
    out = eased(values, known, 60)
    np.testing.assert_array_equal(out[known], values[known])
    assert np.isfinite(out).all() and np.abs(np.diff(out[:, 0])).max() < 0.2
    assert not out[:20].any() and not out[90:120].any()


def test_errors(demo, rest):
    with pytest.raises(MotionError, match=r"rig_joints: got shape \[5, 3\]"):
        lock_feet(demo, rig_joints=rest[:5])
    with pytest.raises(MotionError, match="clips of 780 and 5 frames"):
        foot_report(demo, demo.slice(0, 5))


def test_added_turns_of_nothing_is_nothing(demo, rest):
    world = legs_of(demo, rest).world
    assert added_turns(world, world).max() < 1e-6
    assert extent(np.zeros((0, 3))) == 0.0


def test_dinar_convert_locks_and_says_how_well(demo, tmp_path, capsys):
    out = tmp_path / "a.dmot"
    assert main(["convert", "demo", str(out), "--lock-feet"]) == 0
    said = capsys.readouterr().out
    assert "feet locked: " in said and "slide per contact" in said and "degrees a frame" in said
    locked = load_motion(out)
    assert foot_report(demo, locked).slide_after.max() < foot_report(demo, demo).slide_after.max()


def test_dinar_record_refuses_what_needs_the_whole_clip(tmp_path, capsys):
    assert main(["record", "vmc", "-o", str(tmp_path / "a.dmot"), "--lock-feet"]) == 2
    assert "--lock-feet: needs the whole clip" in capsys.readouterr().err
