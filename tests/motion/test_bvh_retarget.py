"""BVH to SMPL-X: exact on our own skeleton, by properties on changed ones, by bone directions on real
clips."""

import dataclasses

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES
from dinar_live.runtime.motion import kinematics, load_motion
from dinar_live.runtime.motion.bvh import parse_bvh, read_bvh
from dinar_live.runtime.motion.bvh_retarget import _Retarget, retarget
from dinar_live.runtime.motion.families import recognise

J = JOINT_INDEX
CLIPS = ("walk_meredith", "cmu_jumping_jacks", "wave_hello", "zombie", "jesse_dance")
LIMBS = [J[f"{s}_{n}"] for s in ("left", "right") for n in ("hip", "knee", "shoulder", "elbow")]
BONES = [
    (J[f"{s}_{a}"], J[f"{s}_{b}"])
    for s in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]


@pytest.fixture(scope="module")
def ours(demo, rest, tools):
    """Every fourth frame of the demonstration as a BVH of the SMPL-X skeleton."""
    return (
        tools.skeleton_bvh(demo.body[::4].astype(float), demo.pelvis[::4], rest),
        demo.body[::4],
        demo.pelvis[::4],
    )


def other_side(name):
    return name.replace("left", "*").replace("right", "left").replace("*", "right")


def other_side_title(name):
    return name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")


def test_rest_is_the_zero_pose(tools, rest):
    m = retarget(tools.skeleton_bvh(np.zeros((2, 55, 3)), np.tile(rest[0], (2, 1)), rest))
    assert np.abs(m.body).max() < 1e-6
    np.testing.assert_allclose(m.pelvis, np.tile(rest[0], (2, 1)), atol=1e-6)


def test_round_trip_through_a_file_on_our_own_skeleton(ours, tools):
    bvh, body, pelvis = ours
    m = retarget(parse_bvh(tools.bvh_text(bvh)))
    assert tools.angle_between(m.body, body).max() < 0.1
    np.testing.assert_allclose(m.pelvis, pelvis, atol=1e-4)


@pytest.mark.parametrize("unit", [1.0, 39.37, 1000.0])
def test_any_unit(ours, demo, rest, tools, unit):
    m = retarget(tools.skeleton_bvh(demo.body[:30:3], demo.pelvis[:30:3], rest, unit=unit))
    np.testing.assert_allclose(m.pelvis, demo.pelvis[:30:3], atol=1e-5)


@pytest.mark.parametrize(
    "turn", [(-np.pi / 2, 0, 0), (np.pi / 2, 0, 0), (0, np.pi / 2, 0), (0, 0, np.pi / 2)]
)
def test_any_up_axis(ours, tools, turn):
    """The whole file in another world: its rest pose stands along another axis."""
    bvh, body, pelvis = ours
    q = rot.axis_angle_to_quaternion(turn)
    world = dataclasses.replace(
        bvh,
        offsets=rot.rotate(q, bvh.offsets),
        positions=rot.rotate(q, bvh.positions),
        ends={j: rot.rotate(q, e) for j, e in bvh.ends.items()},
        rotations=rot.multiply(rot.multiply(q, bvh.rotations), rot.conjugate(q)),
    )
    m = retarget(world)
    assert tools.angle_between(m.body, body).max() < 0.1
    np.testing.assert_allclose(m.pelvis, pelvis, atol=1e-4)


def test_mirrored_in_mirrored_out(ours, tools):
    bvh, _, _ = ours
    a, b = retarget(bvh), retarget(tools.mirrored(bvh, other_side))
    assert tools.angle_between(tools.mirrored_body(a.body), b.body).max() < 0.05
    np.testing.assert_allclose(a.pelvis * (-1, 1, 1), b.pelvis, atol=1e-5)


def test_arms_down_rest_pose(ours, rest, tools):
    """The same motion on a skeleton that rests with hanging arms: the world is the same, so the pose must
    be."""
    bvh, body, _ = ours
    down = np.tile((1.0, 0, 0, 0), (55, 1))
    for side, sign in (("left", -1), ("right", 1)):
        down[J[f"{side}_shoulder"]] = rot.axis_angle_to_quaternion((0, 0, sign * np.pi / 2))
    m = retarget(rebased(bvh, kinematics.global_rotations(down[None])[0]))
    assert tools.angle_between(m.body[:, :22], body[:, :22]).max() < 0.1


def rebased(bvh, turns):
    """The same motion on joints whose frames are turned by `turns` [J,4]: the zero pose changes, the world
    does not."""
    world = rot.multiply(bvh.global_rotations(), rot.conjugate(turns))
    local = kinematics.local_rotations(world, bvh.parents)
    offsets, positions = bvh.offsets.copy(), bvh.positions.copy()
    for j, p in enumerate(bvh.parents):
        if p >= 0:
            offsets[j] = rot.rotate(turns[p], offsets[j])
            positions[:, j] = rot.rotate(turns[p], positions[:, j])
    return dataclasses.replace(
        bvh,
        rotations=local,
        offsets=offsets,
        positions=positions,
        ends={j: rot.rotate(turns[j], e) for j, e in bvh.ends.items()},
    )


@pytest.mark.parametrize("roll, degrees", [("hinge", 17), ("hinge", -80), ("auto", 60), ("auto", -130)])
def test_rolled_joints_are_found_by_their_hinges(ours, rest, tools, roll, degrees):
    bvh, body, _ = ours
    turns = np.tile((1.0, 0, 0, 0), (55, 1))
    for j in LIMBS:
        child = next(c for c, p in enumerate(bvh.parents) if p == j)
        turns[j] = rot.axis_angle_to_quaternion(np.radians(degrees) * rot.unit(rest[child] - rest[j]))
    rolled = rebased(bvh, turns)
    # under SMPL-X's own names the zero pose would be SMPL-X's, whatever the hinges say
    rolled = dataclasses.replace(rolled, names=tuple(n.replace("spine", "Chest") for n in rolled.names))
    m = retarget(rolled, roll=roll)
    world, expected = (
        kinematics.global_rotations(m.quaternions),
        kinematics.global_rotations(rot.axis_angle_to_quaternion(body)),
    )
    off = 2 * np.arccos(np.clip(np.abs(np.sum(world * expected, -1)), 0, 1))
    hinged = [J[f"{s}_{n}"] for s in ("left", "right") for n in ("hip", "knee", "shoulder")]
    assert np.degrees(off[:, hinged]).max() < 5
    # without looking at the hinges it would be wrong
    plain = kinematics.global_rotations(retarget(rolled, roll="rest").quaternions)
    assert (
        np.degrees(2 * np.arccos(np.clip(np.abs(np.sum(plain * expected, -1)), 0, 1)))[:, hinged].max() > 10
    )


def test_a_reference_frame_instead_of_a_rest_pose(ours, rest, tools):
    """Joint frames turned at random: only a frame in T-pose tells how."""
    bvh, body, pelvis = ours
    body = body.copy()
    body[0] = 0
    turns = rot.axis_angle_to_quaternion(np.random.default_rng(0).normal(0, 1.0, (55, 3)))
    scrambled = rebased(tools.skeleton_bvh(body, pelvis, rest), turns)
    m = retarget(scrambled, reference=0)
    assert tools.angle_between(m.body, body).max() < 0.2
    with pytest.raises(MotionError, match="not a standing figure"):
        retarget(scrambled, reference="rest")


def test_an_injected_rest_frame_is_left_out(ours, rest, tools):
    bvh, body, pelvis = ours
    with_rest = tools.skeleton_bvh(
        np.concatenate([np.zeros((1, 55, 3)), body]), np.concatenate([pelvis[:1], pelvis]), rest
    )
    m = retarget(with_rest)
    assert m.frames == len(body) and any("frame 0" in n for n in m.notes)


def test_relaxed_fingers_where_the_file_has_none(shared):
    path = shared / "bvh" / "walk_meredith.bvh"
    assert np.abs(load_motion(path).body[:, 25:37]).max() > 0.2
    assert np.abs(load_motion(path, hands="flat").body[:, 25:37]).max() < 1e-6


@pytest.mark.parametrize("clip", CLIPS)
def test_bones_of_real_clips_point_where_the_source_has_them(shared, rest, clip):
    bvh = read_bvh(shared / "bvh" / f"{clip}.bvh")
    m = retarget(bvh)
    r = _Retarget(bvh, rest, clip)
    pose, kept = r._reference("auto")
    world = bvh.global_rotations()
    source = bvh.joint_positions(world)
    source = rot.rotate(r._upright(pose, world, source), source)[kept]
    target = kinematics.joint_positions(kinematics.global_rotations(m.quaternions), rest, m.pelvis)
    for a, b in BONES:
        wanted = rot.unit(source[:, r.source[b]] - source[:, r.source[a]])
        got = rot.unit(target[:, b] - target[:, a])
        assert np.degrees(np.arccos(np.clip(np.sum(wanted * got, -1), -1, 1))).max() < 3, JOINT_NAMES[a]
    assert np.degrees(np.linalg.norm(m.body[:, [J["left_knee"], J["right_knee"]]], axis=-1)).max() < 160
    assert 0.4 < m.pelvis[:, 1].max() - m.pelvis[:, 1].min() + 0.5 < 1.2
    head_up = rot.rotate(kinematics.global_rotations(m.quaternions)[:, J["head"]], (0, 1.0, 0))[:, 1]
    assert np.median(head_up) > 0.7


def test_walk_stands_on_the_floor_and_bends_knees_and_elbows_the_right_way(shared, rest):
    m = load_motion(shared / "bvh" / "walk_meredith.bvh")
    assert m.fps == 120 and m.leg_length == pytest.approx(kinematics.leg_length(rest))
    world = kinematics.global_rotations(m.quaternions)
    fitted = m.for_avatar(rest)
    roots = np.array([fitted.pose(i).transl for i in range(m.frames)]) + rest[0]
    turned = kinematics.global_rotations(fitted.motion.quaternions)
    feet = kinematics.lowest_foot(turned, rest, roots)
    assert -0.02 < feet.min() and np.percentile(feet, 95) < 0.06  # the floor of this capture is not level
    knees = m.body[:, [J["left_knee"], J["right_knee"]], 0]
    assert np.degrees(knees.min()) > -15 and np.degrees(knees.max()) > 40
    assert (m.body[:, J["left_elbow"], 1] < 0).mean() > 0.95 and (
        m.body[:, J["right_elbow"], 1] > 0
    ).mean() > 0.95
    assert rot.rotate(world[:, 0], (0, 1.0, 0))[:, 1].min() > 0.8


def test_mirrored_walk(shared, tools):
    bvh = read_bvh(shared / "bvh" / "walk_meredith.bvh")
    a, b = retarget(bvh), retarget(reordered(tools.mirrored(bvh, other_side_title)))
    assert tools.angle_between(tools.mirrored_body(a.body), b.body).max() < 0.1


def reordered(bvh):
    """Joints in an order in which parents come first."""
    order = [bvh.parents.index(-1)]
    for j in order:
        order.extend(bvh.children(j))
    place = {j: i for i, j in enumerate(order)}
    return dataclasses.replace(
        bvh,
        names=tuple(bvh.names[j] for j in order),
        parents=tuple(place.get(bvh.parents[j], -1) for j in order),
        offsets=bvh.offsets[order],
        rotations=bvh.rotations[:, order],
        positions=bvh.positions[:, order],
        ends={place[j]: e for j, e in bvh.ends.items()},
    )


def names_of(style):
    """Limb names as families spell them: (hip, knee, ankle, toe, collar, shoulder, elbow, wrist), left
    side."""
    return {
        "lafan": (
            "Hips",
            "{}UpLeg",
            "{}Leg",
            "{}Foot",
            "{}Toe",
            "{}Shoulder",
            "{}Arm",
            "{}ForeArm",
            "{}Hand",
        ),
        "mixamo": ("mixamorig:Hips",)
        + tuple(
            f"mixamorig:{{}}{n}"
            for n in ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")
        ),
        "daz": (
            "Hips",
            "{}Hip",
            "{}Knee",
            "{}Ankle",
            "{}Toe",
            "{}Collar",
            "{}Shoulder",
            "{}Elbow",
            "{}Wrist",
        ),
        "vrm": (
            "hips",
            "{}UpperLeg",
            "{}LowerLeg",
            "{}Foot",
            "{}Toes",
            "{}Shoulder",
            "{}UpperArm",
            "{}LowerArm",
            "{}Hand",
        ),
        "rokoko": (
            "hip",
            "{}UpLeg",
            "{}Leg",
            "{}Foot",
            "{}Toe",
            "{}Shoulder",
            "{}UpperArm",
            "{}LowerArm",
            "{}Hand",
        ),
    }[style]


@pytest.mark.parametrize("style", ["lafan", "mixamo", "daz", "vrm", "rokoko"])
def test_families_and_the_meaning_of_shoulder(ours, tools, style):
    bvh, body, _ = ours
    root, *limbs = names_of(style)
    names = dict.fromkeys(JOINT_NAMES) | {"pelvis": root, "head": "Head", "neck": "Neck"}
    for side, title in (("left", "Left"), ("right", "Right")):
        title = title.lower() if style in ("vrm", "rokoko") else title
        for joint, pattern in zip(
            ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist"), limbs, strict=True
        ):
            names[f"{side}_{joint}"] = pattern.format(title)
    spelled = dataclasses.replace(bvh, names=tuple(new or old for old, new in names.items()))
    assert tools.angle_between(retarget(spelled).body[:, :22], body[:, :22]).max() < 0.1


def test_unknown_skeletons_are_named():
    with pytest.raises(MotionError, match="of no known family .* root, tail"):
        recognise(("root", "tail"), (-1, 0), "cat.bvh")


def test_names_without_the_right_tree_do_not_fit(ours):
    bvh, _, _ = ours
    parents = list(bvh.parents)
    parents[J["left_knee"]] = J["pelvis"]
    with pytest.raises(MotionError, match="no known family"):
        recognise(bvh.names, parents)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"reference": "tpose"}, "reference"),
        ({"reference": 10**6}, "reference"),
        ({"roll": "x"}, "roll"),
        ({"hands": "x"}, "hands"),
        ({"rig_joints": np.zeros((3, 3))}, "rig_joints"),
    ],
)
def test_options_are_checked(ours, options, text):
    with pytest.raises(MotionError, match=text):
        retarget(ours[0], **options)


def test_legs_without_length_are_refused(ours):
    bvh = ours[0]
    offsets = bvh.offsets.copy()
    offsets[[J["left_knee"], J["right_knee"], J["left_ankle"], J["right_ankle"]]] = 0
    with pytest.raises(MotionError, match="legs have no length"):
        retarget(dataclasses.replace(bvh, offsets=offsets))
