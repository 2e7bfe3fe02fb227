"""Map files: what is understood is printed, edited, and read again; wrong ones are refused by name."""

import dataclasses

import numpy as np
import pytest

from dinar_live.__main__ import main
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES
from dinar_live.runtime.motion import load_motion
from dinar_live.runtime.motion.families import recognise
from dinar_live.runtime.motion.joint_map import read_map

J = JOINT_INDEX


@pytest.fixture(scope="module")
def plain_clip(demo, rest, tools):
    return tools.skeleton_bvh(demo.body[::20].astype(float), demo.pelvis[::20], rest)


@pytest.fixture
def numbered(plain_clip, tools, tmp_path):
    """A file whose joints are called bone_0 ... bone_54, and the map that says what they are."""
    names = tuple(f"bone_{j}" for j in range(55))
    (tmp_path / "a.bvh").write_text(tools.bvh_text(dataclasses.replace(plain_clip, names=names)))
    needed = ["pelvis"] + [
        f"{s}_{n}"
        for s in ("left", "right")
        for n in ("hip", "knee", "ankle", "collar", "shoulder", "elbow", "wrist")
    ]
    text = "[joints]\n" + "".join(f'{n} = "bone_{J[n]}"\n' for n in needed)
    (tmp_path / "map.toml").write_text(text)
    return tmp_path


def test_a_map_reads_what_names_do_not_tell(numbered, plain_clip, tools):
    with pytest.raises(MotionError, match="--show-map"):
        load_motion(numbered / "a.bvh")
    motion = load_motion(numbered / "a.bvh", map=numbered / "map.toml", hands="flat")
    assert "by map" in motion.notes[0]
    got = {j for j in range(22)} - {J["head"], J["neck"], J["left_foot"], J["right_foot"]}
    expected = load_motion(numbered / "a.bvh", map=everything(numbered))
    joints = sorted(got)
    assert tools.angle_between(motion.body[:, joints], expected.body[:, joints]).max() < 0.2


def everything(folder):
    path = folder / "all.toml"
    path.write_text("[joints]\n" + "".join(f'{n} = "bone_{j}"\n' for j, n in enumerate(JOINT_NAMES)))
    return path


def test_a_whole_map_is_exact(numbered, demo, tools):
    motion = load_motion(numbered / "a.bvh", map=everything(numbered))
    hinged = [j for j in range(55) if JOINT_NAMES[j] not in ("jaw",)]
    assert np.median(tools.angle_between(motion.body, demo.body[::20])[:, hinged]) < 0.1


@pytest.mark.parametrize("case", ["control_ok", "name_unreal", "name_blender_dot"])
def test_what_is_shown_reads_as_it_was_understood(shared, tmp_path, capsys, case):
    path = shared / "motion_cases" / f"{case}.bvh"
    assert main(["convert", str(path), "--show-map"]) == 0
    (tmp_path / "map.toml").write_text(capsys.readouterr().out)
    out = str(tmp_path / "a.npz")
    assert main(["convert", str(path), out, "--map", str(tmp_path / "map.toml")]) == 0
    assert "by map" in capsys.readouterr().out
    given = load_motion(path, map=tmp_path / "map.toml")
    np.testing.assert_array_equal(given.body, load_motion(path).body)


def test_what_is_not_understood_is_shown_with_what_is_missing(numbered, capsys):
    assert main(["convert", str(numbered / "a.bvh"), "--show-map"]) == 0
    text = capsys.readouterr().out
    assert "NOT ENOUGH YET" in text and "# bone_0" in text and '# left_hip = ""' in text
    assert main(["convert", str(numbered / "a.bvh"), "--show-map", "--map", str(numbered / "map.toml")]) == 0
    text = capsys.readouterr().out
    assert "NOT ENOUGH" not in text and f'left_hip = "bone_{J["left_hip"]}"' in text


def test_a_map_counts_before_names_and_may_say_none(plain_clip):
    names, parents = plain_clip.names, plain_clip.parents
    source = recognise(names, parents, "a", {"left_index1": "", "neck": "", "head": "jaw"}).source
    assert J["left_index1"] not in source and J["neck"] not in source and J["jaw"] not in source
    assert source[J["head"]] == J["jaw"] and source[J["left_knee"]] == J["left_knee"]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "expected one table"),
        ('pelvis = "bone_0"', "expected one table"),
        ("[joints\n", "no TOML"),
        ('[joints]\npelvis = "bone_0"\npelvis = "bone_1"', "no TOML"),
        ('[joints]\nleft_hips = "bone_1"', "'left_hips' is no joint of SMPL-X .like left_hip"),
        ("[joints]\nleft_hip = 1", "left_hip: got 1, expected the file's name"),
        ('[joints]\nleft_hip = "bone-1"', "there is no joint 'bone-1' .like bone_1"),
        ('[joints]\nleft_hip = "bone_1"\nright_hip = "bone_1"', "is given for left_hip and for right_hip"),
        ('[joints]\nleft_hip = "bone_1"', "left_knee, left_ankle missing"),
        ("#" * 70_000, "expected a map of at most"),
    ],
)
def test_wrong_maps_are_refused(numbered, text, problem):
    (numbered / "wrong.toml").write_text(text)
    with pytest.raises(MotionError, match=problem):
        load_motion(numbered / "a.bvh", map=numbered / "wrong.toml")


def test_a_map_against_the_tree_is_refused(numbered):
    text = (numbered / "map.toml").read_text().replace('left_hip = "bone_1"', 'left_hip = "bone_4"')
    (numbered / "wrong.toml").write_text(text.replace('left_knee = "bone_4"', 'left_knee = "bone_1"'))
    with pytest.raises(MotionError, match="left_knee is not below left_hip"):
        load_motion(numbered / "a.bvh", map=numbered / "wrong.toml")
    (numbered / "latin.toml").write_bytes(b'[joints]\npelvis = "h\xfcfte"\n')
    with pytest.raises(MotionError, match="no TOML"):
        read_map(numbered / "latin.toml")
    with pytest.raises(MotionError, match="cannot be read"):
        read_map(numbered / "nothing.toml")


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["convert", "demo", "a.npz", "--up", "y"], "--up: means nothing for demo"),
        (["convert", "demo", "a.npz", "--map", "x"], "--map: means nothing for demo"),
        (["convert", "demo", "a.npz", "--person", "1"], "--person: means nothing for demo"),
        (["convert", "demo"], "OUT is missing"),
        (["convert", "demo", "--show-map"], "expected a .bvh file"),
        (["convert", "a.bvh", "b.npz", "--show-map"], "writes no OUT"),
        (["play", "demo", "--source-fps", "30"], "--source-fps: means nothing for demo"),
        (["render", "demo", "demo", "-o", "x.mp4", "--up", "z"], "--up: means nothing for demo"),
        (["record", "vmc", "-o", "x.dmot", "--up", "z"], "--up: means nothing for the live source"),
        (["serve", "demo", "--map", "x"], "--map: means nothing for a server without --motion"),
    ],
)
def test_options_for_files_are_checked_by_every_verb(arguments, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) != 0
    assert text in capsys.readouterr().err


def test_options_reach_the_file(numbered, capsys):
    base = ["convert", str(numbered / "a.bvh"), str(numbered / "a.dmot"), "--map", str(numbered / "map.toml")]
    assert main([*base, "--source-fps", "50", "--up", "y"]) == 0
    assert load_motion(numbered / "a.dmot").fps == 50
    assert main(["convert", str(numbered / "a.dmot"), str(numbered / "b.npz"), "--up", "y"]) != 0
    assert "--up: means nothing" in capsys.readouterr().err
