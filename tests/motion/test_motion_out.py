"""Motion written and read again: BVH, npz, recordings."""

import dataclasses
import json

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import (
    Motion,
    Recorder,
    load_motion,
    load_recording,
    save_motion,
    write_bvh,
)
from dinar_live.runtime.motion.recording import MAX_HEADER, frame_dtype, read_recording

CLIPS = ("walk_meredith", "cmu_jumping_jacks", "wave_hello", "zombie", "jesse_dance")


def wild(frames=40):
    """Any rotation at all, in every joint; elbows that bend about axes of their own; and gimbal lock."""
    rng = np.random.default_rng(5)
    q = rot.axis_angle_to_quaternion(rng.normal(0, 1.2, (frames, 55, 3)))
    q[:5] = rot.euler_to_quaternion(
        np.stack([np.full((5, 55), 0.3), np.full((5, 55), np.pi / 2), np.full((5, 55), -0.7)], -1), "zxy"
    )
    return Motion(
        body=rot.quaternion_to_axis_angle(q), pelvis=rng.normal(0, 3, (frames, 3)), leg_length=0.8, fps=59.94
    )


@pytest.mark.parametrize("unit", ["cm", "m"])
def test_bvh_round_trip_of_the_authored_clip(demo, tools, tmp_path, unit):
    write_bvh(demo, tmp_path / "a.bvh", unit=unit)
    m = load_motion(tmp_path / "a.bvh")
    assert m.frames == demo.frames and m.fps == demo.fps
    assert tools.angle_between(m.body, demo.body).max() < 0.1  # hands included
    assert np.abs(m.pelvis - demo.pelvis).max() < 1e-3


def test_bvh_round_trip_of_any_rotation(tools, tmp_path):
    motion = wild()
    write_bvh(motion, tmp_path / "a.bvh")
    m = load_motion(tmp_path / "a.bvh")
    assert tools.angle_between(m.body, motion.body).max() < 0.1
    assert np.abs(m.pelvis / m.leg_length - motion.pelvis / motion.leg_length).max() < 1e-3
    assert m.fps == pytest.approx(motion.fps, rel=1e-6)


@pytest.mark.parametrize("clip", CLIPS)
def test_bvh_round_trip_of_real_clips(shared, tools, tmp_path, clip):
    motion = load_motion(shared / "bvh" / f"{clip}.bvh")
    write_bvh(motion, tmp_path / "a.bvh")
    m = load_motion(tmp_path / "a.bvh")
    assert (
        tools.angle_between(m.body, motion.body).max() < 0.1 and np.abs(m.pelvis - motion.pelvis).max() < 1e-3
    )


def test_bvh_for_another_skeleton_scales_the_path(demo, rest, tmp_path):
    write_bvh(demo, tmp_path / "a.bvh", rig_joints=2 * rest, unit="m")
    row = [float(x) for x in (tmp_path / "a.bvh").read_text().splitlines()[-1].split()]
    np.testing.assert_allclose(row[:3], 2 * demo.pelvis[-1], atol=1e-4)
    for options, text in (({"unit": "inch"}, "unit"), ({"rig_joints": rest[:3]}, "rig_joints")):
        with pytest.raises(MotionError, match=text):
            write_bvh(demo, tmp_path / "b.bvh", **options)
    with pytest.raises(MotionError, match="cannot be written"):
        write_bvh(demo, tmp_path / "none" / "b.bvh")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bvh"]


def test_npz_is_read_back_and_has_the_keys_of_amass(demo, rest, tools, tmp_path):
    save_motion(demo, tmp_path / "a.npz")
    m = load_motion(tmp_path / "a.npz")
    assert tools.angle_between(m.body, demo.body).max() < 1e-3
    np.testing.assert_array_equal(m.expression, demo.expression)
    assert m.expression_names == demo.expression_names and m.fps == demo.fps and m.notes == ()
    a, b = demo.for_avatar(rest), m.for_avatar(rest)
    assert max(np.abs(a.pose(i).transl - b.pose(i).transl).max() for i in range(0, m.frames, 10)) < 1e-5
    with np.load(tmp_path / "a.npz", allow_pickle=False) as z:
        assert (
            z["poses"].shape == (demo.frames, 165)
            and not z["betas"].any()
            and str(z["surface_model_type"]) == "smplx"
        )
        up = rot.rotate(rot.axis_angle_to_quaternion(z["root_orient"]), (0, 1.0, 0))
        assert up[:, 2].min() > 0.95  # z up, as AMASS
        parts = [z[k] for k in ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), z["poses"])


def test_expression_names_of_a_file_are_checked(demo, tmp_path):
    save_motion(demo, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as z:
        arrays = dict(z)
    for names in (np.array(["one"]), np.zeros(12), np.array(["x" * 5000] * 12)):
        np.savez(tmp_path / "b.npz", **arrays | {"expression_names": names})
        with pytest.raises(MotionError, match="expression_names"):
            load_motion(tmp_path / "b.npz")


def test_recording_is_exact(demo, tmp_path):
    save_motion(demo, tmp_path / "a.dmot")
    m = load_motion(tmp_path / "a.dmot")
    for key in ("body", "pelvis", "expression"):
        np.testing.assert_array_equal(getattr(m, key), getattr(demo, key))
    assert (m.fps, m.cyclic, m.name, m.expression_names, m.leg_length) == (
        demo.fps,
        True,
        "demo",
        demo.expression_names,
        demo.leg_length,
    )


def test_what_is_cut_off_is_readable_to_the_last_whole_frame(demo, tmp_path):
    save_motion(demo.slice(0, 50), tmp_path / "a.dmot")
    whole = (tmp_path / "a.dmot").read_bytes()
    for cut in (1, 300, 727, 728 * 3 + 5):
        (tmp_path / "b.dmot.part").write_bytes(whole[:-cut])
        m = load_motion(tmp_path / "b.dmot.part")
        assert m.frames == 50 - -(-cut // frame_dtype(12).itemsize) and any(
            "cut off" in n for n in m.notes
        ) == (cut % 728 != 0)
        np.testing.assert_array_equal(m.body, demo.body[: m.frames])


def test_a_recording_lies_on_disk_while_it_grows(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("dinar_live.runtime.motion.recording._FLUSH_SECONDS", -1)
    recorder = Recorder(tmp_path / "a.dmot", leg_length=0.8, expression_names=demo.expression_names)
    for i in range(7):
        recorder.append(100 + i / 60, demo.body[i], demo.pelvis[i], demo.expression[i])
    assert not (tmp_path / "a.dmot").exists() and len(read_recording(tmp_path / "a.dmot.part").frames) == 7
    recorder.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.dmot"]
    m = load_recording(tmp_path / "a.dmot")
    assert m.frames == 7 and m.fps == 60
    with pytest.raises(MotionError, match="exists already"):
        Recorder(tmp_path / "a.dmot", leg_length=0.8)
    with Recorder(tmp_path / "empty.dmot", leg_length=0.8):
        pass
    assert not (tmp_path / "empty.dmot").exists() and not (tmp_path / "empty.dmot.part").exists()


def test_uneven_times_become_even(tmp_path):
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.uniform(0.008, 0.025, 300)) + 1e5
    with Recorder(tmp_path / "a.dmot", leg_length=0.8) as recorder:
        for x in t:
            body = np.zeros((55, 3))
            body[0, 1] = 0.5 * (x - t[0])
            recorder.append(x, body, (0, 1, x - t[0]))
    m = load_recording(tmp_path / "a.dmot", fps=50)
    at = np.arange(m.frames) / 50
    np.testing.assert_allclose(m.body[:, 0, 1], 0.5 * at, atol=1e-4)
    np.testing.assert_allclose(m.pelvis[:, 2], at, atol=1e-4)
    assert abs(m.duration - (t[-1] - t[0])) < 0.03


@pytest.mark.parametrize(
    "frame, text",
    [
        ((1.0, np.full((55, 3), np.nan), np.zeros(3)), "NaN"),
        ((0.0, np.zeros((55, 3)), np.zeros(3)), "after 0 s"),
        ((np.nan, np.zeros((55, 3)), np.zeros(3)), "at nan s"),
        ((1.0, np.zeros((54, 3)), np.zeros(3)), "body"),
        ((1.0, np.zeros((55, 3)), np.zeros(3), np.zeros(2)), "0 expressions"),
    ],
)
def test_frames_are_checked_before_they_are_written(tmp_path, frame, text):
    with Recorder(tmp_path / "a.dmot", leg_length=0.8) as recorder:
        recorder.append(0.0, np.zeros((55, 3)), np.zeros(3))
        with pytest.raises(MotionError, match=text):
            recorder.append(*frame)
    assert load_recording(tmp_path / "a.dmot").frames == 1


def changed(header, **values):
    return json.dumps(header | values).encode()


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda h: changed(h, fps="fast"), "header: fps"),
        (lambda h: changed(h, fps=float("nan")), "header: fps"),
        (lambda h: changed(h, expressions=10**9), "header: expressions"),
        (lambda h: changed(h, expressions=True), "header: expressions"),
        (lambda h: changed(h, expression_names=["a"]), "expression_names"),
        (lambda h: changed(h, leg_length=-1), "leg_length"),
        (lambda h: changed(h, skeleton="smpl"), "skeleton"),
        (lambda h: b"[" * 10_000, "no JSON"),
        (lambda h: b"[]", "expected an object"),
        (lambda h: b"{}", "format"),
        (lambda h: b"\xff\xfe{}", "no JSON"),
        (lambda h: b" " * (MAX_HEADER + 1), "header of"),
    ],
)
def test_hostile_headers(demo, tmp_path, change, text):
    save_motion(demo.slice(0, 3), tmp_path / "a.dmot")
    data = (tmp_path / "a.dmot").read_bytes()
    n = int.from_bytes(data[8:12], "little")
    header = change(json.loads(data[12 : 12 + n]))
    (tmp_path / "b.dmot").write_bytes(data[:8] + len(header).to_bytes(4, "little") + header + data[12 + n :])
    with pytest.raises(MotionError, match=text):
        load_motion(tmp_path / "b.dmot")


def test_hostile_frames(demo, tmp_path):
    save_motion(demo.slice(0, 9), tmp_path / "a.dmot")
    data = (tmp_path / "a.dmot").read_bytes()
    start = len(data) - 9 * 728
    frames = np.frombuffer(data[start:], frame_dtype(12)).copy()
    for key, value, text in (
        ("t", 0.0, "frame 4: damaged"),
        ("t", np.inf, "damaged"),
        ("body", np.nan, "frame 4: damaged"),
        ("body", 1e30, "b.dmot.*Motion.body"),
        ("pelvis", np.inf, "damaged"),
    ):
        bad = frames.copy()
        bad[key][4] = value
        (tmp_path / "b.dmot").write_bytes(data[:start] + bad.tobytes())
        with pytest.raises(MotionError, match=text):
            load_motion(tmp_path / "b.dmot")
    for junk in (b"", b"DMOT", data[:40], data[:start], b"PK" + data[2:]):
        (tmp_path / "b.dmot").write_bytes(junk)
        with pytest.raises(MotionError, match="b.dmot"):
            load_motion(tmp_path / "b.dmot")


def test_unknown_kinds_are_refused(demo, tmp_path):
    with pytest.raises(MotionError, match="expected .bvh, .npz, .dmot"):
        save_motion(demo, tmp_path / "a.fbx")
    with pytest.raises(MotionError, match="dinar convert"):
        load_motion(tmp_path / "a.pkl")
    unnamed = dataclasses.replace(demo.slice(0, 4), expression_names=None)
    save_motion(unnamed, tmp_path / "a.dmot")
    assert load_motion(tmp_path / "a.dmot").expression_names is None
