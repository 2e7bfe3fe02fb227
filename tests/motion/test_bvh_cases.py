"""Small BVH files of kinds that failed once (../shared/motion_cases): each is the motion of control_ok.bvh."""

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.motion import kinematics, load_motion

J = JOINT_INDEX
SAME = (
    "fmt_channels_first",
    "fmt_ctrlz",
    "fmt_endsite_named",
    "fmt_extra_frame",
    "fmt_glued_minus",
    "name_bandai_suffix",
    "name_blender_dot",
    "name_poser_daz",
    "name_rokoko_newton",
    "name_unreal",
    "name_vroid",
    "name_xsens_seg",
    "prefix_humanik",
    "prefix_mixrig_bare",
    "twisted_root",
)
NOTES = {
    "fmt_ctrlz": "^Z",
    "fmt_endsite_named": "End Site",
    "fmt_extra_frame": "40 frames and has 41",
    "fmt_glued_minus": "minus",
    "twisted_root": "against the hip joints",
    "zup_root_only": "z up",
    "bonesx_hips_below": "not a standing figure",
}
BONES = [
    (J[f"{s}_{a}"], J[f"{s}_{b}"])
    for s in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]


@pytest.fixture(scope="module")
def cases(shared):
    folder = shared / "motion_cases"
    if not (folder / "control_ok.bvh").is_file():
        pytest.skip(f"{folder} is not there: the files that failed once are NOT tested")
    return folder


def directions(motion, rest):
    """Unit vectors [N,K,3]: pelvis, hip line, trunk, head, arms and legs."""
    world = kinematics.global_rotations(motion.quaternions)
    at = kinematics.joint_positions(world, rest, motion.pelvis)
    out = [rot.rotate(world[:, J[n]], (0, 1.0, 0)) for n in ("pelvis", "spine1", "spine3", "head")]
    out.append(rot.rotate(world[:, 0], (0, 0, 1.0)))
    out += [at[:, a] - at[:, b] for a, b in [(J["left_hip"], J["right_hip"]), *BONES]]
    return rot.unit(np.stack(out, axis=1))


def largest_angle(a, b):
    n = min(len(a), len(b))
    return np.degrees(np.arccos(np.clip(np.sum(a[:n] * b[:n], -1), -1, 1))).max()


def ahead(found):
    """Directions [N,K,3] turned about y so that the pelvis, number 4, faces +z."""
    yaw = np.arctan2(found[:, 4, 0], found[:, 4, 2])
    turn = rot.axis_angle_to_quaternion(np.stack([0 * yaw, -yaw, 0 * yaw], axis=-1))
    return rot.rotate(turn[:, None], found)


@pytest.mark.parametrize("case", SAME + ("bonesx_hips_below", "bonesx_hips_level_forward"))
def test_each_is_the_motion_of_the_control(cases, rest, case):
    control, motion = load_motion(cases / "control_ok.bvh"), load_motion(cases / f"{case}.bvh")
    assert largest_angle(directions(motion, rest), directions(control, rest)) < 3
    n = min(motion.frames, control.frames)
    assert n == 40 and np.abs(motion.pelvis[:n] - control.pelvis[:n]).max() < 0.05
    if case in NOTES:
        assert any(NOTES[case] in note for note in motion.notes), motion.notes


def test_a_clip_that_its_root_turns_stands(cases, rest):
    """In the first frame of this file the root lacks the turn about the vertical that the control's has (its
    angles stand at 90 degrees there)."""
    control, motion = load_motion(cases / "control_ok.bvh"), load_motion(cases / "zup_root_only.bvh")
    wanted, found = directions(control, rest), directions(motion, rest)
    assert largest_angle(found[1:], wanted[1:]) < 3
    assert largest_angle(ahead(found[:1]), ahead(wanted[:1])) < 3
    assert any(NOTES["zup_root_only"] in note for note in motion.notes)
    np.testing.assert_allclose(np.ptp(motion.pelvis, axis=0), np.ptp(control.pelvis, axis=0), atol=0.02)
    lying = load_motion(cases / "zup_root_only.bvh", up="y")
    assert abs(directions(lying, rest)[:, 0, 1]).max() < 0.3


def test_the_control_is_as_its_file_says(cases, rest):
    """58 cm along z, left arm hanging, right forearm forward."""
    motion = load_motion(cases / "control_ok.bvh")
    assert motion.frames == 40 and np.ptp(motion.pelvis[:, 2]) > 0.4 and np.ptp(motion.pelvis[:, 0]) < 0.1
    assert directions(motion, rest)[:, 0, 1].min() > 0.95
