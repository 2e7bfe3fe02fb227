"""Sources and the fit of their poses: the same as the file route."""

import numpy as np
import pytest

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.live import SampleBuffer, open_source, registry
from dinar_live.runtime.live.avatar_fit import AvatarFit
from dinar_live.runtime.live.file_source import FileSource
from dinar_live.runtime.live.sample_buffer import PacketOrder
from dinar_live.runtime.live.source import Sample, Skeleton
from dinar_live.runtime.live.source_form import SourceForm
from dinar_live.runtime.motion import demo_motion, kinematics
from dinar_live.runtime.motion.reference_body import rest_joints

REST = rest_joints()


@pytest.fixture(scope="module")
def motion():
    return demo_motion(30)


def sample(motion, i):
    return Sample(i / 30, 0.0, i, motion.body[i], motion.pelvis[i], motion.expression[i])


@pytest.mark.parametrize("root", ["start", "keep", "fixed"])
@pytest.mark.parametrize("size", [1.0, 0.6])
def test_fit_is_that_of_the_file_route(motion, root, size):
    names = ("mouthOpen", "smile", "other")
    fit = AvatarFit(Skeleton(motion.leg_length, motion.expression_names), REST * size, names, root=root)
    file = motion.for_avatar(REST * size, names, root=root)
    for i in range(0, motion.frames, 50):
        ours, theirs = fit.pose(sample(motion, i)), file.pose(i)
        np.testing.assert_allclose(ours.body, theirs.body, atol=1e-6)
        np.testing.assert_allclose(ours.expression, theirs.expression, atol=1e-6)
        # the floor is found in the first frame, not in all of the clip
        np.testing.assert_allclose(ours.transl[[0, 2]], theirs.transl[[0, 2]], atol=1e-5)
        np.testing.assert_allclose(ours.transl[1], theirs.transl[1], atol=0.02)


def test_fit_turns_a_performer_who_faces_away(motion, degrees):
    body, pelvis = np.zeros((55, 3), np.float32), np.array((1.0, 1.0, 2.0), np.float32)
    body[0] = 0, 2.0, 0
    fit = AvatarFit(Skeleton(motion.leg_length), REST)
    first = fit.pose(Sample(0, 0, 1, body, pelvis, np.zeros(0, np.float32)))
    assert (
        degrees(first.body[0], np.zeros(3)) < 0.01
        and np.abs(first.transl[[0, 2]] + REST[0, [0, 2]]).max() < 1e-5
    )
    # a step ahead of the performer is a step ahead of the avatar
    pelvis = pelvis + 0.5 * np.array((np.sin(2.0), 0, np.cos(2.0)), np.float32)
    second = fit.pose(Sample(0, 0, 2, body, pelvis, np.zeros(0, np.float32)))
    np.testing.assert_allclose(
        second.transl - first.transl, (0, 0, 0.5 * kinematics.leg_length(REST) / motion.leg_length), atol=1e-5
    )


def test_mirror_exchanges_the_sides(motion):
    names = ("eyeBlinkLeft", "eyeBlinkRight", "smile")
    skeleton = Skeleton(motion.leg_length, names)
    plain, mirror = (
        AvatarFit(skeleton, REST, names, mirror=m, root="keep", ground=False) for m in (False, True)
    )
    s = sample(motion, 150)._replace(expression=np.array((1.0, 0.25, 0.5), np.float32))
    a, b = plain.pose(s), mirror.pose(s)
    flip = np.array((-1, 1, 1))

    def joints(pose):
        from dinar_live.runtime.core import rotations as rot

        world = kinematics.global_rotations(rot.axis_angle_to_quaternion(pose.body)[None])
        return kinematics.joint_positions(world, REST, (REST[0] + pose.transl)[None])[0]

    pairs = {16: 17, 18: 19, 20: 21, 7: 8, 10: 11, 15: 15, 27: 42, 39: 54}
    for left, right in pairs.items():
        np.testing.assert_allclose(joints(a)[left], joints(b)[right] * flip, atol=2e-3)
        np.testing.assert_allclose(joints(a)[right], joints(b)[left] * flip, atol=2e-3)
    assert list(b.expression) == [0.25, 1.0, 0.5]


def test_the_jaw_opens_on_a_body_without_such_expressions(motion):
    skeleton = Skeleton(motion.leg_length, ("mouthOpen",))
    s = Sample(0, 0, 1, np.zeros((55, 3), np.float32), np.zeros(3, np.float32), np.ones(1, np.float32))
    assert AvatarFit(skeleton, REST, ("jawOpen",)).pose(s).body[22, 0] == 0
    assert AvatarFit(skeleton, REST, ()).pose(s).body[22, 0] > 0.1


def test_file_source_plays_in_real_time(motion, clock):
    with FileSource(motion, clock=clock) as source:
        clock.now += 1.0
        body, pelvis, _ = motion.sample(1.0)
        got = source.read()
        np.testing.assert_allclose(got.body, body, atol=1e-6)
        np.testing.assert_allclose(got.pelvis, pelvis, atol=1e-6)
        assert (
            source.state.connected and source.skeleton.leg_length == motion.leg_length and got.time_s == 1.0
        )
    assert source.read() is None


def test_order_tells_late_repeated_and_restarted():
    order = PacketOrder(10)
    assert [order.check(v, 0.0) for v in (5, 6, 6, 4, 7, 100, 95, 3, 4)] == [
        "",
        "",
        "duplicate",
        "late",
        "",
        "",
        "late",
        "",
        "",
    ]
    assert order.check(1, 0.1) == "late" and order.check(1, 1.0) == ""  # after a silence anything goes


def test_rate_gaps_and_age(clock):
    samples = SampleBuffer(clock)
    for _ in range(100):
        clock.now += 1 / 90
        samples.put(np.zeros((55, 3)), np.zeros(3), (), time_s=0, now=clock.now)
    assert samples.state("x").rate_hz == pytest.approx(90) and samples.state("x").gaps == 0
    clock.now += 0.2
    assert samples.state("x").age_s == pytest.approx(0.2)
    samples.put(np.zeros((55, 3)), np.zeros(3), (), time_s=0, now=clock.now)
    assert samples.state("x").gaps == 1
    clock.now += 2
    assert samples.state("x").rate_hz == 0 and not samples.state("x").connected


@pytest.mark.parametrize(
    "text", ["", "vmc:x", "vmc:70000", "bvh", "smplx", "smplx:udp://1", "smpl24:", "file:", "file:none.bvh"]
)
def test_unknown_sources_are_refused(text):
    with pytest.raises((MotionError, ValueError), match="expected|no such file"):
        open_source(text)


def test_known_sources_open():
    assert open_source("vmc").port == 39539 and open_source("vmc:1234").port == 1234
    assert (
        open_source("smplx:tcp://127.0.0.1:5560").endpoint
        == open_source("smpl24:tcp://127.0.0.1:5560").endpoint
    )
    with pytest.raises(MotionError, match="root"):
        AvatarFit(Skeleton(0.8), REST, root="here")
    with pytest.raises(MotionError, match="leg_length"):
        Skeleton(0.0)


def test_a_source_is_known_by_its_module_and_a_line_in_the_registry(monkeypatch, motion):
    asked = []

    def opened(rest, options):
        asked.append((rest, options.bind))
        return FileSource(motion)

    monkeypatch.setattr(registry, "SOURCES", (*registry.SOURCES, SourceForm("acme", "acme[:PORT]", opened)))
    assert isinstance(open_source("acme:7", bind="0.0.0.0"), FileSource) and asked == [("7", "0.0.0.0")]
    assert not registry.form_of("acme").calibrates and registry.form_of("vmc:1").calibrates


def test_forms_are_unlike_and_named_in_the_help():
    kinds = [form.kind for form in registry.SOURCES]
    assert len(set(kinds)) == len(kinds)
    assert all(form.form.lower().startswith(form.kind) for form in registry.SOURCES)
    assert (
        registry.FORMS
        == "vmc[:PORT], rokoko[:PORT], mocopi[:PORT], slimevr[:PORT], webxr, smplx:tcp://HOST:PORT, smpl24:tcp://HOST:PORT, "
        "file:PATH, camera[:N] or VIDEO.mp4"
    )
    assert registry.CALIBRATED == "vmc, rokoko, mocopi, slimevr, webxr"
