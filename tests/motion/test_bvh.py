"""The BVH parser: against scipy, and on damaged files."""

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion import bvh as module
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
