"""Rokoko's JSON v3, from a studio that this test plays: world transforms in Unity's axes, bones with axes of
their own."""

import json
import math
import sys

import numpy as np
import pytest

from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.core.skeleton import PARENTS
from dinar_live.runtime.live import RokokoSource, faces
from dinar_live.runtime.live.rokoko import JOINTS
from dinar_live.runtime.motion import demo_motion

NAMES = {joint: name for name, joint in JOINTS.items()}
MIRROR = np.diag((-1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def motion():
    return demo_motion(60)


class Studio:
    """Frames of one actor. All bones of Rokoko: no upper chest, eyes and jaw; with gloves or without."""

    def __init__(self, sender, source, clock, gloves=True):
        self._sender, self._source, self._clock, self.t = sender, source, clock, 0.0
        self._axes = sender.random_axes(21)
        self._rest = sender.Performer().rest
        self._joints = [j for j in NAMES if gloves or j < 22]

    def data(self, body, pelvis, face=None):
        world, at = [], []
        for j, p in enumerate(PARENTS):
            turn = self._sender.matrix(body[j])
            world.append(world[p] @ turn if p >= 0 else turn)
            at.append(
                at[p] + world[p] @ (self._rest[j] - self._rest[p]) if p >= 0 else np.asarray(pelvis, float)
            )
        bones = {}
        for j in self._joints:
            q = self._sender.quaternion(MIRROR @ world[j] @ self._axes[j] @ MIRROR)
            bones[NAMES[j]] = {
                "position": dict(zip("xyz", MIRROR @ at[j], strict=True)),
                "rotation": dict(zip("xyzw", q, strict=True)),
            }
        actor = {
            "name": "a",
            "meta": {"hasGloves": True, "hasFace": face is not None},
            "dimensions": {"hipHeight": 1.0},
            "body": bones,
        }
        if face is not None:
            actor["face"] = face
        return json.dumps(
            {"version": "3,0", "fps": 60, "scene": {"timestamp": self.t, "actors": [actor], "props": []}}
        ).encode()

    def frame(self, body, pelvis=(0, 1, 0), face=None):
        self._source.feed(self.data(body, pelvis, face))
        self._clock.now += 1 / 60
        self.t += 1 / 60


@pytest.fixture
def source(clock):
    return RokokoSource(0, clock=clock)


@pytest.fixture
def studio(sender, source, clock):
    return Studio(sender, source, clock)


def calibrated(studio):
    for _ in range(65):
        studio.frame(np.zeros((55, 3)))


def test_poses_of_the_file_after_a_t_pose(studio, source, motion, degrees):
    calibrated(studio)
    assert source.state.calibration == "done" and source.state.hint == ""
    # what the chest bone does is all of spine2 and spine3; jaw and eyes are not sent
    whole = [j for j in NAMES if j not in (J["spine2"], J["neck"], J["left_collar"], J["right_collar"])]
    for i in range(0, motion.frames, 31):
        studio.frame(motion.body[i], motion.pelvis[i])
        sample = source.read()
        assert degrees(sample.body[whole], motion.body[i][whole]).max() < 0.01
        np.testing.assert_allclose(sample.pelvis, motion.pelvis[i], atol=1e-5)
        assert not sample.body[[J["jaw"], J["left_eye"]]].any()
    assert source.state.dropped == 0


def test_names(source):
    assert (
        len(JOINTS) == 51
        and len(set(JOINTS.values())) == 51
        and JOINTS["leftThumbMedial"] == J["left_thumb2"]
    )
    assert JOINTS["rightLittleDistal"] == J["right_pinky3"] and JOINTS["leftUpLeg"] == J["left_hip"]


def test_face_late_frames_and_missing_gloves(sender, source, clock, motion):
    studio = Studio(sender, source, clock, gloves=False)
    calibrated(studio)
    studio.frame(
        motion.body[0], motion.pelvis[0], {"eyeBlinkLeft": 100, "jawOpen": 40, "x": 1, "mouthLeft": None}
    )
    face = dict(zip(faces.NAMES, source.read().expression, strict=True))
    assert (
        face["eyeBlinkLeft"] == 1
        and face["jawOpen"] == pytest.approx(0.4)
        and sum(face.values()) == pytest.approx(1.4)
    )
    assert not source.read().body[25:].any()
    studio.t -= 0.1
    studio.frame(motion.body[0])
    assert source.state.drops == {"late": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 60_000,
        b"\xff\xfe",
        b'{"scene": 3}',
        b'{"scene": {"actors": []}}',
        b'{"scene": {"timestamp": NaN, "actors": [{"body": {}}]}}',
        b'{"scene": {"timestamp": 1, "actors": [{"body": []}]}}',
        b'{"scene": {"timestamp": "x", "actors": [{"body": {}}]}}',
        b'{"scene": {"timestamp": 1, "actors": [4]}}',
        b'{"scene": {"timestamp": 1e999, "actors": [{"body": {}}]}}',
        b"1" * 60_000,
        b"\x04\x22\x4d\x18" + b"\xff" * 100,
    ],
)
def test_hostile_datagrams_are_counted(source, data):
    source.feed(data)
    assert source.state.drops == {"no JSON v3": 1} and source.read() is None


def test_hostile_values_keep_the_last_ones(studio, source, motion, degrees):
    calibrated(studio)
    studio.frame(motion.body[0], motion.pelvis[0])
    before = source.read().body
    for bad in (math.nan, math.inf, 1e30, "x", None, [], {}):
        scene = json.loads(studio.data(motion.body[500], motion.pelvis[0]))
        for bone in scene["scene"]["actors"][0]["body"].values():
            bone["rotation"]["w"] = bad
        studio.t += 1 / 60
        scene["scene"]["timestamp"] = studio.t
        source.feed(json.dumps(scene).encode())
    assert degrees(source.read().body, before).max() < 1e-3 and source.state.drops["values"] == 7 * 51


def test_lz4_frames_and_bombs(studio, source, monkeypatch):
    lz4 = pytest.importorskip("lz4.frame")
    studio.t = 1.0
    source.feed(lz4.compress(studio.data(np.zeros((55, 3)), (0, 1, 0))))
    assert source.state.dropped == 0 and source.state.calibration == "waiting"
    source.feed(lz4.compress(bytes(1 << 24)))
    assert source.state.drops == {"no JSON v3": 1}


def test_without_lz4_it_says_what_to_do(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "lz4", None)
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    source.feed(b"\x04\x22\x4d\x18" + bytes(50))
    assert "pip install lz4" in source.state.hint


def old_actor(bones, name="a"):
    """An actor of JSON v2: the bones are its own members."""
    return {"name": name, "isLive": True, "profileName": "p", **bones}


@pytest.mark.parametrize("version", ["2,0", "2", 2, "2.5", "3,0", "3", None])
@pytest.mark.parametrize("within_scene", [True, False])
@pytest.mark.parametrize("capitals", [True, False])
def test_v2_is_told_whatever_it_calls_itself(studio, source, version, within_scene, capitals):
    bones = json.loads(studio.data(np.zeros((55, 3)), (0, 1, 0)))["scene"]["actors"][0]["body"]
    if capitals:
        bones = {name[0].upper() + name[1:]: bone for name, bone in bones.items()}
    actors = [old_actor(bones)]
    data = {"version": version, "timestamp": 1.0, "props": [], "trackers": [], "faces": []}
    data |= {"scene": {"timestamp": 1.0, "actors": actors}} if within_scene else {"actors": actors}
    for _ in range(3):
        source.feed(json.dumps(data).encode())
    assert "this is JSON v2" in source.state.hint and source.read() is None
    assert source.state.drops == {"no JSON v3": 3}


def scenes(studio, bodies):
    """A frame whose actors have these bodies ({} = none)."""
    scene = json.loads(studio.data(np.zeros((55, 3)), (0, 1, 0)))
    actor = scene["scene"]["actors"][0]
    scene["scene"]["actors"] = [actor | {"name": name, "body": body} for name, body in bodies]
    return json.dumps(scene).encode()


def test_the_first_actor_with_a_body_performs_and_is_kept(studio, source, clock, motion, degrees):
    def bones(i):
        return json.loads(studio.data(motion.body[i], motion.pelvis[i]))["scene"]["actors"][0]["body"]

    def frame(*bodies):
        source.feed(scenes(studio, bodies))
        studio.t += 1 / 60
        clock.now += 1 / 60

    still = json.loads(studio.data(np.zeros((55, 3)), (0, 1, 0)))["scene"]["actors"][0]["body"]
    frame(("empty", {}), ("other", {"tail": {}}))
    assert "no actor of the scene has a body" in source.state.hint
    for _ in range(65):
        frame(("empty", {}), ("me", still), ("you", bones(5)))
    assert source.state.calibration == "done"
    frame(("empty", bones(7)), ("me", bones(100)), ("you", bones(5)))  # the first one has a body now
    arm = [J["left_shoulder"], J["left_elbow"], J["right_elbow"], J["left_hip"]]
    whole = [j for j in arm if j != J["left_shoulder"]]
    assert degrees(source.read().body[whole], motion.body[100][whole]).max() < 0.01
    frames = source.state.frames
    for _ in range(30):  # a moment without
        frame(("you", bones(5)), ("me", {}))
    assert source.state.frames == frames and source.state.calibration == "done"
    for _ in range(60):  # gone: the next one has to calibrate
        frame(("you", bones(5)))
    assert source.state.calibration == "waiting"
