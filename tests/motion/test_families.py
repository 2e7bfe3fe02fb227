"""The same motion in BVH files as each family writes them (made here, by their documented names): one SMPL-X
motion comes out."""

import dataclasses

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from dinar_live.runtime.motion import kinematics, load_motion
from dinar_live.runtime.motion.bvh import Bvh, read_bvh
from dinar_live.runtime.motion.bvh_retarget import _Retarget, retarget

J = JOINT_INDEX
CLIPS = ("walk_meredith", "cmu_jumping_jacks", "wave_hello", "zombie", "jesse_dance")
_LIMBS = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
_ARM_FOREARM = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")
# names of: root, spine from below, neck, head, limbs; then unit, Euler order, arms down at rest by degrees, a
# joint without length at the hips, y or z up, fingers
FAMILIES = {
    "mixamo": (
        "mixamorig:Hips",
        ("Spine", "Spine1", "Spine2"),
        ("Neck",),
        "Head",
        _ARM_FOREARM,
        100.0,
        "zxy",
        0,
        False,
        "y",
        "{}Hand{}{}",
    ),
    "lafan": (
        "Hips",
        ("Spine", "Spine1", "Spine2", "Spine3"),
        ("Neck",),
        "Head",
        ("UpLeg", "Leg", "Foot", "Toe", *_ARM_FOREARM[4:]),
        100.0,
        "zyx",
        0,
        False,
        "y",
        None,
    ),
    "cgspeed": (
        "Hips",
        ("LowerBack", "Spine", "Spine1"),
        ("Neck", "Neck1"),
        "Head",
        _ARM_FOREARM,
        1 / 0.05644,
        "zyx",
        20,
        True,
        "y",
        None,
    ),
    "vrm": (
        "hips",
        ("spine", "chest", "upperChest"),
        ("neck",),
        "head",
        ("UpperLeg", "LowerLeg", "Foot", "Toes", "Shoulder", "UpperArm", "LowerArm", "Hand"),
        1.0,
        "yxz",
        0,
        False,
        "y",
        "vrm",
    ),
    "rokoko": (
        "hip",
        ("spine", "chest"),
        ("neck",),
        "head",
        ("UpLeg", "Leg", "Foot", "Toe", "Shoulder", "UpperArm", "LowerArm", "Hand"),
        39.37,
        "xyz",
        80,
        False,
        "z",
        None,
    ),
}


def family_bvh(style, body, pelvis, rest) -> Bvh:
    """SMPL-X poses [N,55,3] as that family would have captured them."""
    root, spine, neck, head, limbs, unit, _, down, helper, up, fingers = FAMILIES[style]
    world = kinematics.global_rotations(rot.axis_angle_to_quaternion(body))
    # the pose of this skeleton in which its rotations are zero: arms lowered
    zero = np.tile((1.0, 0, 0, 0), (1, 55, 1))
    for side, sign in (("left", -1), ("right", 1)):
        zero[0, J[f"{side}_shoulder"]] = rot.axis_angle_to_quaternion((0, 0, sign * np.radians(down)))
    zero = kinematics.global_rotations(zero)
    at_zero = kinematics.joint_positions(zero, rest, rest[:1])[0]
    turned = rot.multiply(world, rot.conjugate(zero))  # world rotation of each of its joints
    names, parents, places, turns = [root], [-1], [at_zero[0]], [turned[:, 0]]

    def add(name, parent, place, turn):
        names.append(name)
        parents.append(parent)
        places.append(place)
        turns.append(turn)
        return len(names) - 1

    above = 0
    share = [J["spine1"], J["spine2"], J["spine3"]]
    used = {2: share[1:], 3: share, 4: [share[0], share[1], None, share[2]]}[len(spine)]
    for name, j in zip(spine, used, strict=True):
        place = at_zero[j] if j is not None else 0.5 * (at_zero[share[1]] + at_zero[share[2]])
        turn = turned[:, j] if j is not None else rot.slerp(turned[:, share[1]], turned[:, share[2]], 0.4)
        above = add(name, above, place, turn)
    chest = above
    for i, name in enumerate(neck):
        above = add(name, above, at_zero[J["neck"]] + (0, 0.03 * i, 0), turned[:, J["neck"]])
    add(head, above, at_zero[J["head"]], turned[:, J["head"]])
    prefix = "mixamorig:" if style == "mixamo" else ""
    for side in ("left", "right"):
        title = side if style in ("vrm", "rokoko") else prefix + side.title()
        parent = add(f"{title[0].upper()}HipJoint", 0, at_zero[0], turned[:, 0]) if helper else 0
        for joint, name in zip(_LIMBS, limbs, strict=True):
            parent = chest if joint == "collar" else parent
            parent = add(
                f"{title}{name}", parent, at_zero[J[f"{side}_{joint}"]], turned[:, J[f"{side}_{joint}"]]
            )
        for finger in ("index", "middle", "pinky", "ring", "thumb") if fingers else ():
            at = parent
            for i in (1, 2, 3):
                if fingers == "vrm":
                    part = ("Proximal", "Intermediate", "Distal")[i - 1]
                    name = f"{side}{'Little' if finger == 'pinky' else finger.title()}{part}"
                else:
                    name = fingers.format(title, finger.title(), i)
                at = add(name, at, at_zero[J[f"{side}_{finger}{i}"]], turned[:, J[f"{side}_{finger}{i}"]])
    turns = np.stack(turns, axis=1)
    local = kinematics.local_rotations(turns, parents)
    places = np.array(places) * unit
    offsets = np.array([p if q < 0 else p - places[q] for p, q in zip(places, parents, strict=True)])
    positions = np.broadcast_to(offsets, (len(body), *offsets.shape)).copy()
    positions[:, 0] = np.asarray(pelvis) * unit
    ends = {j: np.array((0, 0.1 * unit, 0)) for j in range(len(names)) if j not in parents}
    if up == "z":
        q = rot.axis_angle_to_quaternion((np.pi / 2, 0, 0))
        offsets, positions = rot.rotate(q, offsets), rot.rotate(q, positions)
        local = rot.multiply(rot.multiply(q, local), rot.conjugate(q))
        ends = {j: rot.rotate(q, e) for j, e in ends.items()}
    return Bvh(tuple(names), tuple(parents), offsets, ends, local, positions, 30.0)


def world_error(a, b):
    """Degrees [N,55] between the world rotations of two motions' bodies."""
    wa, wb = (kinematics.global_rotations(rot.axis_angle_to_quaternion(x)) for x in (a, b))
    return np.degrees(2 * np.arccos(np.clip(np.abs(np.sum(wa * wb, -1)), 0, 1)))


@pytest.mark.parametrize("style", FAMILIES)
def test_every_family_gives_the_same_motion(demo, rest, tools, tmp_path, style):
    body, pelvis = demo.body[::5].astype(float), demo.pelvis[::5]
    bvh = family_bvh(style, body, pelvis, rest)
    (tmp_path / "a.bvh").write_text(tools.bvh_text(bvh, order=FAMILIES[style][6]))
    m = load_motion(tmp_path / "a.bvh")
    body_joints = [
        j for j in range(22) if j not in (J["spine1"], J["spine2"])
    ]  # which share the bend as the file's spine does
    assert world_error(m.body, body)[:, body_joints].max() < 3
    if FAMILIES[style][10]:
        assert world_error(m.body, body)[:, 25:].max() < 3
    assert np.abs(m.pelvis - pelvis).max() < 0.01
    zero = load_motion(tmp_path / "a.bvh", reference="rest")
    assert world_error(zero.body, body)[:, body_joints].max() < 3


@pytest.mark.parametrize("style", FAMILIES)
def test_the_t_pose_of_every_family_is_the_zero_pose(rest, style):
    bvh = family_bvh(style, np.zeros((3, 55, 3)), np.tile(rest[0], (3, 1)), rest)
    m = retarget(bvh, hands="flat")
    assert np.degrees(np.abs(m.body).max()) < 0.1


@pytest.mark.parametrize("clip", CLIPS)
def test_joints_turn_as_much_as_those_of_the_file(shared, rest, clip):
    """Feet, hands, trunk and collar bones keep the orientation of the reference pose: from frame to frame
    they turn as the source does."""
    bvh = read_bvh(shared / "bvh" / f"{clip}.bvh")
    m, r = retarget(bvh), _Retarget(bvh, rest, clip)
    pose, kept = r._reference("auto")
    world = bvh.global_rotations()
    turn = r._upright(pose, world, bvh.joint_positions(world))
    source = rot.multiply(turn, world)[kept]
    ours = kinematics.global_rotations(m.quaternions)
    for j, k in r.source.items():
        a = rot.multiply(source[1:, k], rot.conjugate(source[0, k]))
        b = rot.multiply(ours[1:, j], rot.conjugate(ours[0, j]))
        assert np.degrees(2 * np.arccos(np.clip(np.abs(np.sum(a * b, -1)), 0, 1))).max() < 3, JOINT_NAMES[j]


@pytest.mark.parametrize("style", ["mixamo", "rokoko"])
def test_a_mirrored_family(demo, rest, tools, style):
    body = demo.body[::20].astype(float)
    pelvis = demo.pelvis[::20]
    a = retarget(family_bvh(style, body, pelvis, rest))
    b = retarget(family_bvh(style, tools.mirrored_body(body), pelvis * (-1, 1, 1), rest))
    assert tools.angle_between(tools.mirrored_body(a.body), b.body).max() < 0.1


def nested(depth):
    lines = ["HIERARCHY", "ROOT Hips"]
    for i in range(depth):
        lines += ["{", "OFFSET 0 0 0", "CHANNELS 0", f"JOINT j{i}"]
    return "\n".join(lines)


GOOD = "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{\nOFFSET 0 0 1\n}\n}\nMOTION\n"


@pytest.mark.parametrize(
    "text",
    [
        nested(100_000),
        GOOD + "Frames: 999999999999\nFrame Time: 0.03\n1 2 3\n",
        GOOD + "Frames: 2\nFrame Time: 0.03\nnan 2 3\n1 2 3\n",
        GOOD + "Frames: 2\nFrame Time: 0.03\n1 2 3\n1 2",
        GOOD + "Frames: 1e3000\nFrame Time: 0.03\n",
        GOOD + "Frames: 1\nFrame Time: 0\n1 2 3",
        GOOD.replace("0 0 0", "0 inf 0"),
        GOOD.replace("CHANNELS 3", "CHANNELS 999999999"),
        GOOD[:60],
        "",
        "\0" * 10_000,
        GOOD.replace("}\n}", "}\n" * 3),
    ],
    ids=range(12),
)
def test_hostile_bvh_is_one_error_at_once(tmp_path, text):
    import time

    (tmp_path / "a.bvh").write_text(text)
    began = time.perf_counter()
    with pytest.raises(MotionError, match="a.bvh"):
        load_motion(tmp_path / "a.bvh")
    assert time.perf_counter() - began < 1


def test_smplx_names_mean_smplx_rotations(rest, tools):
    """Elbows that bend about an axis of their own, as fits of SMPL-X have them, are no reason to roll the
    arms."""
    body = np.zeros((40, 55, 3))
    body[:, J["left_elbow"]] = np.linspace(0.1, 2, 40)[:, None] * np.array((0, -0.5, 0.87))
    body[:, J["right_elbow"]] = body[:, J["left_elbow"]] * (1, -1, -1)
    bvh = tools.skeleton_bvh(body, np.tile(rest[0], (40, 1)), rest)
    assert tools.angle_between(retarget(bvh).body, body).max() < 0.1
    other = dataclasses.replace(bvh, names=tuple(n.replace("spine", "chest") for n in bvh.names))
    assert tools.angle_between(retarget(other).body, body).max() > 10
    assert len(PARENTS) == len(bvh.names)
