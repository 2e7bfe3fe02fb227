"""Bodies of a headset's browser: joints made from known poses, with axes of their own, there and back."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dinar_live.runtime.core import rotations as rot
from dinar_live.runtime.core.errors import InputError, MotionError
from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.live import WebXrSource, encode_xr_body, open_source
from dinar_live.runtime.live.webxr import JOINTS
from dinar_live.runtime.motion import demo_motion, kinematics
from dinar_live.runtime.motion import reference_body as ref

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "webxr_sender.py"
GOLDEN = pathlib.Path(__file__).parents[1] / "data" / "xr_body.bin"
T_POSE = np.zeros((55, 3))


BONES = [(JOINTS[a], JOINTS[b]) for a, b in (("right-upper-leg", "left-upper-leg"), ("hips", "neck"))] + [
    (JOINTS[f"{side}-{a}"], JOINTS[f"{side}-{b}"])
    for side in ("left", "right")
    for a, b in (
        ("arm-upper", "arm-lower"),
        ("arm-lower", "hand-wrist"),
        ("upper-leg", "lower-leg"),
        ("lower-leg", "foot-ankle"),
        ("foot-ankle", "foot-ball"),
        ("hand-index-phalanx-proximal", "hand-index-phalanx-intermediate"),
        ("hand-thumb-phalanx-proximal", "hand-thumb-phalanx-distal"),
    )
]


@pytest.fixture(scope="module")
def sender():
    """examples/webxr_sender.py, which shares no code with the receiver."""
    spec = importlib.util.spec_from_file_location("webxr_sender", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def Wearer(sender):
    return sender.Wearer


def largest_angle(a, b, bones=BONES) -> float:
    """Degrees between the directions of bones in two poses [55,3]."""
    ways = []
    for body in (a, b):
        world = kinematics.global_rotations(rot.axis_angle_to_quaternion(np.asarray(body, np.float64)[None]))
        places = kinematics.joint_positions(world, ref.rest_joints(), np.zeros((1, 3)))[0]
        ways.append(np.array([rot.unit(places[j] - places[i]) for i, j in bones]))
    return float(np.degrees(np.arccos(np.clip((ways[0] * ways[1]).sum(axis=1), -1, 1))).max())


@pytest.fixture(scope="module")
def motion():
    return demo_motion(30)


class Page:
    """Sends to a source, 72 frames a second."""

    def __init__(self, source, clock, session=5):
        self.source, self.clock, self.session, self.number = source, clock, session, 0

    def send(self, joints, peer="page 1"):
        self.number += 1
        self.source.feed(bytes(encode_xr_body(joints, sequence=self.number, session=self.session)), peer)
        self.clock.now += 1 / 72

    def stand(self, wearer, body=T_POSE, seconds=1.2):
        for _ in range(round(72 * seconds)):
            self.send(wearer.joints(body))


@pytest.fixture
def source(clock):
    return WebXrSource(clock=clock)


@pytest.mark.parametrize("seed, scale, facing", [(0, 1.0, np.pi), (1, 0.8, 0.4), (2, 1.15, -2.0)])
def test_poses_come_through(source, clock, motion, seed, scale, facing, Wearer):
    page, wearer = Page(source, clock), Wearer(seed, scale, facing)
    page.stand(wearer)
    assert source.state.calibration == "done"
    worst = 0.0
    heading = rot.axis_angle_to_quaternion((0, facing, 0))
    for i in range(0, motion.frames, 31):
        page.send(wearer.joints(motion.body[i], motion.pelvis[i]))
        body = source.read().body.copy()
        q = rot.multiply(rot.conjugate(heading), rot.axis_angle_to_quaternion(body[0]))
        body[0] = rot.quaternion_to_axis_angle(q)  # where the wearer looks in the room is not the pose's
        worst = max(worst, largest_angle(body, motion.body[i]))
    assert worst < 0.1  # degrees; 3 were promised
    state = source.state
    assert state.drops == {} and state.hint == "" and state.peer == "page 1"


def test_a_crooked_t_pose_is_measured(source, clock, motion, Wearer):
    """Arms that hang by 12 degrees while it is calibrated: arms and legs are right all the same."""
    page, wearer = Page(source, clock), Wearer(3)
    crooked = T_POSE.copy()
    crooked[J["left_shoulder"], 2], crooked[J["right_shoulder"], 2] = -0.2, 0.2
    page.stand(wearer, crooked)
    assert source.state.calibration == "done"
    page.send(wearer.joints(motion.body[100], motion.pelvis[100]))
    body = source.read().body.copy()
    body[0] = motion.body[100, 0]
    body[[3, 6, 9]] = motion.body[100, [3, 6, 9]]
    assert largest_angle(body, motion.body[100], BONES[2:6] + BONES[9:13]) < 3.0


def test_arms_down_are_no_t_pose(source, clock, Wearer):
    page, wearer = Page(source, clock), Wearer(3)
    down = T_POSE.copy()
    down[J["left_shoulder"], 2], down[J["right_shoulder"], 2] = -1.2, 1.2
    page.stand(wearer, down)
    assert source.read() is None and "T-pose" in source.state.hint and "arm" in source.state.hint
    source.calibrate()  # Enter takes it
    page.send(wearer.joints(down))
    assert source.read() is not None


def test_the_path_is_scaled_by_the_legs(source, clock, Wearer):
    page, wearer = Page(source, clock), Wearer(4, 0.5)
    page.stand(wearer)
    page.send(wearer.joints(T_POSE, (0, 0.5, 0)))
    first = source.read().pelvis
    page.send(wearer.joints(T_POSE, (0, 0.5, 0.4)))
    np.testing.assert_allclose(np.linalg.norm(source.read().pelvis - first), 0.8, atol=1e-3)


def test_joints_that_are_not_known_keep_the_last_ones(source, clock, motion, degrees, Wearer):
    page, wearer = Page(source, clock), Wearer(5)
    page.stand(wearer)
    page.send(wearer.joints(motion.body[40], motion.pelvis[40]))
    before = source.read().body
    joints = wearer.joints(motion.body[300], motion.pelvis[300])
    elbow = list(JOINTS).index("left-arm-lower")
    for bad, drops in ((np.nan, 0), (np.inf, 1), (1e30, 1)):
        joints[elbow] = bad
        page.send(joints)
        assert source.state.drops.get("values", 0) >= drops and np.isfinite(source.read().body).all()
    joints[:] = np.nan
    page.send(joints)
    assert np.isfinite(source.read().body).all() and np.isfinite(before).all()


def test_hands_that_are_never_sent(source, clock, motion, Wearer):
    page, wearer = Page(source, clock), Wearer(6)
    fingers = [i for i, name in enumerate(JOINTS) if "phalanx" in name or "metacarpal" in name]
    for i in range(90):
        joints = wearer.joints(T_POSE if i < 80 else motion.body[100])
        joints[fingers] = np.nan
        page.send(joints)
    body = source.read().body
    assert not body[25:].any() and body[J["left_elbow"]].any()


def test_one_page_at_a_time(source, clock, Wearer):
    page, wearer = Page(source, clock), Wearer(7)
    page.stand(wearer)
    page.send(wearer.joints(T_POSE), "page 2")
    assert source.state.drops == {"another page": 1} and source.state.peer == "page 1"
    clock.now += 3.0
    page.send(wearer.joints(T_POSE), "page 2")
    assert source.state.peer == "page 2" and source.state.calibration == "waiting"


def test_late_repeated_reloaded(source, clock, Wearer):
    page, wearer = Page(source, clock), Wearer(8)
    page.stand(wearer)
    page.number -= 1
    page.send(wearer.joints(T_POSE))
    page.number -= 5
    page.send(wearer.joints(T_POSE))
    assert source.state.drops == {"duplicate": 1, "late": 1}
    page.number, page.session = 0, 6
    page.send(wearer.joints(T_POSE))
    assert source.state.drops == {"duplicate": 1, "late": 1}


def test_hostile_messages(source, clock, Wearer):
    good = bytes(encode_xr_body(Wearer().joints(T_POSE), sequence=1))
    rng = np.random.default_rng(0)
    source.feed(b"")
    for cut in range(0, len(good), 97):
        source.feed(good[:cut], "page 1")
    for _ in range(300):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), 4):
            bad[at] = rng.integers(0, 256)
        source.feed(bytes(bad), "page 1")
        clock.now += 0.01
    assert source.state.drops["malformed"] > 10
    sample = source.read()
    assert sample is None or np.isfinite(sample.body).all()


def test_a_flood_is_not_read(source, clock, Wearer):
    data = bytes(encode_xr_body(Wearer().joints(T_POSE), sequence=1))
    for _ in range(400):
        source.feed(data, "page 1")
    assert source.state.drops["flood"] > 200


def test_the_message_is_as_it_was():
    """Its bytes are the protocol: other values need another message."""
    joints = (np.arange(52 * 7, dtype=np.float32) / 64 - 2).reshape(52, 7)
    made = bytes(encode_xr_body(joints, sequence=7, session=9, time_ns=123_456_789))
    assert made == GOLDEN.read_bytes()


def test_the_example_has_the_same_joints(sender):
    assert sender.JOINTS == list(JOINTS)
    joints = np.ones((52, 7), np.float32)
    ours = encode_xr_body(joints, sequence=3, session=4, time_ns=5)
    assert sender.message(joints, 3, 4, 5) == bytes(ours)


def test_errors(clock):
    with pytest.raises(InputError, match=r"joints: got shape \[3, 7\], expected \[52, 7\]"):
        encode_xr_body(np.zeros((3, 7)), sequence=1)
    with pytest.raises(MotionError, match="webxr alone"):
        open_source("webxr:1234")
    assert isinstance(open_source("webxr"), WebXrSource)


@pytest.mark.parametrize(
    "command, words",
    [
        (("live", "webxr", "--no-page"), "comes through the page"),
        (("record", "webxr", "-o", "a.dmot"), "dinar live webxr --record"),
    ],
)
def test_the_commands_say_what_is_missing(command, words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dinar_live", *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 2 and words in done.stderr
