"""The poses, cameras and pictures that a teacher is asked for."""

import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.export.capture import Capture
from dinar_live.export.distill.cameras import FULL_BODY, CameraSampler
from dinar_live.export.distill.poses import CaptureSource, MotionSource, PoseSampler, joint_limits
from dinar_live.export.distill.teacher import Plan, planned, render_teacher
from dinar_live.runtime import Avatar, Body, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.skeleton import JOINT_INDEX
from dinar_live.runtime.motion import Motion, demo_motion

SMALL = Plan(training=5, validation=3, size=(64, 48), seed=4)


@pytest.fixture(scope="module")
def avatar():
    texture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    return Avatar(
        "noise",
        Body.open().rig(),
        {"texture": RendererSpec(texture, samples=2), "grey": RendererSpec(texture // 2 + 60)},
    )


@pytest.fixture(scope="module")
def sources(avatar):
    return [MotionSource(demo_motion(), avatar.rig)]


def clip(seconds: float) -> Motion:
    """A motion whose jaw says the time: 0.01 radians a second."""
    frames = round(seconds * 10)
    body = np.zeros((frames, 55, 3), np.float32)
    body[:, 22, 0] = np.arange(frames) / 1000
    return Motion(body=body, pelvis=np.zeros((frames, 3), np.float32), fps=10.0, leg_length=0.8)


@pytest.mark.parametrize("seconds", [30.0, 2.0])
def test_a_motions_fifth_part_is_kept_for_validation(avatar, seconds):
    source, rng = MotionSource(clip(seconds), avatar.rig), np.random.default_rng(0)
    times = {v: np.sort([source.pose(rng, v).body[22, 0] * 100 for _ in range(300)]) for v in (False, True)}
    blocks = {v: set((t / (seconds / max(5, seconds)) // 1).astype(int)) for v, t in times.items()}
    assert blocks[False] | blocks[True] == set(range(max(5, int(seconds)))) and blocks[True] == set(
        range(4, max(5, int(seconds)), 5)
    )
    gaps = np.abs(times[False][:, None] - times[True][None])
    assert gaps.min() > 0.15 * seconds / max(5, seconds)


def test_limits_are_mirrored_and_hold_what_people_do():
    low, high = joint_limits()
    assert (low <= high).all() and (low[0] == 0).all() and (high[25:] == 0).all()
    left, right = JOINT_INDEX["left_elbow"], JOINT_INDEX["right_elbow"]
    assert low[left, 1] == pytest.approx(-2.1) and high[right, 1] == pytest.approx(2.1) and low[right, 1] == 0
    # raised by the limits, the left arm goes up and the right one too
    joints = Body.open().rig().joints
    for side, j in (("left", 16), ("right", 17)):
        body = np.zeros((55, 3), np.float32)
        body[j, 2] = (high if side == "left" else low)[j, 2]
        model = Body.open().rig().model
        vertices = kernels.lbs(model, body, np.zeros(3, np.float32), np.zeros(0, np.float32))
        hand = np.flatnonzero(model.skin_index[:, 0] == JOINT_INDEX[f"{side}_wrist"])
        assert vertices[hand, 1].mean() > joints[15, 1]


def test_poses_stay_within_limits_unless_a_motion_leaves_them(avatar):
    still = [MotionSource(clip(10.0), avatar.rig)]
    sampler, rng = PoseSampler(avatar.rig, still), np.random.default_rng(2)
    poses = [sampler.draw(rng) for _ in range(200)]
    low, high = joint_limits()
    bodies = np.stack([p.body for p in poses])
    assert (bodies[:, :25] >= low[:25] - 1e-5).all() and (bodies[:, :25] <= high[:25] + 1e-5).all()
    assert bodies[:, 16].std(0).min() > 0.1  # shoulders do move
    assert np.abs(bodies[:, 25:]).max() < 3.5 and all(
        len(p.expression) == avatar.rig.expressions for p in poses
    )
    kneeling = np.zeros((50, 55, 3), np.float32)
    kneeling[:, 4, 0] = 2.6
    motion = Motion(body=kneeling, pelvis=np.zeros((50, 3), np.float32), fps=10.0, leg_length=0.8)
    knees = [
        PoseSampler(avatar.rig, [MotionSource(motion, avatar.rig)]).draw(rng).body[4, 0] for _ in range(50)
    ]
    assert max(knees) == pytest.approx(2.6)


def test_cameras_see_the_whole_person_from_all_around(avatar):
    size = (96, 128)
    sampler, rng = CameraSampler(avatar.rig, size), np.random.default_rng(0)
    pose = Pose()
    vertices = kernels.lbs(avatar.rig.model, pose.body, pose.transl, pose.expression)
    azimuths, framings = [], []
    for _ in range(150):
        camera, framing = sampler.draw(rng, pose)
        _, bounds = kernels.project(vertices, camera.matrix)
        x0, y0, x1, y1 = bounds
        extent = max((x1 - x0) / size[1], (y1 - y0) / size[0])
        if framing == FULL_BODY:
            assert min(x0, y0) >= 0 and x1 <= size[1] and y1 <= size[0] and 0.59 < extent < 0.87
        else:
            assert extent > 0.9
        eye = camera.position - vertices.mean(0)
        azimuths.append(np.arctan2(eye[0], eye[2]))
        framings.append(framing)
    assert np.histogram(azimuths, 6, (-np.pi, np.pi))[0].min() > 8
    assert set(framings) == {0, 1, 2} and 0.55 < np.mean(np.array(framings) == FULL_BODY) < 0.85


def test_a_longer_plan_begins_with_the_shorter_one(avatar, sources):
    a, b = planned(avatar, SMALL, sources), planned(avatar, Plan(7, 3, SMALL.size, SMALL.seed), sources)
    for key, array in a.items():
        np.testing.assert_array_equal(array, b[key][: len(array)], err_msg=key)
    assert a["split"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert not np.array_equal(a["poses"], planned(avatar, Plan(5, 3, SMALL.size, 5), sources)["poses"])


def test_the_teachers_pictures_are_a_capture(avatar, sources, tmp_path):
    capture = render_teacher(avatar, "texture", tmp_path / "t", SMALL, sources)
    assert (len(capture), capture.size, len(capture.frames("validation"))) == (8, (64, 48), 3)
    with Renderer(avatar, SMALL.size, straight=True, crop=False) as r:
        for i in (0, 7):
            np.testing.assert_array_equal(capture.image(i), r.render(capture.pose(i), capture.camera(i)).rgba)
    # a capture in turn gives poses
    poses = {float(p) for p in capture.poses[capture.split == 0][:, 16, 0]}
    rng = np.random.default_rng(0)
    assert all(float(CaptureSource(capture).pose(rng, False).body[16, 0]) in poses for _ in range(20))


def test_an_interrupted_teacher_goes_on_where_it_stopped(avatar, sources, tmp_path):
    folder = tmp_path / "t"

    def stopped(items):
        for n, i in enumerate(items):
            if n == 3:
                raise KeyboardInterrupt
            yield i

    with pytest.raises(KeyboardInterrupt):
        render_teacher(avatar, "texture", folder, SMALL, sources, progress=stopped)
    assert len(list((folder / "images").iterdir())) == 3
    with pytest.raises(InputError, match="5 of the 8 frames"):
        Capture.open(folder)
    first = (folder / "images" / "000000.png").stat().st_mtime_ns
    asked = []

    def seen(items):
        asked.extend(items)
        return items

    render_teacher(avatar, "texture", folder, SMALL, sources, progress=seen)
    assert asked == [3, 4, 5, 6, 7] and (folder / "images" / "000000.png").stat().st_mtime_ns == first
    asked.clear()
    assert (
        len(
            render_teacher(
                avatar, "texture", folder, Plan(6, 3, SMALL.size, SMALL.seed), sources, progress=seen
            )
        )
        == 9
    )
    assert asked == [8]


def test_pictures_of_something_else_are_not_mixed_in(avatar, sources, tmp_path):
    folder = tmp_path / "t"
    render_teacher(avatar, "texture", folder, SMALL, sources)
    for change, says in (
        (dict(renderer="grey"), "another teacher"),
        (dict(plan=Plan(5, 3, SMALL.size, 9)), "another seed"),
        (dict(plan=Plan(5, 3, (64, 64), 4)), "another seed, size"),
        (dict(plan=Plan(5, 4, SMALL.size, 4)), "another seed"),
        (dict(sources=[MotionSource(clip(9.0), avatar.rig)]), "set of poses"),
    ):
        with pytest.raises(InputError, match=says):
            render_teacher(
                **(
                    dict(avatar=avatar, renderer="texture", folder=folder, plan=SMALL, sources=sources)
                    | change
                )
            )
    (folder / "teacher.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        render_teacher(avatar, "texture", folder, SMALL, sources)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="no empty folder"):
        render_teacher(avatar, "texture", tmp_path / "full", SMALL, sources)
    with pytest.raises(InputError, match="the avatar has texture, grey"):
        render_teacher(avatar, "dinar", tmp_path / "n", SMALL, sources)
    with pytest.raises(InputError, match="no motion and no capture"):
        render_teacher(avatar, "texture", tmp_path / "n", SMALL, [])
    for wrong in (dict(training=0), dict(size=(16, 64)), dict(seed=-1)):
        with pytest.raises(InputError):
            Plan(**wrong)
