"""The BVH parser: against scipy, and on damaged files."""

import io
import re

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import bvh as module
from dinar_live.runtime.motion import bvh_numbers
from dinar_live.runtime.motion.bvh import parse_bvh, read_bvh

TEXT = """HIERARCHY
ROOT Hips
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Left Leg
  {
    OFFSET 0 -4 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 0 -5 0
    }
  }
}
MOTION
Frames: 2
Frame Time: .0083333
0 10 0 90 0 0 0 0 0
1 11 2 10 20 30 40 50 60
"""


def test_reads_a_small_file():
    b = parse_bvh(TEXT)
    assert b.names == ("Hips", "Left Leg") and b.parents == (-1, 0) and b.frames == 2 and b.fps == 120.0
    np.testing.assert_array_equal(b.ends[1], (0, -5, 0))
    positions = b.joint_positions()
    np.testing.assert_allclose(positions[0], [(0, 10, 0), (4, 10, 0)], atol=1e-12)  # Rz 90 carries -y to +x


def test_each_joint_has_its_own_euler_order():
    Rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    world = parse_bvh(TEXT).global_rotations()[1]
    root = Rotation.from_euler("ZYX", (10, 20, 30), degrees=True)
    leg = Rotation.from_euler("YXZ", (40, 50, 60), degrees=True)
    for got, expected in zip(world, (root, root * leg), strict=True):
        assert abs(np.dot(got, expected.as_quat()[[3, 0, 1, 2]])) == pytest.approx(1)


def test_values_may_wrap_over_lines_and_endings_vary():
    wrapped = TEXT.replace("0 10 0 90", "0 10 0\n90").replace("\n", "\r\n")
    np.testing.assert_array_equal(parse_bvh(wrapped).rotations, parse_bvh(TEXT).rotations)


def test_duplicate_names_stay_apart():
    twin = TEXT.replace(
        "    End Site", "    JOINT Hips\n    {\n OFFSET 0 1 0\n CHANNELS 0\n    }\n    End Site"
    )
    assert parse_bvh(twin).names == ("Hips", "Left Leg", "Hips#2")


def deep(positions):
    """Five joints under the root, all with positions: rows of 6 numbers a joint."""
    joints = "".join(
        f"JOINT J{i} {{ OFFSET {i + 1} 2 -3\n CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
        for i in range(5)
    )
    head = "HIERARCHY\nROOT R { OFFSET 0 9 0\n CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
    rows = "\n".join(" ".join(f"{v} {v} {v} 0 0 0" for v in row) for row in positions)
    return f"{head}{joints}{'} ' * 6}\nMOTION\nFrames: {len(positions)}\nFrame Time: 0.1\n{rows}\n"


def test_positions_near_zero_are_added_to_the_offsets():
    """Zeros, or small changes, in all joints: they would all fall into one point."""
    offsets = [(i + 1, 2, -3) for i in range(5)]
    for small in (0.0, 0.25):
        b = parse_bvh(deep([[7, *[small] * 5], [8, *[small] * 5]]))
        np.testing.assert_allclose(b.positions[:, 1:], [[[x + small for x in o] for o in offsets]] * 2)
        np.testing.assert_allclose(b.positions[:, 0], [(7, 7, 7), (8, 8, 8)])
        assert any("added to those" in note for note in b.notes)
    b = parse_bvh(deep([[7, 3, 3, 3, 3, 3]]))
    np.testing.assert_allclose(b.positions[0, 1:], 3.0)
    assert b.notes == ()


def test_end_site_in_one_word():
    assert parse_bvh(TEXT.replace("End Site", "EndSite")).ends[1].tolist() == [0, -5, 0]


def test_position_channels_replace_offsets():
    text = TEXT.replace("CHANNELS 3 Yrotation", "CHANNELS 4 Xposition Yrotation")
    text = text.replace("0 0 0\n1", "7 0 0 0\n1").replace("30 40", "30 8 40")
    np.testing.assert_allclose(parse_bvh(text).positions[:, 1], [(7, -4, 0), (8, -4, 0)])


@pytest.mark.parametrize(
    "old, new, text",
    [
        ("HIERARCHY", "HELLO", "line 1: got 'HELLO', expected HIERARCHY"),
        ("ROOT Hips", "JOINT Hips", "line 2: .*expected ROOT"),
        ("OFFSET 1 2 3", "OFFSET 1 2 x", "line 4: got 'x', expected a number"),
        ("OFFSET 1 2 3", "OFFSET 1 2 nan", "line 4: .*finite"),
        ("OFFSET 1 2 3", "OFFSET 1 2 1e99", "line 4: .*finite"),
        ("OFFSET 1 2 3", "OFFSET 1 2", "line 5: got 'CHANNELS'"),
        ("CHANNELS 6", "CHANNELS 9", "line 5: got 9 channels"),
        ("CHANNELS 6", "CHANNELS 1e9", "line 5: got 1e\\+09 channels"),
        ("Yposition", "Xposition", "line 5: a channel is named twice"),
        ("Yposition", "Wposition", "line 5: got channel 'Wposition'"),
        ("MOTION", "ROOT", "a second ROOT"),
        ("Frames: 2", "Frames: two", "line 17: .*expected 'Frames: number'"),
        ("Frames: 2", "Frames: 1e12", "line 17: got 1e\\+12 frames"),
        ("Frames: 2", "Frames: 0", "line 17: got 0 frames"),
        ("Frames: 2", "Frames: 3", "ends after 18 of 27 values"),
        (
            "Frames: 2\nFrame Time: .0083333\n0 10",
            "Frames: 1\nFrame Time: .0083333\n7 0 10",
            "19 values follow, 10 in the first row",
        ),
        (".0083333", "0", "line 18: got a frame time of 0"),
        (".0083333", "inf", "line 18"),
        ("1 11 2", "1 nan 2", "line 20: got 'nan'"),
        ("1 11 2", "1 huh 2", "line 20: got 'huh'"),
    ],
)
def test_damage_is_named_by_line(old, new, text):
    with pytest.raises(MotionError, match=text):
        parse_bvh(TEXT.replace(old, new, 1))


def test_every_truncation_is_one_clear_error():
    for n in range(len(TEXT) - 3):  # the last characters only shorten a number
        with pytest.raises(MotionError, match="line"):
            parse_bvh(TEXT[:n])


def test_hierarchies_are_bounded():
    head, open_, close = (
        "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 0\n",
        "JOINT a\n{\nOFFSET 0 0 0\nCHANNELS 0\n",
        "}\n",
    )
    with pytest.raises(MotionError, match="nested deeper"):
        parse_bvh(head + open_ * 5000)
    with pytest.raises(MotionError, match=f"more than {module.MAX_JOINTS} joints"):
        parse_bvh(head + (open_ + close) * 5000)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(MotionError, match="nothing.bvh"):
        read_bvh(tmp_path / "nothing.bvh")
    (tmp_path / "binary.bvh").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(MotionError, match="expected HIERARCHY"):
        read_bvh(tmp_path / "binary.bvh")
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    (tmp_path / "big.bvh").write_text(TEXT)
    with pytest.raises(MotionError, match="at most"):
        read_bvh(tmp_path / "big.bvh")


def test_the_five_clips_parse(shared):
    expected = {
        "walk_meredith": (1064, 23, 120),
        "cmu_jumping_jacks": (125, 31, 30),
        "zombie": (779, 27, 30),
        "jesse_dance": (1007, 60, 100),
    }
    for name, counts in expected.items():
        b = read_bvh(shared / "bvh" / f"{name}.bvh")
        assert (b.frames, len(b.names), b.fps) == counts


def note_of(text):
    """The only note of a file that is read as TEXT is."""
    b = parse_bvh(text)
    expected = parse_bvh(TEXT)
    np.testing.assert_array_equal(b.rotations[:2], expected.rotations)
    np.testing.assert_array_equal(b.positions[:2], expected.positions)
    assert len(b.notes) <= 1
    return b.notes[0] if b.notes else None


@pytest.mark.parametrize(
    "old, new, note",
    [
        ("End Site", "End Site Tip of it", "End Sites"),
        ("End Site", "End site", None),
        ("HIERARCHY", "# made by hand\nHIERARCHY", "#"),
        ("0 10 0 90", "# take 1\n0 10 0 90", "#"),
        ("50 60\n", "50 60 # the end\n", "#"),
        ("50 60\n", "50 60\n\x1a", "\\^Z"),
        ("50 60\n", "50 60\n\0\0\0\0", "bytes 0"),
        ("50 60\n", "50 60\x1a", "\\^Z"),
        ("30 40 50 60", "30 40 5.0e1 +60", None),
        ("30 40 50 60", "30 40 50.00000000000000000000 60.", None),
        ("50 60\n", "50 60\n1 2 3 4 5 6 7 8 9\n", "2 frames and has 3"),
        ("50 60\n", "50 60\n1 2 3 4\n", "4 values after"),
        ("50 60", "50 60\r\n \t\r\n", None),
        ("HIERARCHY", "\ufeffHIERARCHY", None),
    ],
)
def test_what_exporters_add_is_read_with_a_note(old, new, note):
    found = note_of(TEXT.replace(old, new, 1))
    assert found is None if note is None else re.search(note, found), found


def test_offset_and_channels_in_any_order_and_no_channels():
    lines = TEXT.splitlines()
    lines[3:5] = lines[4:2:-1]
    assert note_of("\n".join(lines)) is None
    fixed = TEXT.replace("    CHANNELS 3 Yrotation Xrotation Zrotation\n", "").replace(" 0 0 0\n1", "\n1")
    b = parse_bvh(fixed.replace(" 40 50 60", ""))
    assert "CHANNELS" in b.notes[0] and np.all(b.rotations[:, 1] == (1, 0, 0, 0))
    with pytest.raises(MotionError, match="line 5: OFFSET is there twice"):
        parse_bvh(TEXT.replace("  OFFSET 1 2 3\n", "  OFFSET 1 2 3\n  OFFSET 1 2 3\n"))
    with pytest.raises(MotionError, match="has no OFFSET"):
        parse_bvh(TEXT.replace("  OFFSET 1 2 3\n", ""))


def test_a_minus_without_a_blank():
    glued = TEXT.replace("1 11 2 10 20", "1 11-2.5 10-.5")
    b = parse_bvh(glued)
    np.testing.assert_array_equal(b.positions[1, 0], (1, 11, -2.5))
    assert "minus" in b.notes[0]
    exponent = parse_bvh(TEXT.replace("1 11 2 10 20", "1 11 -25e-1 10 -5e-1"))
    np.testing.assert_array_equal(exponent.rotations, b.rotations)
    for bad in ("1--2", "1-", "-", "--1", "1.2.3", "1,5", "0x10", "1-2-x", "1e", "."):
        with pytest.raises(MotionError, match="line 20: got"):
            parse_bvh(TEXT.replace("1 11 2 10 20", f"{bad} 2 10 20"))


def test_utf_16(tmp_path):
    (tmp_path / "a.bvh").write_bytes(TEXT.encode("utf-16"))
    b = read_bvh(tmp_path / "a.bvh")
    np.testing.assert_array_equal(b.rotations, parse_bvh(TEXT).rotations)
    assert "UTF-16" in b.notes[0]


@pytest.mark.parametrize("piece", [1, 7, 40, 1000])
def test_numbers_are_what_float_gives_however_the_file_is_cut(monkeypatch, piece):
    random = np.random.default_rng(0)
    rows = [[f"{v:.{random.integers(0, 12)}f}" for v in row] for row in random.normal(0, 100, (40, 9))]
    rows[7][3], rows[20][1] = "1.25e-3", "0.12345678901234567890"
    text = TEXT[: TEXT.index("Frames")] + "Frames: 40\nFrame Time: 0.01\n"
    text += "\n".join(" ".join(row) for row in rows)
    monkeypatch.setattr(bvh_numbers, "PIECE", piece)
    clip = module._clip(io.BytesIO(text.encode()), len(text), "a", None)
    np.testing.assert_array_equal(clip.values, np.array(rows, float))


def test_a_part_is_the_same_as_the_whole(shared):
    path = shared / "bvh" / "zombie.bvh"
    whole, part = read_bvh(path), module.read_clip(path).part(slice(100, 110))
    np.testing.assert_array_equal(whole.rotations[100:110], part.rotations)
    np.testing.assert_array_equal(whole.positions[100:110], part.positions)


def test_frames_per_second_can_be_given(tmp_path):
    (tmp_path / "a.bvh").write_text(TEXT.replace(".0083333", "0"))
    with pytest.raises(MotionError, match="frame time of 0 s.*--source-fps"):
        read_bvh(tmp_path / "a.bvh")
    clip = module.read_clip(tmp_path / "a.bvh", 60)
    assert clip.fps == 60 and "60 frames per second" in clip.notes[0]
    with pytest.raises(MotionError, match="got 0, expected 0.1"):
        module.read_clip(tmp_path / "a.bvh", 0.0)
