"""One motion in many BVH files, made here: names x rest poses x upward axes. Directions must not change."""

import dataclasses
import itertools

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from dinar_live.runtime.motion import kinematics, load_motion
from dinar_live.runtime.motion.bvh import Bvh
from dinar_live.runtime.motion.bvh_retarget import retarget
from dinar_live.runtime.motion.families import recognise

J = JOINT_INDEX
BODY = range(22)
LIMB = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
BONES = [
    (J[f"{s}_{a}"], J[f"{s}_{b}"])
    for s in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]
LR, LEFT, SMALL = ("L", "R"), ("Left", "Right"), ("l", "r")
# trunk from the pelvis to the head; limbs, with {} for the side; how the sides are called
STYLES = {
    "bandai": (
        "Hips Spine Chest UpperChest Neck Head",
        "UpperLeg_{} LowerLeg_{} Foot_{} Toes_{} Shoulder_{} UpperArm_{} LowerArm_{} Hand_{}",
        LR,
    ),
    "rigify": (
        "DEF-spine DEF-spine.001 DEF-spine.002 DEF-spine.003 DEF-spine.004 DEF-spine.006",
        "DEF-thigh.{} DEF-shin.{} DEF-foot.{} DEF-toe.{} DEF-shoulder.{} DEF-upper_arm.{} DEF-forearm.{} DEF-hand.{}",
        LR,
    ),
    "unreal": (
        "pelvis spine_01 spine_02 spine_03 neck_01 head",
        "thigh_{} calf_{} foot_{} ball_{} clavicle_{} upperarm_{} lowerarm_{} hand_{}",
        SMALL,
    ),
    "makehuman": (
        "root spine05 spine03 spine01 neck01 head",
        "upperleg01.{} lowerleg01.{} foot.{} toe1-1.{} clavicle.{} upperarm01.{} lowerarm01.{} wrist.{}",
        LR,
    ),
    "poser": (
        "hip abdomen waist chest neck head",
        "{}Thigh {}Shin {}Foot {}Toe {}Collar {}Shldr {}ForeArm {}Hand",
        SMALL,
    ),
    "daz": (
        "hip abdomenLower chestLower chestUpper neckLower head",
        "{}ThighBend {}Shin {}Foot {}Toe {}Collar {}ShldrBend {}ForearmBend {}Hand",
        SMALL,
    ),
    "biovision": (
        "Hips Chest Chest2 Chest3 Neck Head",
        "{}UpLeg {}LowLeg {}Foot {}Toe {}Collar {}UpArm {}LowArm {}Hand",
        LEFT,
    ),
    "newton": (
        "Hips Spine1 Spine2 Spine4 Neck Head",
        "{}Thigh {}Shin {}Foot {}Toe {}Shoulder {}Arm {}ForeArm {}Hand",
        LEFT,
    ),
    "xsens": (
        "Pelvis L5 T12 T8 Neck Head",
        "{}UpperLeg {}LowerLeg {}Foot {}Toe {}Shoulder {}UpperArm {}ForeArm {}Hand",
        LEFT,
    ),
    "optitrack": (
        "Skeleton_001_Hip Skeleton_001_Ab Skeleton_001_Ab2 Skeleton_001_Chest Skeleton_001_Neck Skeleton_001_Head",
        " ".join(f"Skeleton_001_{{}}{n}" for n in "Thigh Shin Foot Toe Shoulder UArm FArm Hand".split()),
        LR,
    ),
    "vroid": (
        "J_Bip_C_Hips J_Bip_C_Spine J_Bip_C_Chest J_Bip_C_UpperChest J_Bip_C_Neck J_Bip_C_Head",
        " ".join(
            f"J_Bip_{{}}_{n}"
            for n in "UpperLeg LowerLeg Foot ToeBase Shoulder UpperArm LowerArm Hand".split()
        ),
        LR,
    ),
    "humanik": (
        " ".join(f"Character12_{n}" for n in "Hips Spine Spine1 Spine2 Neck Head".split()),
        " ".join(f"Character12_{{}}{n}" for n in "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand".split()),
        LEFT,
    ),
    "bare": (
        " ".join(f"mixamorig{n}" for n in "hips spine spine1 spine2 neck head".split()),
        " ".join(f"mixamorig{{}}{n}" for n in "upleg leg foot toebase shoulder arm forearm hand".split()),
        ("left", "right"),
    ),
    "biped": (
        "Bip01 Bip01_Spine Bip01_Spine1 Bip01_Spine2 Bip01_Neck Bip01_Head",
        " ".join(f"Bip01_{{}}_{n}" for n in "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand".split()),
        LR,
    ),
    "asf": (
        "root lowerback upperback thorax lowerneck head",
        "{}femur {}tibia {}foot {}toes {}clavicle {}humerus {}radius {}wrist",
        SMALL,
    ),
    "kinect": (
        "SpineBase SpineMid SpineMid2 SpineShoulder Neck Head",
        "Hip{0} Knee{0} Ankle{0} Foot{0} Collar{0} Shoulder{0} Elbow{0} Wrist{0}",
        LEFT,
    ),
    "maya": (
        "Root_M Spine1_M Spine2_M Chest_M Neck_M Head_M",
        "Hip_{} Knee_{} Ankle_{} Toes_{} Scapula_{} Shoulder_{} Elbow_{} Wrist_{}",
        LR,
    ),
    "second life": (
        "mPelvis mTorso mSpine3 mChest mNeck mHead",
        "mHip{} mKnee{} mAnkle{} mToe{} mCollar{} mShoulder{} mElbow{} mWrist{}",
        LEFT,
    ),
    "suffix": (
        "hips_jnt spine_jnt spine2_jnt chest_jnt neck_jnt head_jnt",
        "thigh_{}_jnt calf_{}_jnt foot_{}_jnt toe_{}_jnt clav_{}_jnt uparm_{}_jnt loarm_{}_jnt hand_{}_jnt",
        ("lt", "rt"),
    ),
    "auto-rig": (
        "c_root_master.x spine_01.x spine_02.x spine_03.x neck.x head.x",
        "thigh_stretch.{} leg_stretch.{} foot.{} toes_01.{} shoulder.{} arm_stretch.{} forearm_stretch.{} hand.{}",
        SMALL,
    ),
    "dashes": (
        "hips spine-1 spine-2 chest neck head",
        "upper-leg-{} lower-leg-{} foot-{} toes-{} shoulder-{} upper-arm-{} lower-arm-{} hand-{}",
        ("left", "right"),
    ),
    "words": (
        "Hips Spine Spine1 Spine2 Neck Head",
        "{}_thigh {}_shin {}_foot {}_toe {}_shoulder {}_arm {}_elbow {}_wrist",
        ("L", "R"),
    ),
}


def names_of(style):
    """SMPL-X's 22 body joints as a style calls them, in SMPL-X's order."""
    trunk, limbs, sides = STYLES[style]
    out = dict(zip(("pelvis", "spine1", "spine2", "spine3", "neck", "head"), trunk.split(), strict=True))
    for side, called in zip(("left", "right"), sides, strict=True):
        out |= {
            f"{side}_{joint}": name.format(called) for joint, name in zip(LIMB, limbs.split(), strict=True)
        }
    return tuple(out[JOINT_NAMES[j]] for j in BODY)


@pytest.fixture(scope="module")
def clip(demo, rest, tools):
    """Some of the demonstration on the 22 joints of the body, walking half a metre along z."""
    body = demo.body[::12].astype(float)
    walk = demo.pelvis[::12] + np.linspace((0, 0, 0), (0, 0, 0.5), len(body))
    whole = tools.skeleton_bvh(body, walk, rest)
    keep = list(BODY)
    ends = {j: e for j, e in whole.ends.items() if j < 22} | {
        J[f"{s}_wrist"]: whole.offsets[J[f"{s}_middle1"]] for s in ("left", "right")
    }
    return Bvh(
        names_of("bandai"),
        tuple(PARENTS[:22]),
        whole.offsets[keep],
        ends,
        whole.rotations[:, keep],
        whole.positions[:, keep],
        30.0,
    )


def rebased(bvh, turns):
    """The same motion on joints whose frames are turned by `turns` [J,4]."""
    local = kinematics.local_rotations(
        rot.multiply(bvh.global_rotations(), rot.conjugate(turns)), bvh.parents
    )
    offsets, positions = bvh.offsets.copy(), bvh.positions.copy()
    for j, p in enumerate(bvh.parents):
        if p >= 0:
            offsets[j] = rot.rotate(turns[p], offsets[j])
            positions[:, j] = rot.rotate(turns[p], positions[:, j])
    ends = {j: rot.rotate(turns[j], e) for j, e in bvh.ends.items()}
    return dataclasses.replace(bvh, rotations=local, offsets=offsets, positions=positions, ends=ends)


def moved_hips(bvh, by):
    """The hip joints elsewhere under the root, both by the same way [3]."""
    offsets, positions = bvh.offsets.copy(), bvh.positions.copy()
    for joint in ("left_hip", "right_hip"):
        offsets[J[joint]] += by
        positions[:, J[joint]] += by
    return dataclasses.replace(bvh, offsets=offsets, positions=positions)


def bones_along(bvh, axis):
    """Every bone along one axis of its joint's frame, the pelvis with its upward axis, as riggers have it."""
    up = np.array((0.0, 1.0, 0.0))
    tips = [next((c for c, p in enumerate(bvh.parents) if p == j), None) for j in range(22)]
    tips[J["spine3"]] = J["neck"]
    turns = np.tile((1.0, 0, 0, 0), (22, 1))
    for j, tip in enumerate(tips):
        bone = bvh.offsets[tip] if tip is not None else bvh.ends.get(j, up)
        bone = up if j in (0, J["spine1"], J["spine2"], J["spine3"], J["neck"], J["head"]) else bone
        turns[j] = rot.between(bone, axis)
    return rebased(bvh, turns)


def arms(bvh, degrees):
    """A rest pose with lowered arms."""
    local = np.tile((1.0, 0, 0, 0), (1, 22, 1))
    for side, sign in (("left", -1), ("right", 1)):
        local[0, J[f"{side}_shoulder"]] = rot.axis_angle_to_quaternion((0, 0, sign * np.radians(degrees)))
    return rebased(bvh, kinematics.global_rotations(local, bvh.parents)[0])


def turned_world(bvh, axis_angle):
    """Rest pose and clip in another world."""
    q = rot.axis_angle_to_quaternion(axis_angle)
    return dataclasses.replace(
        bvh,
        offsets=rot.rotate(q, bvh.offsets),
        positions=rot.rotate(q, bvh.positions),
        ends={j: rot.rotate(q, e) for j, e in bvh.ends.items()},
        rotations=rot.multiply(rot.multiply(q, bvh.rotations), rot.conjugate(q)),
    )


def turned_root(bvh, axis_angle):
    """Only the clip in another world: the root turns it."""
    q = rot.axis_angle_to_quaternion(axis_angle)
    rotations, positions = bvh.rotations.copy(), bvh.positions.copy()
    rotations[:, 0] = rot.multiply(q, rotations[:, 0])
    positions[:, 0] = rot.rotate(q, positions[:, 0])
    return dataclasses.replace(bvh, rotations=rotations, positions=positions)


def twisted(bvh, seed=0):
    """What fitting rotations to positions leaves behind: a root that turns anyhow, joints without offset that
    turn back below it."""
    extra = ("Spine", "LHipJoint", "RHipJoint")
    first = (J["spine1"], J["left_hip"], J["right_hip"])
    at = {j: 22 + i for i, j in enumerate(first)}
    parents = [at.get(j, p) for j, p in enumerate(bvh.parents)] + [0, 0, 0]
    order = [0, *at.values(), *range(1, 22)]
    place = {j: i for i, j in enumerate(order)}
    n = bvh.frames
    anyhow = rot.axis_angle_to_quaternion(np.random.default_rng(seed).normal(0, 1.5, (n, 3)))
    rotations = np.concatenate([bvh.rotations, np.tile((1.0, 0, 0, 0), (n, 3, 1))], axis=1)
    rotations[:, 22:] = rot.conjugate(anyhow)[:, None]
    rotations[:, 0] = rot.multiply(rotations[:, 0], anyhow)
    return Bvh(
        tuple((*bvh.names, *extra)[j] for j in order),
        tuple(place[parents[j]] if parents[j] >= 0 else -1 for j in order),
        np.concatenate([bvh.offsets, np.zeros((3, 3))])[order],
        {place[j]: e for j, e in bvh.ends.items()},
        rotations[:, order],
        np.concatenate([bvh.positions, np.zeros((n, 3, 3))], axis=1)[:, order],
        bvh.fps,
    )


RESTS = {
    "T-pose": lambda b: b,
    "arms down": lambda b: arms(b, 70),
    "bones along x": lambda b: bones_along(b, (1.0, 0, 0)),
    "bones along y": lambda b: bones_along(b, (0, 1.0, 0)),
    "bones along x, hips level": lambda b: bones_along(moved_hips(b, (0, 8.0, 0)), (1.0, 0, 0)),
    "bones along x, hips below": lambda b: bones_along(moved_hips(b, (0, -6.0, 0)), (1.0, 0, 0)),
    "bones along x, hips forward": lambda b: bones_along(moved_hips(b, (0, 9.0, 5.0)), (1.0, 0, 0)),
    "bones along -z, hips back": lambda b: bones_along(moved_hips(b, (0, 4.0, -5.0)), (0, 0, -1.0)),
}
WORLDS = {
    "y": lambda b: b,
    "z": lambda b: turned_world(b, (np.pi / 2, 0, 0)),
    "-y": lambda b: turned_world(b, (np.pi, 0, 0)),
    "z by the root": lambda b: turned_root(b, (np.pi / 2, 0, 0)),
}


def check(motion, truth, rest, facing=True):
    """Pelvis, hip line, trunk, arms and legs within 3 degrees of the clip `truth`, in its own world with y
    up. facing=False: but for how the world is turned about y."""
    world, at = truth.global_rotations(), truth.joint_positions()
    ours = kinematics.global_rotations(motion.quaternions)
    found = kinematics.joint_positions(ours, rest, motion.pelvis)
    axes = np.eye(3)
    wanted = [rot.rotate(world[:, 0], a) for a in axes] + [at[:, b] - at[:, a] for a, b in BONES]
    got = [rot.rotate(ours[:, 0], a) for a in axes] + [found[:, b] - found[:, a] for a, b in BONES]
    wanted.append(at[:, J["left_hip"]] - at[:, J["right_hip"]])
    got.append(found[:, J["left_hip"]] - found[:, J["right_hip"]])
    wanted, got = rot.unit(np.stack(wanted, 1)), rot.unit(np.stack(got, 1))
    if not facing:
        quarter = [rot.axis_angle_to_quaternion((0, k * np.pi / 2, 0)) for k in range(4)]
        got = max((rot.rotate(q, got) for q in quarter), key=lambda g: np.sum(g * wanted))
    angles = np.degrees(np.arccos(np.clip(np.sum(wanted * got, -1), -1, 1)))
    assert angles.max() < 3, angles.max(axis=0).round(1)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("pose", RESTS)
def test_rest_poses_and_upward_axes(clip, rest, pose, world):
    base = RESTS[pose](clip)
    motion = retarget(WORLDS[world](base))
    check(motion, clip, rest, facing=False)
    assert motion.pelvis[:, 1].std() < 0.2 and np.ptp(motion.pelvis[:, 1]) < 0.4


@pytest.mark.parametrize("style", STYLES)
def test_names(clip, rest, tools, tmp_path, style):
    spelled = dataclasses.replace(clip, names=names_of(style))
    (tmp_path / "a.bvh").write_text(tools.bvh_text(spelled))
    motion = load_motion(tmp_path / "a.bvh")
    check(motion, clip, rest)
    found = recognise(spelled.names, spelled.parents).source
    assert {j: found.get(j) for j in BODY} == {j: j for j in BODY}


@pytest.mark.parametrize("style", ["unreal", "poser", "vroid", "biped"])
@pytest.mark.parametrize("pose", ["arms down", "bones along x, hips forward"])
def test_names_and_rest_poses_together(clip, rest, style, pose):
    base = dataclasses.replace(RESTS[pose](clip), names=names_of(style))
    check(retarget(WORLDS["z"](base)), clip, rest, facing=False)


@pytest.mark.parametrize("pose", ["T-pose", "arms down", "bones along x, hips below"])
def test_a_root_that_rotations_were_fitted_to(clip, rest, pose):
    base = RESTS[pose](clip)
    motion = retarget(twisted(base))
    check(motion, clip, rest, facing=False)
    assert any("against the hip joints" in note for note in motion.notes)
    assert not any("against the hip joints" in note for note in retarget(base).notes)


@pytest.mark.parametrize("pose", ["T-pose", "arms down"])
def test_a_clip_that_its_root_turns_head_down_stands(clip, rest, pose):
    """A camera's frame, y down, by the root only; not one whose feet are up in the air for good."""
    motion = retarget(turned_root(RESTS[pose](clip), (np.pi, 0, 0)))
    check(motion, clip, rest, facing=False)
    assert any("the clip stands along -y" in note for note in motion.notes)
    handstand = turned_root(RESTS[pose](clip), (np.pi, 0, 0))
    handstand.positions[:, 0, 1] += 200.0
    motion = retarget(handstand)
    up = rot.rotate(kinematics.global_rotations(motion.quaternions)[:, 0], (0, 1.0, 0))
    assert up[:, 1].max() < -0.9 and any("head down all the time" in note for note in motion.notes)


def test_a_lying_figure_lies(clip, rest):
    """Y up, on its back near the floor, straight: no reason to stand it up. --up says otherwise."""
    still = dataclasses.replace(clip, rotations=clip.rotations.copy(), positions=clip.positions.copy())
    still.rotations[:, 1:] = (1.0, 0, 0, 0)
    still.rotations[:, 0] = rot.axis_angle_to_quaternion((-np.pi / 2, 0, 0))
    still.positions[:, 0] = (30.0, 12.0, 150.0)
    for b in (still, RESTS["arms down"](still)):
        motion = retarget(b)
        up = rot.rotate(kinematics.global_rotations(motion.quaternions)[:, 0], (0, 1.0, 0))
        assert np.abs(up[:, 1]).max() < 0.1 and any("--up" in note for note in motion.notes)


@pytest.mark.parametrize("up, axis_angle", [("z", (np.pi / 2, 0, 0)), ("-y", (np.pi, 0, 0))])
def test_up_is_obeyed(clip, rest, up, axis_angle):
    for base in (clip, RESTS["bones along x"](clip)):
        check(retarget(turned_root(base, axis_angle), up=up), clip, rest, facing=False)
    with pytest.raises(MotionError, match="up: got 'x'"):
        retarget(clip, up="x")


@pytest.mark.parametrize(
    "change, text",
    [
        ({"Foot_L": "Leg_L"}, "left hip, knee, ankle"),
        ({"Hand_R": "Thing_R"}, "right shoulder, elbow, wrist"),
        ({"UpperLeg_L": "Hip_L"}, "called differently"),
        ({"UpperLeg_L": "LegA_L"}, "left hip"),
        ({"UpperLeg_L": "Left_UpperLeg_R"}, "left hip"),
    ],
)
def test_what_is_not_clear_is_refused(clip, change, text):
    names = [change.get(n, n) for n in names_of("bandai")]
    with pytest.raises(MotionError, match=f"no known family.*{text}.*--show-map.*--map"):
        recognise(names, clip.parents, "a.bvh")


def test_two_joints_of_one_name_are_refused_and_side_branches_are_not(clip):
    names, parents = list(names_of("bandai")), list(clip.parents)
    with pytest.raises(MotionError, match="left knee may be"):  # a second knee in the chain
        twin = [*names, "LowerLeg_L#2"]
        recognise(twin, [*(22 if j == J["left_ankle"] else p for j, p in enumerate(parents)), J["left_knee"]])
    beside = [*names, "UpperLeg_Twist_L", "Toes_End_L", "Knee_L", "UpperLeg_L2"]
    source = recognise(beside, [*parents, J["left_hip"], J["left_foot"], J["left_hip"], J["left_hip"]]).source
    assert {j: source.get(j) for j in BODY} == {j: j for j in BODY}


def test_helpers_between_the_joints(clip):
    """Twist joints and a root on the floor in the chain change nothing."""
    names = list(names_of("unreal"))
    parents = [-1, *(p + 1 for p in clip.parents)]
    names = ["root", *names, "upperarm_twist_01_l", "lowerarm_twist_01_r"]
    parents[1] = 0
    parents += [1 + J["left_shoulder"], 1 + J["right_elbow"]]
    source = recognise(names, parents).source
    assert {j: source.get(j) for j in BODY} == {j: j + 1 for j in BODY}


@pytest.mark.parametrize("style", ["vroid", "biped", "humanik", "optitrack"])
def test_names_among_hair_and_clothes(clip, style):
    """Joints of other kinds, so many that the limbs' prefix is no longer everybody's."""
    names = [*names_of(style), *(f"J_Sec_Hair{i}_{k}" for i in range(12) for k in range(3))]
    parents = [*clip.parents, *[J["head"]] * 36]
    source = recognise(names, parents).source
    assert {j: source.get(j) for j in BODY} == {j: j for j in BODY}


@pytest.mark.parametrize(
    "pattern",
    [
        "{finger}_0{i}_{s}",
        "f_{finger}.0{i}.{S}",
        "{s}{Finger}{i}",
        "{Side}Hand{Finger}{i}",
        "{S}_{Finger}_{phalanx}",
    ],
)
def test_fingers(clip, pattern):
    names, parents = list(names_of("bandai")), list(clip.parents)
    expected = {}
    for side, finger in itertools.product(("left", "right"), ("index", "middle", "pinky", "ring", "thumb")):
        at = J[f"{side}_wrist"]
        for i in (1, 2, 3):
            words = {"finger": finger, "Finger": finger.title(), "i": i, "s": side[0], "S": side[0].upper()}
            phalanx = ("Proximal", "Intermediate", "Distal")[i - 1]
            names.append(pattern.format(**words, Side=side.title(), phalanx=phalanx))
            parents.append(at)
            at = len(names) - 1
            expected[J[f"{side}_{finger}{i}"]] = at
    source = recognise(names, parents).source
    assert {j: source.get(j) for j in expected} == expected
