"""RenderOptions: one set of options for Renderer, AvatarService and the command line."""

import argparse
import dataclasses

import numpy as np
import pytest

from dinar_live.cli import common
from dinar_live.runtime import Renderer
from dinar_live.runtime.avatar import RendererSpec, renderer_spec
from dinar_live.runtime.core.errors import BundleError, InputError
from dinar_live.runtime.render import shading
from dinar_live.runtime.render.gpu import shading as gpu_shading
from dinar_live.runtime.render.options import RenderKeywords, RenderOptions, RenderPlan
from dinar_live.runtime.service import AvatarService


def test_the_keywords_are_the_fields():
    fields = {f.name: f.type for f in dataclasses.fields(RenderOptions)}
    assert fields.pop("size")
    keywords = {
        name: hint.__forward_arg__ if hasattr(hint, "__forward_arg__") else hint
        for name, hint in RenderKeywords.__annotations__.items()
    }
    assert keywords == fields


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"size": (0, 5)}, "size: got"),
        (
            {"engine": "abacus"},
            "engine: got 'abacus', expected auto, tensorrt, tensorrt-rtx, torch, openvino",
        ),
        ({"precision": "f7"}, "precision: got 'f7', expected auto, f32"),
        ({"rasterizer": "magic"}, "rasterizer: got 'magic'"),
        ({"device": "cuda:x"}, "device: got 'cuda:x'"),
        ({"device": 0}, "device: got 0"),
        (
            {"device": "cuda:1", "engine": "openvino"},
            "openvino runs on the CPU.* use tensorrt, tensorrt-rtx, torch or auto",
        ),
        ({"device": "cpu", "rasterizer": "nvdiffrast"}, "nvdiffrast needs an NVIDIA GPU"),
        ({"threads": 257}, "threads: got 257"),
        ({"background": (0, 0)}, "background: got"),
    ],
)
def test_wrong_options_name_the_option(wrong, says):
    with pytest.raises(InputError, match=says):
        RenderOptions(**wrong)
    with pytest.raises(InputError, match=says):
        RenderOptions().changed(**wrong)


def test_options_that_say_the_same_are_the_same():
    options = RenderOptions(size=[np.int64(6), 8], threads=np.int32(2), device="cuda:3")
    assert options.size == (6, 8) and options.threads == 2 and options.gpu_index == 3
    assert RenderOptions(device="cuda").gpu_index == 0 and RenderOptions().gpu_index is None
    assert options == RenderOptions((6, 8), threads=2, device="cuda:3")
    with pytest.raises(TypeError, match="colour"):
        options.changed(colour=1)


def test_a_renderer_and_a_service_take_them_and_keywords_change_them(avatar_with_checks):
    options = RenderOptions((32, 48), device="cpu", depth=True)
    with Renderer(avatar_with_checks, options=options) as r:
        assert r.size == (32, 48) and r.options == options and r.device == "cpu" and not r.compiles
    with Renderer(avatar_with_checks, (16, 16), options=options, depth=False) as r:
        assert r.options == RenderOptions((16, 16), device="cpu")
    with AvatarService(avatar_with_checks, options=options, crop=False) as service:
        assert service.size == (32, 48) and service.capabilities()["size"] == [32, 48]
    with pytest.raises(TypeError, match="colour"):
        Renderer(avatar_with_checks, colour=1)


def test_a_plan_knows_which_renderer_is_meant(avatar_with_checks):
    plan = RenderPlan(avatar_with_checks, RenderOptions((30, 20), background=(1, 0, 0.5)))
    assert plan.renderer == "texture" and plan.padded == (30, 20) and plan.blank == (255, 0, 128, 255)
    with pytest.raises(InputError, match="renderer: got 'oil', the avatar has texture"):
        RenderPlan(avatar_with_checks, RenderOptions(renderer="oil"))


def test_the_command_line_has_their_defaults():
    parser = argparse.ArgumentParser()
    common.renderer_arguments(parser)
    assert RenderOptions(**common.renderer_options(parser.parse_args([]))) == RenderOptions()
    given = parser.parse_args(["--engine", "torch", "--threads", "2", "--size", "64x32"])
    options = RenderOptions(**common.renderer_options(given))
    assert options == RenderOptions((32, 64), engine="torch", threads=2)


def test_every_renderer_type_has_a_shader_on_the_cpu_and_on_a_gpu():
    names = {kind.name for kind in renderer_spec.TYPES}
    assert set(shading.SHADERS) == set(gpu_shading.SHADERS) == names and len(names) == len(
        renderer_spec.TYPES
    )


def test_the_type_follows_from_the_files():
    texture = np.zeros((4, 4, 3), np.float32)
    plain, network = RendererSpec(texture), RendererSpec(texture, model=b"onnx")
    assert plain.type is renderer_spec.TEXTURE and plain.files() == {}
    assert network.type is renderer_spec.NETWORK and network.files() == {"model.onnx": b"onnx"}
    assert dataclasses.replace(network, model=None).type is renderer_spec.TEXTURE
    with pytest.raises(BundleError, match="type texture has no network"):
        _ = plain.network
