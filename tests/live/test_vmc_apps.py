"""Several apps on one port and address, and apps that send less, or otherwise, than the specification's examples:
the recorded cases of ../shared/motion_cases, and generated ones of the same kinds."""

import json
import random

import numpy as np
import pytest

from dinar_live.runtime.core.skeleton import JOINT_INDEX as J
from dinar_live.runtime.live import RokokoSource, VmcSource, faces
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.motion.authored import idle_motion

PERIOD = 1 / 60
FACE = {name: i for i, name in enumerate(faces.NAMES)}
ZERO = np.zeros((55, 3))


@pytest.fixture(scope="module")
def motion():
    return demo_motion(60)


@pytest.fixture
def source(clock):
    return VmcSource(0, clock=clock)


@pytest.fixture
def replay(shared, clock):
    """Feeds the datagrams of a recorded case; returns what was seen after each: (sample, state)."""

    def run(source, name):
        seen = []
        for line in (shared / "motion_cases" / name).read_text().splitlines():
            case = json.loads(line)
            clock.now = 100.0 + case["t"]
            source.feed(bytes.fromhex(case["hex"]), "127.0.0.1", {"a": 50001, "b": 50002}[case["sender"]])
            seen.append((source.read(), source.state))
        return seen

    return run


class App:
    """An app with a port and a clock of its own."""

    def __init__(self, sender, source, port, t=0.0, performer=None):
        self.sender, self.source, self.port, self.t = sender, source, port, t
        self.performer = performer or sender.Performer()

    def send(self, *messages):
        self.source.feed(self.sender.bundle([*messages, self.time()], 1e9 + self.t), "10.0.0.1", self.port)
        self.t += PERIOD

    def time(self):
        return self.sender.message("/VMC/Ext/T", float(self.t))

    def body(self, body, pelvis=(0.0, 1.0, 0.0), only=None):
        m = self.sender.message
        bones = [
            m("/VMC/Ext/Bone/Pos", name, *values)
            for name, values in self.performer.bones(body, pelvis)
            if only is None or name in only
        ]
        self.send(*bones, m("/VMC/Ext/OK", 1))

    def face(self, ok=None, **values):
        m = self.sender.message
        state = [] if ok is None else [m("/VMC/Ext/OK", ok)]
        self.send(
            *(m("/VMC/Ext/Blend/Val", k, float(v)) for k, v in values.items()),
            m("/VMC/Ext/Blend/Apply"),
            *state,
        )


# ---- the recorded cases ----------------------------------------------------------------------------------------


def test_recorded_ints_are_used(replay, source):
    seen = replay(source, "vmc_ints.jsonl")
    assert seen[-1][1].frames == 20 and not seen[-1][1].drops and seen[-1][1].hint == ""
    assert len({sample.body.tobytes() + sample.pelvis.tobytes() for sample, _ in seen}) == 20


def test_recorded_body_and_face_app_are_both_used(replay, source):
    seen = replay(source, "vmc_body_ok1_face_ok0.jsonl")
    sample, state = seen[-1]
    assert state.frames == 20 and not state.drops and state.hint == ""
    assert sample.expression[FACE["jawOpen"]] == pytest.approx(0.6)
    assert np.abs(sample.body[J["left_elbow"]] - seen[0][0].body[J["left_elbow"]]).max() > 0.04


def test_recorded_head_and_face_move(replay, source):
    seen = replay(source, "vmc_head_and_face_only.jsonl")
    samples = [sample for sample, _ in seen if sample is not None]
    assert len(samples) >= 10 and "no Hips" in seen[-1][1].hint
    assert len({sample.body[J["neck"]].tobytes() for sample in samples}) >= 5
    assert samples[-1].expression[FACE["jawOpen"]] == pytest.approx(0.7)


def test_recorded_names_are_known_or_counted(replay, source):
    seen = replay(source, "vmc_face_names.jsonl")
    assert seen[-1][1].drops.get("unknown expression", 0) == len(seen[-1][1].unknown) == 0
    assert seen[0][0].expression[FACE["mouthOpen"]] > 0.5 and (seen[-1][0].expression > 0.4).sum() >= 6


def test_recorded_first_actor_with_a_body_performs(replay, clock):
    source = RokokoSource(0, clock=clock, calibrate_after=0.05)
    sample, state = replay(source, "rokoko_first_actor_empty.jsonl")[-1]
    assert sample is not None and state.frames >= 3 and state.hint == ""


# ---- numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_whole_numbers_as_ints_wherever_a_number_stands(sender, source, clock, motion, degrees, seed):
    """What a library does that writes ints for whole numbers, each as it likes."""
    r, performer = random.Random(seed), sender.Performer()

    def number(value):
        return int(value) if value == int(value) and r.random() < 0.7 else float(value)

    for i in range(20):
        body, pelvis = motion.body[37 * i].copy(), motion.pelvis[37 * i]
        body[[j for j in range(1, 55) if r.random() < 0.5]] = 0.0
        messages = [sender.message("/VMC/Ext/Root/Pos", "root", *map(number, (0, 0, 0, 0, 0, 0, 1)))]
        messages += [
            sender.message("/VMC/Ext/Bone/Pos", name, *map(number, values))
            for name, values in performer.bones(body, pelvis)
        ]
        messages += [
            sender.message("/VMC/Ext/Blend/Val", "Joy", number(i % 2)),
            sender.message("/VMC/Ext/Blend/Apply"),
            sender.message("/VMC/Ext/OK", number(1)),
            sender.message("/VMC/Ext/T", number(i)),
        ]
        source.feed(sender.bundle(messages, 1e9 + i))
        clock.now += PERIOD
        assert degrees(source.read().body, body).max() < 0.01
        assert source.read().expression[FACE["smile"]] == i % 2
    assert source.state.drops == {} and source.state.frames == 20


# ---- apps beside each other ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-1.0, -0.3, 0.4, 1.0, 1.9])
@pytest.mark.parametrize("ok", [None, 0, 1])
def test_a_face_app_beside_a_body_app(sender, source, clock, motion, degrees, ahead, ok):
    body, face = App(sender, source, 4001, 5.0), App(sender, source, 4002, 5.0 + ahead)
    for i in range(40):
        body.body(motion.body[i], motion.pelvis[i])
        clock.now += PERIOD / 2
        face.face(ok, jawOpen=i / 40)
        clock.now += PERIOD / 2
        assert degrees(source.read().body, motion.body[i]).max() < 0.01
        assert source.read().expression[FACE["jawOpen"]] == pytest.approx(i / 40)
    assert source.state.frames == 40 and source.state.drops == {} and source.state.hint == ""


def test_a_face_app_that_comes_first_and_knows_the_head(sender, source, clock, motion, degrees):
    body, face = App(sender, source, 4001), App(sender, source, 4002, 1.0)
    for _ in range(20):
        face.body(motion.body[300], only=("Neck", "Head"))
        clock.now += PERIOD
    assert "no Hips" in source.state.hint and source.read() is not None
    for i in range(20):
        body.body(motion.body[i], motion.pelvis[i])
        face.body(motion.body[300], only=("Neck", "Head"))
        face.face(0, smile=1.0)
        clock.now += PERIOD
        assert degrees(source.read().body, motion.body[i]).max() < 0.01
    assert source.state.hint == "" and set(source.state.drops) == {"bone of another app"}
    assert source.read().expression[FACE["smile"]] == 1


def test_a_face_ends_with_its_app_and_zeros_of_another_do_not_cover_it(sender, source, clock):
    body, face = App(sender, source, 4001), App(sender, source, 4002)
    for _ in range(10):
        face.face(jawOpen=0.5)
        body.body(ZERO)
        body.face(jawOpen=0.0, Joy=0.25)
        clock.now += PERIOD
    assert source.read().expression[FACE["jawOpen"]] == 0.5
    for _ in range(150):
        body.body(ZERO)
        body.face(jawOpen=0.0, Joy=0.25)
        clock.now += PERIOD
    assert source.read().expression[FACE["jawOpen"]] == 0
    assert source.read().expression[FACE["smile"]] == 0.25


def test_hands_of_another_app_are_added(sender, source, clock, motion, degrees):
    names = [name for name, _ in sender.Performer().bones(ZERO, (0, 1, 0))]
    fingers = {n for n in names if n.endswith(("Proximal", "Intermediate", "Distal"))}
    body, hands = App(sender, source, 4001), App(sender, source, 4002)
    for i in range(30):
        hands.body(motion.body[i], only=fingers)
        body.body(motion.body[i], motion.pelvis[i], only=set(names) - fingers)
        clock.now += PERIOD
    assert degrees(source.read().body, motion.body[29]).max() < 0.01


def test_two_body_apps_one_is_taken_and_the_other_told_of(sender, source, clock, motion, degrees):
    one, two = App(sender, source, 4001), App(sender, source, 4002, 50.0)
    for i in range(30):
        one.body(motion.body[i], motion.pelvis[i])
        two.body(motion.body[400 + i], motion.pelvis[400 + i])
        clock.now += PERIOD
        assert degrees(source.read().body, motion.body[i]).max() < 0.01
    assert "two apps send a body" in source.state.hint and "4002" in source.state.hint
    assert source.state.drops["another body"] > 1000 and source.state.frames == 30
    for i in range(90):  # the first one ends: the other is taken, and the warning goes
        two.body(motion.body[i], motion.pelvis[i])
        clock.now += PERIOD
    assert degrees(source.read().body, motion.body[89]).max() < 0.01 and source.state.hint == ""


def test_a_restarted_app_with_another_port_goes_on(sender, source, clock, motion):
    App(sender, source, 4001, 900.0).body(ZERO)
    clock.now += 1.2
    App(sender, source, 4005, 0.0).body(ZERO)
    assert source.state.frames == 2 and source.state.drops == {}


def test_a_new_port_for_each_datagram_is_one_app(sender, source, clock, motion, degrees):
    performer, port = sender.Performer(), 5000
    for i in range(30):
        for message in performer.messages(motion.body[i], motion.pelvis[i], (("Joy", 0.5),), i / 60):
            source.feed(message, "10.0.0.1", port)
            port += 1
        clock.now += PERIOD
        if i > 3:
            assert degrees(source.read().body, motion.body[i]).max() < 0.01
    assert source.state.frames >= 27 and source.read().expression[FACE["smile"]] == 0.5


def test_a_body_that_ends_beside_a_face_is_told(sender, source, clock):
    body, face = App(sender, source, 4001), App(sender, source, 4002)
    body.body(ZERO)
    for _ in range(80):
        face.face(jawOpen=0.5)
        clock.now += PERIOD
    assert "only a face" in source.state.hint


# ---- less than a body ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("only", [("Head",), ("Neck", "Head"), ("Neck", "Head", "LeftEye", "RightEye"), ()])
@pytest.mark.parametrize("bundled", [True, False])
def test_what_has_no_hips_moves_what_it_has(sender, source, clock, motion, degrees, only, bundled):
    app, idle = App(sender, source, 4001), idle_motion()
    sent = (
        [J[n] for n in ("neck", "head", "left_eye", "right_eye")][: len(only)]
        if len(only) != 1
        else [J["head"]]
    )
    for i in range(30):
        if bundled:
            app.body(motion.body[i], only=only)
            app.face(1, JawOpen=i / 30)
        else:
            for name, values in app.performer.bones(motion.body[i], (0, 1, 0)):
                if name in only:
                    source.feed(sender.message("/VMC/Ext/Bone/Pos", name, *values), "10.0.0.1", 4001)
            for message in (
                sender.message("/VMC/Ext/Blend/Val", "JawOpen", i / 30),
                sender.message("/VMC/Ext/Blend/Apply"),
                sender.message("/VMC/Ext/OK", 1),
            ):
                source.feed(message, "10.0.0.1", 4001)
        clock.now += PERIOD
    sample = source.read()
    assert degrees(sample.body[sent], motion.body[29][sent]).max(initial=0.0) < 0.01
    assert sample.expression[FACE["jawOpen"]] == pytest.approx(29 / 30)
    others = [j for j in range(55) if j not in sent]
    np.testing.assert_allclose(sample.body[others], idle.body[0][others], atol=1e-6)
    assert "no Hips" in source.state.hint and source.state.frames > 20


def test_hips_that_come_later_begin_anew(sender, source, clock, motion, degrees):
    app = App(sender, source, 4001)
    for _ in range(20):
        app.body(motion.body[5], only=("Neck", "Head"))
        clock.now += PERIOD
    for i in range(20):
        app.body(motion.body[i], motion.pelvis[i])
        clock.now += PERIOD
    assert degrees(source.read().body, motion.body[19]).max() < 0.01 and source.state.hint == ""


def test_enter_sets_straight_ahead_for_a_head(sender, source, clock, motion):
    app, tilted = App(sender, source, 4001), ZERO.copy()
    tilted[J["head"]] = 0.4, 0.0, 0.0
    for i in range(20):
        app.body(tilted, only=("Head",))
        clock.now += PERIOD
        if i == 10:
            source.calibrate()
    assert np.abs(source.read().body[J["head"]]).max() < 1e-4


# ---- no positions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_own_axes_without_positions_ask_for_a_calibration(sender, source, clock, motion, degrees, seed):
    performer = sender.Performer(sender.random_axes(seed))
    performer.rest = np.zeros((55, 3))
    app = App(sender, source, 4001, performer=performer)
    for i in range(150):
        app.body(motion.body[i])
        clock.now += PERIOD
    assert (
        source.read() is None
        and "calibrate" in source.state.hint
        and "axes of their own" in source.state.hint
    )
    app.body(ZERO)
    source.calibrate()
    app.body(ZERO)
    assert source.state.calibration == "done" and source.state.hint == ""
    app.body(motion.body[300])
    others = [j for name, j in J.items() if "thumb" not in name]
    assert degrees(source.read().body[others], motion.body[300][others]).max() < 0.5


def test_unturned_bones_without_positions_are_used_with_a_word(sender, source, clock, motion, degrees):
    performer = sender.Performer()
    performer.rest = np.zeros((55, 3))
    app = App(sender, source, 4001, performer=performer)
    for i in range(120):
        app.body(motion.body[i])
        clock.now += PERIOD
    others = [j for name, j in J.items() if "thumb" not in name]
    assert degrees(source.read().body[others], motion.body[119][others]).max() < 0.01
    assert "calibrate" in source.state.hint


# ---- names of expressions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Fcl_MTH_A", "mouthOpen"),
        ("Face.M_F00_000_00_Fcl_ALL_Joy", "smile"),
        ("Face_Blendshape.Fcl_EYE_Close_L", "eyeBlinkLeft"),
        ("vrc.v_oh", "mouthFunnel"),
        ("Body.vrc.v_aa", "mouthOpen"),
        ("viseme_U", "pucker"),
        ("vrc.blink_right", "eyeBlinkRight"),
        ("MouthSmile_Left", "mouthSmileLeft"),
        ("mouth_smile_right", "mouthSmileRight"),
        ("mouthSmileL", "mouthSmileLeft"),
        ("Mouth Smile Left", "mouthSmileLeft"),
        ("Eye_Left_Blink", "eyeBlinkLeft"),
        ("EyeClosedRight", "eyeBlinkRight"),
        ("v2/JawOpen", "jawOpen"),
        ("browInnerUp_L", "browInnerUp"),
        ("Jaw_Open", "jawOpen"),
        ("あ", "mouthOpen"),
        ("まばたき", "eyesClosed"),
    ],
)
def test_other_spellings(name, expected):
    key = faces.known(name.encode())
    assert key is not None and faces.expression([(key, 1.0)])[FACE[expected]] >= 0.4


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_sides_are_not_exchanged(side):
    for name in (n for n in faces.NAMES if n.endswith(side) and n not in ("jawLeft", "jawRight")):
        stem = name.removesuffix(side)
        for text in (f"{stem}_{side}", f"{stem}_{side[0]}", f"{stem}{side[0]}", f"{stem}-{side}".upper()):
            key = faces.known(text.encode())
            assert key is not None and np.flatnonzero(faces.expression([(key, 1.0)])).tolist() == [FACE[name]]


def test_unknown_names_are_counted_and_shown(sender, source, clock):
    app = App(sender, source, 4001)
    for i in range(40):
        app.body(ZERO)
        app.face(**{f"Strange{i}": 1.0, "Joy": 1.0, "Neutral": 1.0})
        clock.now += PERIOD
    app.send(sender.message("/VMC/Ext/Blend/Val", "\x1b[31mred" + "x" * 900, 1.0))
    state = source.state
    assert state.drops == {"unknown expression": 41}
    assert state.unknown[:2] == ("Strange0", "Strange1") and len(state.unknown) <= 16
    assert all(len(name) <= 40 and name.isprintable() for name in state.unknown)


def test_mutated_datagrams_of_several_apps_never_raise(sender, source, clock, motion):
    r = random.Random(3)
    performer = sender.Performer()
    face = (("Joy", 0.5), ("Fcl_MTH_A", 0.5), ("x", 1.0))
    frames = [
        sender.bundle(performer.messages(motion.body[i], motion.pelvis[i], face, i / 60), 1e9 + i / 60)
        for i in range(20)
    ]
    for _ in range(1500):
        data = bytearray(r.choice(frames))
        for _ in range(r.randint(0, 12)):
            data[r.randrange(len(data))] = r.randrange(256)
        source.feed(
            bytes(data[: r.randint(0, len(data))] if r.random() < 0.2 else data), "p", r.randrange(1, 14)
        )
        clock.now += 0.02
        sample = source.read()
        assert sample is None or np.isfinite(sample.body).all()
        assert isinstance(source.state.hint, str)
