"""The scenarios: what they render, what they refuse as invalid, where the time goes."""

import dataclasses
import time

import numpy as np
import pytest

from dinar_live.runtime import Renderer
from dinar_live.runtime.bench import images
from dinar_live.runtime.bench.neighbours import Neighbours
from dinar_live.runtime.bench.paced import run_paced, tick_count
from dinar_live.runtime.bench.served import Served
from dinar_live.runtime.bench.single import run_single
from dinar_live.runtime.bench.stats import stages
from dinar_live.runtime.bench.stereo import eyes, run_stereo
from dinar_live.runtime.bench.workload import shots, window_examples
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.render.frame import STAGES
from dinar_live.runtime.render.window import Window
from dinar_live.runtime.service.avatar_service import AvatarService
from dinar_live.runtime.stream import Server

SIZE = (160, 160)
OPTIONS = {
    "size": SIZE,
    "renderer": "auto",
    "engine": "auto",
    "rasterizer": "auto",
    "precision": "auto",
    "threads": 1,
}


@pytest.fixture(scope="module")
def avatar(avatar_with_checks):
    return avatar_with_checks


@pytest.fixture(scope="module")
def motion():
    return demo_motion()


class Wrong:
    """An AvatarService whose pictures are not what they should be, or late."""

    def __init__(self, service, change):
        self._service, self._change = service, change

    def render(self, request):
        frame = self._service.render(request)
        return dataclasses.replace(frame, rgba=self._change(frame.rgba))


def paced(avatar, motion, rate=30.0, seconds=1.0, change=None):
    with AvatarService(avatar, **OPTIONS) as service:
        render = service.render if change is None else Wrong(service, change).render
        with Server(render, service.capabilities()) as server:
            return run_paced(Served(avatar, motion, server.endpoint, OPTIONS), rate, seconds)


def test_the_whole_body_stands_at_85_percent_of_the_height(avatar, motion):
    work = shots(avatar, motion, SIZE, 8, 8 / motion.duration)
    assert len(work) == 8
    with Renderer(avatar, SIZE) as renderer:
        rgba = [renderer.render(*shot).rgba.copy() for shot in work]
    rows = np.flatnonzero((rgba[0][..., 3] > 127).any(axis=1))
    assert 0.80 < (rows[-1] - rows[0] + 1) / SIZE[0] < 0.88  # the camera leaves some room for hair
    for picture in rgba:
        alpha = picture[..., 3]
        assert not (alpha[0].any() or alpha[-1].any() or alpha[:, 0].any() or alpha[:, -1].any())
        assert images.coverage_fault(picture) is None


def test_a_travelling_body_stays_in_view(avatar, motion):
    travel = np.linspace(0, 20, motion.frames)[:, None] * np.float32([1, 0, 0])
    away = dataclasses.replace(motion, pelvis=motion.pelvis + travel, cyclic=False)
    with Renderer(avatar, SIZE) as renderer:
        for shot in shots(avatar, away, SIZE, 5, 5 / motion.duration):
            assert images.coverage_fault(renderer.render(*shot).rgba) is None


def test_windows_only_matter_to_networks(avatar, motion):
    work = shots(avatar, motion, SIZE, 30, 30 / motion.duration)
    with Renderer(avatar, SIZE) as renderer:
        assert window_examples(renderer, work) == {}

    class WithNetwork:
        engine_info = "some engine"

        def window(self, pose, camera):
            return (
                None
                if pose is work[0][0]
                else Window(0, 0, 64, 160)
                if pose is not work[7][0]
                else Window(8, 0, 128, 160)
            )

    assert window_examples(WithNetwork(), work) == {(160, 64): 1, (160, 128): 7}


def test_single_accounts_for_all_of_the_time(avatar, motion):
    m = run_single(avatar, motion, 20, OPTIONS)
    assert m.faults == [] and len(m.latency_ms) == 20
    assert list(m.stages_ms) == [*(s for s in STAGES if s != "network"), "other"]
    np.testing.assert_allclose(sum(m.stages_ms.values()), m.latency_ms)
    assert (m.stages_ms["other"] >= 0).all() and np.median(m.stages_ms["other"]) < np.median(m.latency_ms) / 4
    assert m.fps == pytest.approx(1000 / m.latency_ms.mean())
    assert m.check_difference.psnr == m.frame_difference.psnr == images.MAX_PSNR


def test_single_without_check_pictures_says_so(avatar, motion):
    m = run_single(dataclasses.replace(avatar, checks=None), motion, 4, OPTIONS)
    assert m.faults == [] and m.check_difference is None and "no check pictures" in m.notes[0]


def test_single_that_renders_something_else_is_invalid(avatar, motion):
    changed = dataclasses.replace(
        avatar,
        checks=dataclasses.replace(avatar.checks, rgba={"texture": 255 - avatar.checks.rgba["texture"]}),
    )
    assert "check pictures" in run_single(changed, motion, 3, OPTIONS).faults[0]


def test_an_empty_avatar_is_invalid(avatar, motion):
    rig = avatar.rig
    inside_out = dataclasses.replace(rig, faces=np.zeros_like(rig.faces))  # no triangle has an area
    m = run_single(dataclasses.replace(avatar, rig=inside_out, checks=None), motion, 3, OPTIONS)
    assert "a frame is empty" in m.faults[0]


def test_paced_frames_are_right_and_on_time_is_judged(avatar, motion):
    m = paced(avatar, motion, rate=20, seconds=1.5)
    assert m.faults == []
    assert m.frames + m.extra["dropped"] == m.staleness.ticks == len(m.latency_ms) == 30
    np.testing.assert_allclose(sum(m.stages_ms.values()), m.latency_ms, atol=1e-6)
    assert all((m.stages_ms[s] >= 0).all() for s in ("schedule", "wait", "encode", "decode", "transport"))
    assert m.frame_difference.psnr > 60  # what the JPEG loses is no difference
    assert 0 < m.extra["first_frame_after_s"] < 5


def test_paced_keeps_its_pace_and_charges_stalls_to_every_request(avatar, motion):
    calls = []

    def stall(rgba):
        calls.append(0)
        if len(calls) > 40:  # near the end of the warm-up
            time.sleep(0.1)
        return rgba

    began = time.monotonic()
    m = paced(avatar, motion, rate=50, seconds=2, change=stall)
    assert time.monotonic() - began < 60
    assert m.extra["dropped"] > 50 and m.staleness.stale > 50 and m.staleness.longest > 5
    assert m.latency_ms.min() > 100
    assert m.fps < 12


def test_paced_wrong_and_empty_pictures_are_invalid(avatar, motion):
    assert any(
        "from its f32 reference" in f
        for f in paced(avatar, motion, change=lambda rgba: np.ascontiguousarray(rgba[:, ::-1])).faults
    )
    assert "a frame is empty" in paced(avatar, motion, change=lambda rgba: np.zeros_like(rgba)).faults[0]


def test_neighbours_are_there_and_told_of(avatar, motion):
    with (
        AvatarService(avatar, **OPTIONS) as service,
        Server(service.render, service.capabilities()) as server,
    ):
        m = run_paced(Served(avatar, motion, server.endpoint, OPTIONS), 15.0, 2.0, neighbours=True)
        stats = server.stats()
    others = m.extra["neighbours"]
    assert m.scenario == "neighbours" and m.faults == []
    assert others["asked"] > 3 and others["reads"] >= 1 and others["age_ms"]["p50"] > 0
    assert stats["frames"] > len(m.latency_ms) + others["reads"]


def test_company_that_cannot_start_is_an_error():
    with pytest.raises(DinarError, match="could not start"), Neighbours("nonsense", SIZE, 15.0):
        pass


def test_stereo(avatar, motion):
    with (
        AvatarService(avatar, **OPTIONS) as service,
        Server(service.render, service.capabilities()) as server,
    ):
        m = run_stereo(Served(avatar, motion, server.endpoint, OPTIONS), 12)
    assert m.scenario == "stereo" and m.faults == [] and m.frame_difference.psnr > 40 and m.fps > 0
    assert len(m.latency_ms) == 12 - m.extra["dropped"] > 0
    assert np.allclose(sum(m.stages_ms.values()), m.latency_ms, atol=1e-3)


def test_two_eyes_are_64_mm_apart_and_look_the_same_way(avatar, motion):
    ((_, camera),) = shots(avatar, motion, SIZE, 1, 1.0)
    left, right = eyes(camera)
    to_right = camera.world_to_camera[0, :3]
    np.testing.assert_allclose(right.position - left.position, 0.064 * to_right, atol=1e-6)
    np.testing.assert_allclose((left.position + right.position) / 2, camera.position, atol=1e-6)
    np.testing.assert_array_equal(left.world_to_camera[:3, :3], right.world_to_camera[:3, :3])


def test_stereo_wrong_pictures_are_invalid(avatar, motion):
    def swapped(request):
        return service.render(request)[::-1]

    with AvatarService(avatar, **OPTIONS) as service, Server(swapped, service.capabilities()) as server:
        m = run_stereo(Served(avatar, motion, server.endpoint, OPTIONS), 4)
    assert any("from its f32 reference" in f for f in m.faults)


def test_a_server_that_fails_is_an_error_not_a_figure(avatar, motion):
    def fail(rgba):
        raise ValueError("broken")

    with pytest.raises(DinarError, match="renderer failed"):
        paced(avatar, motion, change=fail)


def test_a_server_that_dies_ends_the_run_at_once(avatar, motion):
    def gone():
        raise DinarError("the server ended")

    with (
        AvatarService(avatar, **OPTIONS) as service,
        Server(service.render, service.capabilities()) as server,
    ):
        began = time.monotonic()
        with pytest.raises(DinarError, match="the server ended"):
            run_paced(Served(avatar, motion, server.endpoint, OPTIONS, alive=gone), 30, 60)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "rate, seconds", [(0, 1), (30, 0), (30, -1), (5000, 1), (1, 1), (float("nan"), 1), (30, float("inf"))]
)
def test_rates_that_make_no_sense(rate, seconds):
    with pytest.raises(InputError, match="--rate"):
        tick_count(rate, seconds)


def test_paced_stages_by_hand():
    ms = 1_000_000
    times = np.array(
        [[1 * ms, 900 * ms, 910 * ms, 13 * ms, 15 * ms]]
    )  # the server's clock is far from the client's
    timings = [
        {
            "wait": 0.5,
            "lbs": 1.0,
            "rasterize": 2.0,
            "compose": 1.0,
            "total": 4.5,
            "render": 5.0,
            "encode": 2.0,
        }
    ]
    got = {name: float(v[0]) for name, v in stages(np.array([0]), times, timings).items()}
    assert got["schedule"] == 1 and got["decode"] == 2 and got["encode"] == 2 and got["wait"] == 0.5
    assert got["server"] == pytest.approx(10 - 0.5 - 4 - 2)
    assert got["transport"] == pytest.approx(12 - 10)
    assert sum(got.values()) == pytest.approx(15)


def test_compare_and_coverage():
    a = np.zeros((64, 64, 4), np.uint8)
    a[16:48, 24:40] = 200
    assert images.compare(a, a) == images.Difference(images.MAX_PSNR, 0)
    b = a.copy()
    b[16:48, 24:40] += 10
    assert (
        images.compare(b, a).psnr == pytest.approx(10 * np.log10(255**2 / 100))
        and images.compare(b, a).max_abs == 10
    )
    b = a.copy()
    b[0, 0] = 255  # what the reference does not cover counts too
    assert images.compare(b, a).max_abs == 255
    assert images.coverage_fault(a) is None
    assert "empty" in images.coverage_fault(np.zeros_like(a))
    assert "flooded" in images.coverage_fault(np.full_like(a, 255))
    narrow = np.zeros((200, 50, 4), np.uint8)
    narrow[20:180, :] = 255
    assert images.coverage_fault(narrow) is None


def test_judge():
    good, bad = images.Difference(45.0, 3), images.Difference(20.0, 90)
    assert images.judge(good, good) == [] == images.judge(None, good)
    assert len(images.judge(bad, bad)) == 2
    assert "no frame" in images.judge(good, None)[0]
