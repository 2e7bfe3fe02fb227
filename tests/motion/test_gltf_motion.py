"""glTF, VRMA and Mixamo's glTF, written here from our own motion and read back."""

import base64
import json

import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX, JOINT_NAMES
from dinar_live.runtime.motion import kinematics, load_motion
from dinar_live.runtime.motion.face_names import arkit_name
from dinar_live.runtime.motion.gltf_motion import load_gltf

EYES = [JOINT_INDEX["left_eye"], JOINT_INDEX["right_eye"]]
HELD = [j for j in range(55) if j not in EYES]


@pytest.fixture(scope="module")
def clip(demo):
    """Eighty frames with hands, walk and turn, and a pelvis that travels."""
    body, pelvis = demo.body[380:460].astype(float), demo.pelvis[380:460].astype(float)
    body[:, EYES] = 0
    pelvis = pelvis + np.stack([np.linspace(0, 0.4, 80), np.zeros(80), np.linspace(0, 1.1, 80)], -1)
    return body, pelvis


def mixamo():
    """SMPL-X joint -> Mixamo's name without its prefix."""
    out = {
        "pelvis": "Hips",
        "spine1": "Spine",
        "spine2": "Spine1",
        "spine3": "Spine2",
        "neck": "Neck",
        "head": "Head",
    }
    for side in ("left", "right"):
        pairs = {"hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder"}
        pairs |= {"shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand"}
        pairs |= {
            f"{f}{i}": f"Hand{f.title()}{i}"
            for f in ("index", "middle", "ring", "pinky", "thumb")
            for i in (1, 2, 3)
        }
        out |= {f"{side}_{k}": side.title() + v for k, v in pairs.items()}
    return out


def vrma(tools, clip, rest, **more):
    writer = tools.gltf()
    writer.node("Armature")
    nodes = writer.figure(*clip, rest, tools.vrm_bones, **more)
    return writer, nodes, writer.humanoid(nodes)


def check(m, clip, tools, joints=HELD, degrees=0.1):
    body, pelvis = clip
    assert m.frames == len(body)
    assert tools.angle_between(m.body[:, joints], body[:, joints]).max() < degrees
    np.testing.assert_allclose(m.pelvis, pelvis, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("turned", [False, True])
def test_vrma_round_trip(clip, rest, tools, tmp_path, scale, turned):
    """Also with nodes that are turned at rest, which VRM 1 allows, and in another unit."""
    r = np.random.default_rng(2)
    turns = {j: rot.axis_angle_to_quaternion(r.normal(0, 1, 3)) for j in range(55)} if turned else None
    writer, _, _ = vrma(tools, clip, rest, scale=scale, turns=turns)
    m = load_motion(writer.glb(tmp_path / "a.vrma"))
    check(m, clip, tools)
    assert m.fps == 30 and m.name == "a"


@pytest.mark.parametrize(
    "lacking", [("spine3", "neck", "jaw", "left_foot", "right_foot", "left_collar", "right_collar")]
)
def test_vrma_without_the_optional_bones(clip, rest, tools, tmp_path, lacking):
    body, pelvis = clip
    names = {k: v for k, v in tools.vrm_bones.items() if k not in lacking and v[-6:] not in ("Distal",)}
    writer = tools.gltf()
    writer.node("root")
    nodes = writer.figure(body, pelvis, rest, names)
    writer.humanoid(nodes)
    m = load_motion(writer.glb(tmp_path / "a.vrma"))
    ours, wanted = (
        kinematics.global_rotations(rot.axis_angle_to_quaternion(b.astype(float))) for b in (m.body, body)
    )
    for name in ("pelvis", "head", "left_hip", "left_ankle", "left_elbow", "right_wrist"):
        j = JOINT_INDEX[name]
        off = 2 * np.arccos(np.clip(np.abs(np.einsum("ni,ni->n", ours[:, j], wanted[:, j])), 0, 1))
        assert np.degrees(off).max() < 0.2, name


@pytest.mark.parametrize("prefix", ["mixamorig:", "mixamorig", "mixamorig1:", ""])
@pytest.mark.parametrize("armature", [False, True])
def test_mixamo(clip, rest, tools, tmp_path, prefix, armature):
    """armature: as Blender writes it: a node that scales centimetres down and turns z up to y up."""
    writer = tools.gltf()
    if armature:
        writer.node("Armature", scale=[0.01] * 3, rotation=[-(0.5**0.5), 0, 0, 0.5**0.5])
    else:
        writer.node("Armature")
    names = {k: prefix + v for k, v in mixamo().items()}
    body, pelvis = clip
    turn = rot.axis_angle_to_quaternion((np.pi / 2, 0, 0))
    if armature:  # the same figure, seen from within
        seen = body.copy()
        seen[:, 0] = rot.quaternion_to_axis_angle(
            rot.multiply(turn, rot.axis_angle_to_quaternion(body[:, 0]))
        )
        nodes = writer.figure(seen, rot.rotate(turn, pelvis), rest, names, scale=100.0)
        hips = writer.json["nodes"][nodes[0]]
        hips["rotation"] = turn[[1, 2, 3, 0]].tolist()
    else:
        writer.figure(body, pelvis, rest, names)
    m = load_motion(writer.glb(tmp_path / "a.glb"))
    joints = [j for j in HELD if JOINT_NAMES[j] != "jaw"]
    check(m, clip, tools, joints)


def test_a_rest_pose_that_lies_is_replaced_by_the_skins_bind_pose(clip, rest, tools, tmp_path):
    """As exporters do that leave the first frame of a clip in the nodes."""
    body, pelvis = clip
    writer = tools.gltf()
    writer.node("Armature")
    nodes = writer.figure(body, pelvis, rest, mixamo())
    inverse = np.tile(np.eye(4), (len(nodes), 1, 1))
    for k, j in enumerate(nodes):
        inverse[k, :3, 3] = -rest[j] * 100  # centimetres, against metres in the nodes
    columns = inverse.transpose(0, 2, 1).reshape(-1, 16)
    writer.json["skins"] = [
        {"joints": list(nodes.values()), "inverseBindMatrices": writer.accessor(columns, "MAT4")}
    ]
    crouch = {"hip": (-1.5, 0, 0.2), "knee": (1.9, 0, 0), "shoulder": (0, 0.9, 0.4)}
    for name, turn in crouch.items():
        for side in ("left", "right"):
            node = writer.json["nodes"][nodes[JOINT_INDEX[f"{side}_{name}"]]]
            node["rotation"] = rot.axis_angle_to_quaternion(turn)[[1, 2, 3, 0]].tolist()
    m = load_motion(writer.glb(tmp_path / "a.glb"))
    joints = [j for j in HELD if JOINT_NAMES[j] != "jaw"]
    check(m, clip, tools, joints)


def test_several_animations(clip, rest, tools, tmp_path):
    writer, nodes, _ = vrma(tools, clip, rest)
    writer.json["animations"][0]["name"] = "walk"
    writer.json["animations"].append({"name": "still", "channels": [], "samplers": []})
    one = writer.accessor([[0, 0, 0, 1]] * 2, "VEC4")
    writer.channel(nodes[0], "rotation", [0.0, 1.0], one, animation=1)
    path = writer.glb(tmp_path / "a.glb")
    assert any("'walk' of 2: walk, still" in n for n in load_gltf(path).notes)
    for take in ("still", 1, "1"):
        m = load_gltf(path, take=take)
        assert m.frames == 31 and np.abs(m.body[:, :22]).max() < 1e-3  # the T-pose, and none of it left out
    with pytest.raises(MotionError, match="take: got 'run', expected 0 to 1, or one of walk, still"):
        load_gltf(path, take="run")


def test_interpolation(rest, tools, tmp_path):
    """Turns about y of the root, by keys a second apart, against the formulas of glTF."""
    angles, keys = np.array([0.0, 1.2, 0.6]), [0.0, 1.0, 2.0]
    q = rot.axis_angle_to_quaternion(np.stack([0 * angles, angles, 0 * angles], -1))[:, [1, 2, 3, 0]]
    zero = np.zeros((1, 55, 3))
    for step in ("LINEAR", "STEP", "CUBICSPLINE"):
        writer = tools.gltf()
        writer.node("root")
        nodes = writer.figure(zero, rest[:1], rest, tools.vrm_bones)
        writer.humanoid(nodes)
        animation = writer.json["animations"][0]
        animation["channels"] = [c for c in animation["channels"] if c["target"]["node"] != nodes[0]]
        values = np.concatenate([[0 * v, v, 0 * v] for v in q]) if step == "CUBICSPLINE" else q
        writer.channel(nodes[0], "rotation", keys, writer.accessor(values, "VEC4"), step)
        m = load_gltf(writer.glb(tmp_path / "a.vrma"), fps=10)
        t = np.arange(21) / 10
        i = np.minimum(t.astype(int), 1)
        w = t - i
        if step == "STEP":
            wanted = angles[np.minimum(t.astype(int), 2)]
        elif step == "LINEAR":
            wanted = (1 - w) * angles[i] + w * angles[i + 1]
        else:
            blend = 3 * w**2 - 2 * w**3
            mixed = (1 - blend)[:, None] * q[i] + blend[:, None] * q[i + 1]
            wanted = 2 * np.arctan2(mixed[:, 1], mixed[:, 3])
        np.testing.assert_allclose(m.body[:, 0, 1], wanted, atol=1e-4)
        assert np.abs(m.body[:, 0, [0, 2]]).max() < 1e-4
    sparse = load_gltf(tmp_path / "a.vrma")
    assert sparse.fps == 30 and any("sparse keys" in n for n in sparse.notes)


def test_rotations_as_whole_numbers(clip, rest, tools, tmp_path):
    body, pelvis = clip
    writer, nodes, _ = vrma(tools, clip, rest)
    animation = writer.json["animations"][0]
    for channel in animation["channels"]:
        if channel["target"]["path"] == "rotation":
            j = next(j for j, n in nodes.items() if n == channel["target"]["node"])
            q = rot.axis_angle_to_quaternion(body[:, j])[:, [1, 2, 3, 0]]
            animation["samplers"][channel["sampler"]]["output"] = writer.accessor(
                q, "VEC4", "<i2", normalized=True
            )
    check(load_motion(writer.glb(tmp_path / "a.vrma")), clip, tools, degrees=0.2)


def test_expressions(clip, rest, tools, tmp_path):
    writer, _, extension = vrma(tools, clip, rest)
    n = len(clip[0])
    wave = np.sin(np.linspace(0, 6, n)) * 1.5
    extension["expressions"] = {"preset": {}, "custom": {}}
    for kind, name in (("preset", "blinkLeft"), ("preset", "aa"), ("custom", "CheekPuff")):
        node = writer.node(name, 0)
        places = np.stack([wave, np.full(n, 9.0), np.full(n, 9.0)], -1)
        writer.channel(node, "translation", np.arange(n) / 30, writer.accessor(places, "VEC3"))
        extension["expressions"][kind][name] = {"node": node}
    extension["lookAt"] = {"node": writer.node("look", 0)}
    writer.json["meshes"] = [{"primitives": [], "extras": {"targetNames": ["jawOpen", "mouthSmile_L"]}}]
    face = writer.node("face", 0, mesh=0)
    weights = np.stack([wave, 1 - wave], -1)
    writer.channel(face, "weights", np.arange(n) / 30, writer.accessor(weights.reshape(-1), "SCALAR"))
    m = load_motion(writer.glb(tmp_path / "a.vrma"))
    check(m, clip, tools)
    values = dict(zip(m.expression_names, m.expression.T, strict=True))
    cut = np.clip(wave, 0, 1)
    for name, wanted in (
        ("eyeBlinkLeft", cut),
        ("mouthOpen", 0.8 * cut),
        ("cheekPuff", cut),
        ("jawOpen", cut),
        ("mouthSmileLeft", np.clip(1 - wave, 0, 1)),
    ):
        np.testing.assert_allclose(values[name], wanted, atol=1e-5)
    assert any("lookAt" in n for n in m.notes)


def test_a_vrm_is_y_up_and_other_files_may_be_turned(clip, rest, tools, tmp_path):
    writer, _, _ = vrma(tools, clip, rest)
    with pytest.raises(MotionError, match="up: got 'z', a VRM is y up"):
        load_motion(writer.glb(tmp_path / "a.vrma"), up="z")
    body, pelvis = clip
    turn = rot.axis_angle_to_quaternion((np.pi / 2, 0, 0))
    body = body.copy()
    body[:, 0] = rot.quaternion_to_axis_angle(rot.multiply(turn, rot.axis_angle_to_quaternion(body[:, 0])))
    writer = tools.gltf()
    writer.node("root")
    writer.figure(body, rot.rotate(turn, pelvis), rest, mixamo())
    m = load_motion(writer.glb(tmp_path / "a.glb"), up="z")
    check(m, clip, tools, [j for j in HELD if JOINT_NAMES[j] != "jaw"])


def test_the_command_line(clip, rest, tools, tmp_path, capsys):
    writer, nodes, _ = vrma(tools, (clip[0][:10], clip[1][:10]), rest)
    writer.json["animations"].append({"name": "other", "channels": [], "samplers": []})
    writer.channel(nodes[0], "rotation", [0.0, 1.0], writer.accessor([[0, 0, 0, 1]] * 2, "VEC4"), animation=1)
    path, out = writer.glb(tmp_path / "a.vrma"), tmp_path / "out.npz"
    assert main(["convert", str(path), str(out)]) == 0
    assert load_motion(out).frames == 10
    assert main(["convert", str(path), str(out), "--take", "other", "--source-fps", "12"]) == 0
    assert load_motion(out).frames == 13 and load_motion(out).fps == 12
    assert main(["convert", str(path), str(out), "--map", "m.toml"]) != 0
    assert "--map: means nothing for" in capsys.readouterr().err


def test_names_of_expressions():
    assert [arkit_name(n) for n in ("BrowDownLeft", "eyeBlink_L", "head.jawOpen", "mouthSmile.R", "x")] == [
        "browDownLeft",
        "eyeBlinkLeft",
        "jawOpen",
        "mouthSmileRight",
        "x",
    ]


def test_a_gltf_with_its_buffer_beside_it_and_inside(clip, rest, tools, tmp_path):
    writer, _, _ = vrma(tools, clip, rest)
    (tmp_path / "the data").mkdir()
    (tmp_path / "the data" / "a.bin").write_bytes(writer.blob)
    for uri in (
        "the%20data/a.bin",
        "data:application/octet-stream;base64," + base64.b64encode(writer.blob).decode(),
    ):
        writer.json["buffers"] = [{"byteLength": len(writer.blob), "uri": uri}]
        (tmp_path / "a.gltf").write_text(json.dumps(writer.json))
        check(load_motion(tmp_path / "a.gltf"), clip, tools)


def test_vrm_0_and_1_models_that_carry_an_animation(clip, rest, tools, tmp_path):
    for extension in ("VRMC_vrm", "VRM"):
        writer = tools.gltf()
        writer.node("root")
        nodes = writer.figure(*clip, rest, tools.vrm_bones)
        found = writer.humanoid(nodes, extension=extension)
        if extension == "VRM":
            humanoid, old = (
                found["humanoid"],
                {"Metacarpal": "Proximal", "ThumbProximal": "ThumbIntermediate"},
            )
            bones = []
            for bone, spec in humanoid["humanBones"].items():
                new = next(
                    (bone.replace(a, b) for a, b in old.items() if "Thumb" in bone and a in bone), bone
                )
                bones.append({"bone": new, **spec})
            humanoid["humanBones"] = bones
        check(load_motion(writer.glb(tmp_path / "a.vrm")), clip, tools)


def test_what_a_file_lacks_is_named(clip, rest, tools, tmp_path):
    path = tmp_path / "a.glb"

    def error(change, text):
        writer, nodes, extension = vrma(tools, (clip[0][:3], clip[1][:3]), rest)
        change(writer, nodes, extension)
        writer.glb(path)
        with pytest.raises(MotionError, match=text) as e:
            load_motion(path)
        assert str(path) in str(e.value)

    bones = lambda e: e["humanoid"]["humanBones"]  # noqa: E731
    error(lambda w, n, e: bones(e).pop("leftUpperLeg"), "humanBones: leftUpperLeg missing")
    error(lambda w, n, e: bones(e).update(hips={"node": 9999}), "humanBones.hips.node: got 9999")
    error(lambda w, n, e: bones(e).update(spine=bones(e)["hips"]), "two bones are the same node")
    error(lambda w, n, e: w.json.pop("animations"), "no animation in it")
    error(lambda w, n, e: w.json["animations"][0].update(channels=[]), "turns no node")

    def nameless(writer, nodes, extension):
        writer.json.pop("extensions")
        for node in writer.json["nodes"]:
            del node["name"]

    error(nameless, "no known family.*node1")
    with pytest.raises(MotionError, match="up: got 'x', expected auto, y, z, -y"):
        load_motion(path, up="x")
    with pytest.raises(MotionError, match="no such file"):
        load_motion(tmp_path / "none.glb")


def test_damaged_files_fail_as_they_should(clip, rest, tools, tmp_path):
    """Six hundred damaged VRMA: read, or refused by name; never another error."""
    writer, _, _ = vrma(tools, (clip[0][:2], clip[1][:2]), rest)
    path = tmp_path / "a.vrma"
    good = writer.glb(path).read_bytes()
    r = np.random.default_rng(4)
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(good)
        for at in r.integers(0, len(good), r.integers(1, 12)):
            damaged[at] = r.integers(0, 256)
        path.write_bytes(damaged)
        try:
            with np.errstate(all="ignore"):
                load_motion(path)
            outcomes.add("read")
        except MotionError as e:
            assert str(path) in str(e)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
