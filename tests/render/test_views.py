"""Renderer.render_views: two cameras of one pose give what two renderers would."""

import time

import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.framing import whole_body_camera

onnx = pytest.importorskip("onnx")
SIZE = (96, 128)
CHANNELS = 5
IN_FRONT, ASIDE = (0.1, 0, 2.6), (9.0, 0, 2.6)  # metres from the pelvis


def small_unet() -> bytes:
    """Two levels with a skip, no biases, clamped alpha: a crop with a margin of 16 px changes nothing. N, H,
    W symbolic."""
    h, n = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(0)
    shapes = {"w1": (16, CHANNELS + 3, 3, 3), "w2": (16, 16, 3, 3), "w3": (4, 16, 3, 3)}
    weights = [n.from_array(rng.normal(0, 0.15, s).astype(np.float32), k) for k, s in shapes.items()]
    stem = rng.normal(0, 0.3, shapes["w1"]).astype(np.float32)
    stem[:, CHANNELS : CHANNELS + 2] = 0
    weights[0] = n.from_array(stem, "w1")
    weights += [
        n.from_array(np.array(v, np.int64), k)
        for k, v in (("zero", [0]), ("three", [3]), ("four", [4]), ("axis", [1]))
    ]
    weights += [n.from_array(np.float32(v), k) for k, v in (("low", 0), ("high", 1))]
    weights.append(n.from_array(np.float32([1, 1, 2, 2]), "twice"))
    nodes = [
        h.make_node("Conv", ["features", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["c1"], ["r1"]),
        h.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2]),
        h.make_node("Relu", ["c2"], ["r2"]),
        h.make_node(
            "Resize",
            ["r2", "", "twice"],
            ["u"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        h.make_node("Add", ["u", "r1"], ["s"]),
        h.make_node("Conv", ["s", "w3"], ["c3"], pads=[1, 1, 1, 1]),
        h.make_node("Clip", ["c3", "low", "high"], ["o"]),
        h.make_node("Slice", ["o", "zero", "three", "axis"], ["rgb"]),
        h.make_node("Slice", ["o", "three", "four", "axis"], ["alpha"]),
    ]
    info = h.make_tensor_value_info
    graph = h.make_graph(
        nodes,
        "unet",
        [info("features", 1, ["N", CHANNELS + 3, "H", "W"])],
        [info("rgb", 1, ["N", 3, "H", "W"]), info("alpha", 1, ["N", 1, "H", "W"])],
        weights,
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=10).SerializeToString()


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    rng = np.random.default_rng(1)
    neural = rng.random((64, 64, CHANNELS), np.float32)
    return Avatar(
        "a",
        Body.open().rig(),
        {
            "texture": RendererSpec(rng.integers(0, 256, (64, 64, 3), np.uint8), samples=2),
            "light": RendererSpec(neural, model=small_unet(), hardsegm=True, margin=16, stride=8),
        },
    )


def pose(seed=0) -> Pose:
    rng = np.random.default_rng(seed)
    return Pose(rng.normal(0, 0.2, (55, 3)), rng.normal(0, 0.1, 3), rng.random(62) * 0.3)


def eye(avatar, position=IN_FRONT, side=1) -> Camera:
    """One eye of a headset: an asymmetric frustum, wider on the outer side (side -1 = left, 1 = right)."""
    fov = (-0.55, 0.35, 0.6, -0.65) if side < 0 else (-0.35, 0.55, 0.6, -0.65)
    position = avatar.rig.joints[0] + position + [0.032 * side, 0, 0]
    return Camera.from_openxr(position, (0, 0, 0, 1), fov, SIZE)


def assert_same(frames, singles):
    for view, single in zip(frames, singles, strict=True):
        np.testing.assert_array_equal(view.rgba, single.rgba)
        np.testing.assert_array_equal(view.depth, single.depth)


@pytest.mark.parametrize("renderer", ["texture", "light"])
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_views_equal_single_renders_bit_for_bit_in_f32(avatar, renderer, engine):
    options = dict(renderer=renderer, engine=engine, precision="f32", depth=True, background_compile=False)
    far = whole_body_camera(avatar.rig, avatar.rig.joints[0], SIZE, fill=0.4, azimuth=1.0)
    with Renderer(avatar, SIZE, **options) as pair, Renderer(avatar, SIZE, **options) as single:
        for cameras in ([eye(avatar, side=-1), eye(avatar, side=1)], [far, eye(avatar)], [eye(avatar), far]):
            singles = [single.render(pose(), camera).copy() for camera in cameras]
            frames = pair.render_views(pose(), cameras)
            assert all(frame.rgba[..., 3].any() for frame in frames)
            assert not np.array_equal(frames[0].rgba, frames[1].rgba)
            assert_same(frames, singles)
            assert [frame.window for frame in frames] == [one.window for one in singles]


@pytest.mark.parametrize("renderer", ["texture", "light"])
def test_a_view_without_the_avatar_is_blank_and_does_not_disturb_the_other(avatar, renderer):
    options = dict(
        renderer=renderer, precision="f32", depth=True, background=(1, 0.5, 0), background_compile=False
    )
    here, aside = eye(avatar), eye(avatar, ASIDE)
    blank = np.broadcast_to(np.uint8([255, 128, 0, 255]), (*SIZE, 4))
    with Renderer(avatar, SIZE, **options) as pair, Renderer(avatar, SIZE, **options) as single:
        expected = single.render(pose(), here).copy()
        for _ in range(4):  # every slot of the ring had a body in it before
            pair.render_views(pose(), [here, here])
        for cameras, seen in (([here, aside], (0,)), ([aside, here], (1,)), ([aside, aside], ())):
            frames = pair.render_views(pose(), cameras)
            for i, frame in enumerate(frames):
                if i in seen:
                    assert_same([frame], [expected])
                else:
                    assert frame.window is None and not frame.depth.any()
                    np.testing.assert_array_equal(frame.rgba, blank)


def test_the_body_is_skinned_once_and_the_network_runs_for_one_view_after_the_other(avatar, monkeypatch):
    calls = []
    real = kernels.lbs
    monkeypatch.setattr(kernels, "lbs", lambda *a, **k: calls.append("lbs") or real(*a, **k))
    with Renderer(avatar, SIZE, renderer="light", engine="torch", background_compile=False) as r:
        cameras = [eye(avatar, side=-1), eye(avatar, side=1)]
        r.render_views(pose(), cameras)
        assert {key[0] for key in r._pipeline._shader.sessions._ready} == {1}
        for session in r._pipeline._shader.sessions._ready.values():
            monkeypatch.setattr(
                session, "enqueue", lambda enqueue=session.enqueue: calls.append("network") or enqueue()
            )
        calls.clear()
        frames = r.render_views(pose(), cameras)
    assert calls == ["lbs", "network", "network"] and frames[0].timings == frames[1].timings


def test_frames_of_a_call_stay_valid_until_two_calls_later(avatar):
    options = dict(renderer="texture", depth=True)
    with Renderer(avatar, SIZE, **options) as r:
        pairs = []
        for i in range(3):
            frames = r.render_views(pose(i), [eye(avatar, side=-1), eye(avatar, side=1)])
            pairs.append((frames, [f.copy() for f in frames]))
        for frames, copies in pairs:
            assert_same(frames, copies)
        r.render(pose(5), eye(avatar))
        assert not np.array_equal(pairs[0][0][0].rgba, pairs[0][1][0].rgba)


def test_no_pair_waits_for_the_compiler(avatar, monkeypatch):
    """Until the instances for their windows are ready they go through that for the whole picture, with the
    same pictures."""
    cameras = [eye(avatar, side=-1), eye(avatar, side=1)]
    options = dict(renderer="light", precision="f32", depth=True)
    with (
        Renderer(avatar, SIZE, **options, background_compile=False) as single,
        Renderer(avatar, SIZE, **options) as r,
    ):
        singles = [single.render(pose(), camera).copy() for camera in cameras]
        deadline = time.monotonic() + 90
        while True:
            frames = r.render_views(pose(), cameras)
            assert_same(frames, singles)
            if [frame.window for frame in frames] == [one.window for one in singles]:
                break
            assert time.monotonic() < deadline, "the windows' own instances were never compiled"
            time.sleep(0.01)


def test_how_many_cameras(avatar):
    with Renderer(avatar, SIZE) as r:
        for count in (0, 3):
            with pytest.raises(InputError, match=f"cameras: got {count}, expected 1 to 2"):
                r.render_views(pose(), [eye(avatar)] * count)
