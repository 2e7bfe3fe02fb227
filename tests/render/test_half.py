"""Renderers of form 2: a network that takes and gives blocks of 2x2 pixels."""

import dataclasses
import json

import numpy as np
import pytest

from dinar_live import engines, kernels
from dinar_live.export.fit import half
from dinar_live.kernels.reference import half as reference
from dinar_live.runtime import Avatar, Body, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec, renderer_spec
from dinar_live.runtime.core.errors import BundleError, DinarError
from dinar_live.runtime.render import parity
from dinar_live.runtime.render.framing import whole_body_camera

pytest.importorskip("onnx")
SIZE = (200, 264)
RUNG = half.Rung("light", 16, 5, 1)


def spec(rung=RUNG, **options) -> RendererSpec:
    rng = np.random.default_rng(3)
    weights = half.random_weights(rung)
    weights["head"] *= 0.1
    return RendererSpec(
        rng.integers(0, 256, (64, 64, 3), np.uint8),
        model=half.build_onnx(weights),
        neural=rng.integers(0, 256, (32, 32, rung.neural), np.uint8),
        margin=half.reach(rung),
        stride=half.STRIDE,
        **options,
    )


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar("a", Body.open().rig(), {"light": spec()})


def renderer(avatar, size=SIZE, **options):
    return Renderer(
        avatar, size, **{"device": "cpu", "background_compile": False, "precision": "f32", **options}
    )


def poses(count=5):
    rng = np.random.default_rng(1)
    body = np.zeros((count, 55, 3), np.float32)
    body[:, [16, 17, 1, 2, 3]] = rng.normal(0, 0.5, (count, 5, 3))
    return [Pose(b, rng.normal(0, 0.2, 3).astype(np.float32)) for b in body]


def camera(avatar, **options):
    return whole_body_camera(avatar.rig, avatar.rig.joints[0], SIZE, **options)


def test_a_frame_is_what_the_references_make(avatar):
    pose, view, spec = poses()[1], camera(avatar), avatar.renderers["light"]
    with renderer(avatar, crop=False, depth=True, smooth_edges=False) as r:
        frame = r.render(pose, view)
    vertices = kernels.lbs(avatar.rig.model, pose.body, pose.transl, pose.expression)
    projective, _ = kernels.project(vertices, view.matrix)
    raster = kernels.rasterize(projective, avatar.rig.faces, SIZE)
    rig = avatar.rig
    blocks = reference.gather_half(
        raster.triangle_id,
        raster.barycentrics,
        rig.uv,
        rig.uv_faces,
        spec.float_texture(),
        spec.float_neural(),
    )
    with parity.reference_engine(spec.network) as engine:
        run = parity.on_host(engine.compile((1, SIZE[0] // 2, SIZE[1] // 2)))
        correction = run(blocks.transpose(2, 0, 1)[None].astype(np.float32))["correction"][0].transpose(
            1, 2, 0
        )
    want, depth = reference.compose_half(blocks, correction, depth=raster.depth)
    assert np.abs(frame.rgba - want).max() < 0.6 and (frame.rgba[..., 3] > 0).mean() > 0.05
    np.testing.assert_array_equal(frame.depth, depth.astype(np.float32))


def test_a_crop_is_the_whole_frame_and_frames_do_not_depend_on_those_before(avatar):
    pictures = []
    views = [camera(avatar, azimuth=a, fill=f) for a, f in ((0, 0.8), (1, 0.4), (2, 1.5), (3, 0.3), (4, 0.8))]
    for crop in (True, False):
        with renderer(avatar, crop=crop) as r:
            pictures.append([r.render(p, c).rgba.copy() for p, c in zip(poses(), views, strict=True)])
    fresh = []
    for p, c in zip(poses(), views, strict=True):
        with renderer(avatar, crop=False) as r:
            fresh.append(r.render(p, c).rgba.copy())
    for cropped, whole, own in zip(*pictures, fresh, strict=True):
        np.testing.assert_array_equal(whole, own)
        assert np.abs(cropped.astype(int) - whole).max() <= 1 and whole[..., 3].any()


def test_engines_and_layouts_agree(avatar):
    """OpenVINO takes channels last, torch does not."""
    frames = {}
    for engine in ("openvino", "torch"):
        with renderer(avatar, engine=engine) as r:
            frames[engine] = [r.render(p, camera(avatar)).rgba.copy() for p in poses(3)]
    for a, b in zip(*frames.values(), strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


@pytest.mark.parametrize("options", [dict(background=(1, 0, 0.5)), dict(straight=True)])
def test_options_reach_the_last_step(avatar, options):
    with renderer(avatar) as plain, renderer(avatar, **options) as other:
        a, b = (r.render(Pose(), camera(avatar)).rgba.copy() for r in (plain, other))
    alpha = a[..., 3:].astype(np.float64) / 255
    if "background" in options:
        want = a[..., :3] + (1 - alpha) * 255 * np.array(options["background"])
        assert np.abs(b[..., :3] - want).max() <= 1.5 and (b[..., 3] == 255).all()
    else:
        assert np.abs(b[..., :3] * alpha - a[..., :3]).max() <= 1.5 and np.array_equal(a[..., 3], b[..., 3])


def test_engines_with_channels_last_give_the_same(avatar):
    with engines.create_engine(avatar.renderers["light"].network, "openvino", "f32") as engine:
        planar, last = engine.compile((2, 24, 16)), engine.compile_channels_last((2, 24, 16))
        x = np.random.default_rng(0).normal(size=(2, 21, 24, 16)).astype(np.float32)
        want = parity.on_host(planar)(x)["correction"]
        assert last.inputs["features"].shape == (2, 24, 16, 21)
        got = parity.on_host(last)(x.transpose(0, 2, 3, 1))["correction"]
        np.testing.assert_allclose(got.transpose(0, 3, 1, 2), want, atol=1e-4)
    with (
        engines.create_engine(avatar.renderers["light"].network, "torch", "f32") as engine,
        pytest.raises(engines.EngineError, match="channels last"),
    ):
        engine.compile_channels_last((1, 16, 16))


def test_parity_sees_a_wrong_network(avatar):
    own, key = avatar.renderers["light"], (1, 192, 128)
    other = spec(dataclasses.replace(RUNG, head=3))
    runs = []
    for model in (own.network, own.network, other.network):
        runs.append(parity.on_host(parity.reference_engine(model).compile(own.network_key(key))))
    same, wrong = (
        parity.measure(own, parity.inputs_for(avatar, own, key, SIZE), runs[0], run) for run in runs[1:]
    )
    assert same.passes("f32") and same.views == 2 and not wrong.passes("bf16")


def test_a_network_of_another_form_is_refused(avatar):
    own = avatar.renderers["light"]
    for wrong, says in (
        (dataclasses.replace(own, neural=np.zeros((8, 8, 4), np.uint8)), "features with 20 channels"),
        (
            RendererSpec(np.zeros((8, 8, 18), np.uint8), model=own.network, stride=8),
            "rgb with 3 and alpha with 1",
        ),
    ):
        with pytest.raises(DinarError, match=says):
            renderer(dataclasses.replace(avatar, renderers={"light": wrong}))


def test_bundles_of_both_forms(avatar, tmp_path):
    first = RendererSpec(np.zeros((8, 8, 4), np.float16), model=b"onnx", stride=8)
    both = dataclasses.replace(avatar, renderers={"light": avatar.renderers["light"], "old": first})
    both.save(tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "avatar.json").read_text())
    assert manifest["renderers"]["light"]["form"] == 2 and "form" not in manifest["renderers"]["old"]
    got = Avatar.load(tmp_path / "a").renderers
    assert got["light"].type is renderer_spec.HALF and got["old"].type is renderer_spec.NETWORK
    for name in ("texture", "neural"):
        np.testing.assert_array_equal(getattr(got["light"], name), getattr(avatar.renderers["light"], name))
    assert got["light"].features == 21 and got["old"].features == 7
    for form, says in ((3, "this version reads 1, 2"), (1, "expected .'texture'. for form 1"), ("2", "form")):
        manifest["renderers"]["light"]["form"] = form
        (tmp_path / "a" / "avatar.json").write_text(json.dumps(manifest))
        with pytest.raises(BundleError, match=says):
            Avatar.load(tmp_path / "a")


def test_wrong_specs_are_refused(avatar):
    own = avatar.renderers["light"]
    for changes, says in (
        (dict(model=None), "no model.onnx"),
        (dict(neural=np.zeros((8, 8, 49), np.uint8)), "C <= 48"),
        (dict(neural=np.zeros((8, 1, 4), np.uint8)), "2x2 texels"),
        (dict(neural=np.zeros((8, 8, 4), np.int32)), "neural: got dtype"),
        (dict(neural=np.full((8, 8, 4), np.nan, np.float32)), "neural"),
        (dict(texture=np.zeros((8, 8, 4), np.uint8)), "3 channels"),
        (dict(stride=1), "from 2 to 64"),
        (dict(samples=2), "samples"),
    ):
        with pytest.raises(BundleError, match=says):
            dataclasses.replace(own, **changes)
    with pytest.raises(BundleError, match="no neural texture"):
        dataclasses.replace(own, neural=None).float_neural()
