"""The frame pipeline: against the float64 references stage by stage, cropping, rings, networks, and what it
refuses."""

import numpy as np
import pytest

from dinar_live import kernels
from dinar_live.engines import EngineError
from dinar_live.kernels.reference import compose as reference_compose
from dinar_live.kernels.reference import gather as reference_gather
from dinar_live.kernels.reference import lbs as reference_lbs
from dinar_live.kernels.reference import rasterize as reference_rasterize
from dinar_live.runtime import Avatar, Body, Camera, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.render.frame import STAGES
from dinar_live.runtime.render.framing import whole_body_camera

onnx = pytest.importorskip("onnx")
SIZE = (96, 128)
CHANNELS = 5


def tiny_network(channels=CHANNELS, outputs=("rgb", "alpha")) -> bytes:
    """Two 3x3 convolutions (receptive radius 2) and sigmoids; the contract of a renderer network."""
    h, n = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(0)
    weights = [
        n.from_array(rng.normal(0, 0.3, s).astype(np.float32), k)
        for k, s in (("w1", (8, channels + 3, 3, 3)), ("w2", (4, 8, 3, 3)), ("b2", (4,)))
    ]
    weights += [
        n.from_array(np.array(v, np.int64), k)
        for k, v in (("zero", [0]), ("three", [3]), ("four", [4]), ("axis", [1]))
    ]
    nodes = [
        h.make_node("Conv", ["features", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["c1"], ["r1"]),
        h.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        h.make_node("Sigmoid", ["c2"], ["s"]),
        h.make_node("Slice", ["s", "zero", "three", "axis"], [outputs[0]]),
        h.make_node("Slice", ["s", "three", "four", "axis"], [outputs[1]]),
    ]
    info = h.make_tensor_value_info
    graph = h.make_graph(
        nodes,
        "tiny",
        [info("features", 1, ["N", channels + 3, "H", "W"])],
        [info(outputs[0], 1, ["N", 3, "H", "W"]), info(outputs[1], 1, ["N", 1, "H", "W"])],
        weights,
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=10).SerializeToString()


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    rng = np.random.default_rng(1)
    return Avatar(
        "a",
        Body.open().rig(),
        {
            "texture": RendererSpec(rng.integers(0, 256, (64, 64, 3), np.uint8), samples=2),
            "plain": RendererSpec(rng.random((64, 64, 3), np.float32)),
            "light": RendererSpec(
                rng.normal(size=(64, 64, CHANNELS)).astype(np.float32),
                model=tiny_network(),
                margin=4,
                stride=8,
            ),
            "hard": RendererSpec(
                rng.normal(size=(64, 64, CHANNELS)).astype(np.float32),
                model=tiny_network(),
                hardsegm=True,
                threshold=0.5,
                margin=4,
                stride=8,
            ),
        },
    )


def random_pose(seed=0):
    rng = np.random.default_rng(seed)
    return Pose(rng.normal(0, 0.2, (55, 3)), rng.normal(0, 0.1, 3), rng.random(62) * 0.3)


def camera_for(avatar, size=SIZE, **kwargs):
    return whole_body_camera(avatar.rig, avatar.rig.joints[0], size, **kwargs)


@pytest.fixture(scope="module")
def traced(avatar):
    """Pose, camera and the float64 reference's view of them (ray casting of every triangle: some seconds)."""
    pose, camera, model = random_pose(), camera_for(avatar), avatar.rig.model
    vertices, _ = reference_lbs.lbs(model, pose.body, pose.transl, pose.expression)
    projective, _ = reference_lbs.project(vertices, camera.matrix, kernels.NEAR)
    return pose, camera, reference_rasterize.rasterize(projective, avatar.rig.faces, SIZE)


def reference_features(avatar, renderer, raster):
    rig, texture = avatar.rig, avatar.renderers[renderer].texture
    return reference_gather.gather_uv(raster.triangle_id, raster.barycentrics, rig.uv, rig.uv_faces, texture)


def test_texture_renderer_equals_the_references(avatar, traced):
    """The whole pipeline in float64 numpy, off the pixels that the reference calls uncertain."""
    pose, camera, raster = traced
    features = reference_features(avatar, "plain", raster)
    want, depth = reference_compose.compose(features[:3], features[5], depth=raster.depth)
    with Renderer(avatar, SIZE, renderer="plain", depth=True, smooth_edges=False) as r:
        frame = r.render(pose, camera)
    sure = ~raster.uncertain
    assert (raster.triangle_id >= 0).sum() > 500 and sure.mean() > 0.9
    assert (
        np.abs(want - frame.rgba)[sure].max() < 1
    )  # random texels: f32 uv moves a colour by less than a step
    np.testing.assert_allclose(frame.depth[sure], depth[sure], rtol=1e-4)


def test_network_sees_the_features_of_the_reference(avatar, traced):
    pose, camera, raster = traced
    with Renderer(
        avatar, SIZE, renderer="light", precision="f32", crop=False, engine="torch", smooth_edges=False
    ) as r:
        r.render(pose, camera)
        got = r._pipeline._shader.sessions.get(1, *SIZE)[1].inputs["features"][0].copy()
    sure = ~raster.uncertain
    np.testing.assert_allclose(got[:, sure], reference_features(avatar, "light", raster)[:, sure], atol=5e-3)
    assert (got[CHANNELS + 2] == 0).any() and (got[CHANNELS][got[CHANNELS + 2] == 0] == -10).all()


@pytest.mark.parametrize("renderer", ["texture", "plain", "light", "hard"])
@pytest.mark.parametrize("place", [{}, {"fill": 1.6}, {"fill": 0.3, "azimuth": 2.0}])
def test_cropping_changes_nothing(avatar, renderer, place):
    pose, camera = random_pose(3), camera_for(avatar, **place)
    with (
        Renderer(avatar, SIZE, renderer=renderer, precision="f32", background_compile=False) as cropped,
        Renderer(avatar, SIZE, renderer=renderer, precision="f32", crop=False) as full,
    ):
        a, b = cropped.render(pose, camera), full.render(pose, camera)
        inside = np.zeros(SIZE, bool)
        w = a.window
        inside[w.y0 : w.y0 + w.height, w.x0 : w.x0 + w.width] = True
        if renderer in ("texture", "plain"):
            np.testing.assert_array_equal(a.rgba, b.rgba)
            assert w.height * w.width < SIZE[0] * SIZE[1] or place.get("fill", 0) > 1
        else:  # a random network's alpha is not 0 on the background; the body itself must not change
            body = np.abs(a.rgba.astype(int) - b.rgba)[inside]
            margin_free = np.zeros(SIZE, bool)
            y0, x0 = (0 if w.y0 == 0 else w.y0 + 2), (0 if w.x0 == 0 else w.x0 + 2)
            margin_free[
                y0 : w.y0 + w.height - (2 if w.y0 + w.height < SIZE[0] else 0),
                x0 : w.x0 + w.width - (2 if w.x0 + w.width < SIZE[1] else 0),
            ] = True
            assert np.abs(a.rgba.astype(int) - b.rgba)[margin_free].max() <= 1, body.max()


def test_sizes_that_are_no_multiple_of_the_stride(avatar):
    size = (75, 101)
    with Renderer(avatar, size, renderer="light", precision="f32", background_compile=False) as r:
        frame = r.render(random_pose(), camera_for(avatar, size))
        assert frame.rgba.shape == (75, 101, 4) and frame.rgba.any()
    with Renderer(avatar, (1, 1), renderer="texture") as r:
        assert r.render(Pose(), camera_for(avatar, (1, 1))).rgba.shape == (1, 1, 4)


@pytest.mark.parametrize("renderer", ["light", "hard"])
def test_engines_agree(avatar, renderer):
    pose, camera = random_pose(2), camera_for(avatar)
    with (
        Renderer(avatar, SIZE, renderer=renderer, engine="torch") as a,
        Renderer(avatar, SIZE, renderer=renderer, engine="openvino", precision="f32") as b,
    ):
        x, y = a.render(pose, camera).rgba.astype(int), b.render(pose, camera).rgba.astype(int)
    assert np.abs(x - y).max() <= 1


def test_a_frame_is_valid_until_two_renders_later(avatar):
    cameras = [camera_for(avatar, azimuth=a) for a in (0, 1, 2, 3)]
    with Renderer(avatar, SIZE) as r:
        first = r.render(Pose(), cameras[0])
        kept = first.copy()
        r.render(Pose(), cameras[1])
        r.render(Pose(), cameras[2])
        np.testing.assert_array_equal(first.rgba, kept.rgba)
        r.render(Pose(), cameras[3])
        assert (first.rgba != kept.rgba).any()


def test_nothing_in_view_is_an_empty_frame(avatar):
    away = Camera.look_at([0, 0, 5], [0, 0, 9], SIZE)
    aside = Camera.look_at([9, 0, 5], [9, 0, 0], SIZE, fov_y=0.1)
    with Renderer(avatar, SIZE, depth=True) as r:
        for camera in (camera_for(avatar), away, aside):
            frame = r.render(Pose(), camera)
        assert not frame.rgba.any() and not frame.depth.any() and set(frame.timings) >= {"total"}
    with Renderer(avatar, SIZE, background=(1, 0.5, 0)) as r:
        np.testing.assert_array_equal(
            r.render(Pose(), aside).rgba, np.broadcast_to(np.uint8([255, 128, 0, 255]), (*SIZE, 4))
        )


def test_camera_inside_the_body_does_not_crash(avatar):
    inside = Camera.look_at([0, 0, 0.02], [0, 0.5, 1], SIZE)
    for renderer in ("texture", "light"):
        with Renderer(avatar, SIZE, renderer=renderer, background_compile=False) as r:
            assert r.render(Pose(), inside).rgba.shape == (*SIZE, 4)


def test_depth_is_metres_to_the_surface(avatar):
    camera = camera_for(avatar)
    with Renderer(avatar, SIZE, depth=True) as r:
        frame = r.render(Pose(), camera)
    assert (frame.depth > 0).sum() == (frame.rgba[..., 3] > 0).sum()
    z = avatar.rig.model.vertices @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
    assert z.min() - 0.01 < frame.depth[frame.depth > 0].min() and frame.depth.max() < z.max() + 0.01


def test_straight_and_background(avatar):
    camera = camera_for(avatar)
    with (
        Renderer(avatar, SIZE) as a,
        Renderer(avatar, SIZE, straight=True) as b,
        Renderer(avatar, SIZE, background=(0, 1, 0)) as c,
    ):
        pre, straight, over = (r.render(Pose(), camera).rgba.astype(int) for r in (a, b, c))
    alpha = pre[..., 3:]
    edge = ((alpha > 0) & (alpha < 255))[..., 0]
    assert edge.any()
    assert np.abs(straight[..., :3] * alpha / 255 - pre[..., :3])[edge].max() <= 1.01
    assert (
        np.abs(pre[..., :3] + (255 - alpha) * [0, 1, 0] - over[..., :3]).max() <= 1
        and (over[..., 3] == 255).all()
    )


def test_timings_add_up(avatar):
    with Renderer(avatar, SIZE, renderer="light", background_compile=False) as r:
        t = r.render(Pose(), camera_for(avatar)).timings
    assert list(t) == [*STAGES, "total"] and sum(t[s] for s in STAGES) == pytest.approx(t["total"], rel=0.05)


def test_no_frame_waits_for_the_compiler(avatar):
    """With background compilation a new window size is served by a larger instance at once, with the same
    picture."""
    camera = camera_for(avatar, fill=0.3)
    with (
        Renderer(avatar, SIZE, renderer="light", precision="f32") as r,
        Renderer(avatar, SIZE, renderer="light", precision="f32", crop=False) as full,
    ):
        first = r.render(Pose(), camera).copy()
        assert first.window.height >= 64
        np.testing.assert_allclose(first.rgba, full.render(Pose(), camera).rgba, atol=1)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"size": (0, 5)}, "size"),
        ({"size": 512}, "size"),
        ({"size": (5000, 5)}, "size"),
        ({"rasterizer": "magic"}, "rasterizer"),
        ({"renderer": "dinar"}, "renderer.*texture"),
        ({"background": (2, 0, 0)}, "background"),
        ({"renderer": "light", "engine": "abacus"}, "abacus"),
        ({"renderer": "light", "precision": "f7"}, "f7"),
        ({"threads": -1}, "threads: got -1"),
        ({"threads": 2.5}, "threads: got 2.5"),
    ],
)
def test_bad_options(avatar, arguments, says):
    with pytest.raises(DinarError, match=says):
        Renderer(avatar, **arguments)


@pytest.mark.parametrize(
    "model, says",
    [
        (b"garbage", "light"),
        (tiny_network(channels=CHANNELS + 1), "features"),
        (tiny_network(outputs=("colour", "alpha")), "rgb"),
    ],
)
def test_bad_networks(avatar, model, says):
    broken = Avatar(
        "b", avatar.rig, {"light": RendererSpec(avatar.renderers["light"].texture, model=model, stride=8)}
    )
    with pytest.raises(DinarError, match=says):
        Renderer(broken, SIZE)


def test_bad_calls(avatar):
    r = Renderer(avatar, SIZE)
    with pytest.raises(InputError, match="expression"):
        r.render(Pose(expression=np.zeros(63)), camera_for(avatar))
    r.close()
    with pytest.raises(DinarError, match="close"):
        r.render(Pose(), camera_for(avatar))


def test_window_is_what_render_works_on(avatar):
    away = Camera.look_at((0, 0, 30), (60, 0, 30), SIZE)
    with Renderer(avatar, SIZE, renderer="light", background_compile=False) as r:
        for pose, camera in (
            (Pose(), camera_for(avatar)),
            (random_pose(), camera_for(avatar, fill=0.3)),
            (Pose(), away),
        ):
            assert r.window(pose, camera) == r.render(pose, camera).window
    assert r.size == SIZE
    with pytest.raises(DinarError, match="close"):
        r.window(Pose(), away)


@pytest.mark.parametrize("error", [EngineError, ValueError])
def test_failures_of_kernels_and_engines_are_ours(avatar, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error("this failed")

    with Renderer(avatar, SIZE, renderer="light") as r:
        monkeypatch.setattr(kernels, "gather_uv", fail)
        with pytest.raises(DinarError, match="renderer 'light'.*this failed"):
            r.render(Pose(), camera_for(avatar))


def test_frames_print_in_one_line(avatar):
    with Renderer(avatar, SIZE) as r:
        assert "array" not in repr(r.render(Pose(), camera_for(avatar)))


def test_bounds_and_near_agree_with_the_kernels(avatar):
    vertices = avatar.rig.model.vertices
    camera = camera_for(avatar)
    projective, bounds = kernels.project(vertices, camera.matrix)
    xy = projective[:, :2] / projective[:, 2:]
    np.testing.assert_allclose(bounds, [*xy.min(0), *xy.max(0)], atol=1e-2)
