"""An engine of somebody else: one module and `register_engine`, and everything that takes an engine takes it."""

import dataclasses
import sys
import textwrap

import numpy as np
import pytest

from dinar_live import doctor
from dinar_live.cli.main import main
from dinar_live.engines import Backend, create_engine, register_engine
from dinar_live.engines import registry as registry_module
from dinar_live.runtime import Camera, Pose, Renderer
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.framing import whole_body_camera

CHANNELS = 1  # of the texture, so that `tiny` takes its features
MODULE = """
    from dinar_live.engines import Engine, EngineInfo, Session
    from dinar_live.engines.base import aligned_zeros, static_input_shapes

    class OwnSession(Session):
        def _start(self):
            x = self.inputs["features"]
            self.outputs["rgb"][...] = 2 * x[:, :3]
            self.outputs["alpha"][...] = x[:, 3:]

        def _wait(self):
            pass

    class OwnEngine(Engine):
        def __init__(self, model, reason, speed):
            self.inputs, self.outputs = model.inputs, model.outputs
            self.info = EngineInfo("own", "7", "a CPU", "f32", 1, f"{reason}; {speed}")

        def compile(self, size):
            shape = static_input_shapes(self.inputs, size)["features"]
            planes = {"rgb": (shape[0], 3, *shape[2:]), "alpha": (shape[0], 1, *shape[2:])}
            return OwnSession({"features": aligned_zeros(shape)}, {n: aligned_zeros(s) for n, s in planes.items()})

        def close(self):
            pass

    def open_engine(model, precision, threads, reason, *, speed="slow", progress=None):
        if progress is not None:
            progress(1.0, "opened")
        return OwnEngine(model, reason, speed)
"""


@pytest.fixture
def own(monkeypatch, tmp_path):
    """The engine "own", which runs on a CPU and tells its progress."""
    saved = dict(registry_module._backends)
    (tmp_path / "own_engine.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    register_engine("own", Backend("own_engine", (), "pip install own", ("speed", "progress")))
    yield "own"
    registry_module._backends.clear()
    registry_module._backends.update(saved)
    sys.modules.pop("own_engine", None)


@pytest.fixture
def avatar(avatar_with_checks, tiny):
    texture = np.random.default_rng(0).random((32, 32, CHANNELS), np.float32)
    spec = RendererSpec(texture, model=tiny, margin=4, stride=8)
    (picture,) = avatar_with_checks.checks.rgba.values()
    checks = dataclasses.replace(avatar_with_checks.checks, rgba={"light": picture, "texture": picture})
    return dataclasses.replace(
        avatar_with_checks, renderers={"light": spec} | avatar_with_checks.renderers, checks=checks
    )


def frame(avatar, **options):
    camera: Camera = whole_body_camera(avatar.rig, avatar.rig.joints[0], (64, 64))
    with Renderer(avatar, (64, 64), background_compile=False, **options) as renderer:
        return renderer.engine_info, renderer.render(Pose(), camera).copy()


def test_create_engine(own, tiny):
    assert create_engine(tiny, own, speed="fast").info.reason == "asked for; fast"


def test_a_renderer_runs_it(own, avatar):
    info, ours = frame(avatar, engine=own)
    _, reference = frame(avatar, engine="torch", device="cpu")
    assert info.name == "own" and ours.rgba[..., 3].any()
    np.testing.assert_array_equal(ours.rgba, reference.rgba)
    with pytest.raises(InputError, match="engine: own runs on the CPU, got device 'cuda'"):
        Renderer(avatar, engine=own, device="cuda")


def test_dinar_compile_takes_it_and_compares_it(own, avatar, tmp_path, capsys):
    avatar.save(tmp_path / "ann")
    arguments = ["compile", str(tmp_path / "ann"), "--size", "64", "--engine", own]
    assert main([*arguments, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "renderer light: own 7 f32 on a CPU" in out and out.count(": ok") == 1


def test_dinar_doctor_looks_for_it_and_tries_it(own, monkeypatch):
    found = {f.name: f for f in doctor.findings(self_test=False)}
    assert found["own"].state == doctor.OK and found["own"].part == "cpu"
    register_engine("own", Backend("own_engine", ("package_that_is_absent",), "pip install own"))
    found = {f.name: f for f in doctor.findings(self_test=False)}
    assert found["own"].state == doctor.MISSING and found["own"].fix == "pip install own"


def test_dinar_doctor_renders_with_it(own, avatar, monkeypatch):
    monkeypatch.setattr(type(avatar), "demo", classmethod(lambda cls: avatar))
    found = {f.name: f for f in doctor.findings() if f.part == "cpu"}
    # the check picture is another renderer's, so the engine is tried and what it gives is told
    assert "renderer light: " in found["own pictures"].text and found["own pictures"].state == doctor.BROKEN
