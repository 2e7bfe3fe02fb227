"""The engine for Intel's graphics and NPU, with the CPU in their place."""

import pytest

from dinar_live import engines
from dinar_live.engines.openvino import intel
from dinar_live.runtime import Avatar, Camera, DinarError, Pose, Renderer
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render import host_engine, parity

OPTIONS = {"size": (128, 96), "renderer": "lite", "threads": 1, "background_compile": False}


@pytest.fixture
def laptop(monkeypatch, tmp_path):
    monkeypatch.setattr(intel, "devices", lambda: ("CPU",))
    monkeypatch.setattr(host_engine, "_decided", {})
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path))


def frame(renderer):
    return renderer.render(Pose(), Camera.orbit(renderer.avatar.rig.joints[0], (128, 96))).rgba.astype(int)


def test_names_of_devices(monkeypatch):
    class Core:
        available_devices = ["CPU", "GPU.1", "GNA", "NPU", "GPU.0"]

    monkeypatch.setattr(intel.openvino, "Core", Core)
    assert intel.devices.__wrapped__() == ("GPU.1", "GPU.0", "NPU")


def test_without_one(monkeypatch):
    monkeypatch.setattr(intel, "devices", lambda: ())
    with pytest.raises(DinarError, match="no Intel graphics or NPU here: install their driver"):
        Renderer(Avatar.demo(), device="intel", **OPTIONS)
    with Renderer(Avatar.demo(), **OPTIONS) as renderer:
        assert renderer.engine_info.name == "openvino"


def test_asked_for(laptop):
    with Renderer(Avatar.demo(), device="intel", precision="f32", **OPTIONS) as renderer:
        assert renderer.engine_info.name == "openvino-intel" and renderer.device == "cpu"
        found = frame(renderer)
    with Renderer(Avatar.demo(), device="cpu", precision="f32", **OPTIONS) as renderer:
        assert abs(frame(renderer) - found).max() <= 1 and found.any()


def test_taken_by_itself_after_a_measurement_only(laptop, monkeypatch):
    for faster, name in ((0.0, "openvino-intel"), (1e9, "openvino")):
        monkeypatch.setattr(host_engine, "FASTER", faster)
        monkeypatch.setattr(host_engine, "_kept", lambda key: None)
        host_engine._decided.clear()
        with Renderer(Avatar.demo(), **OPTIONS) as renderer:
            assert renderer.engine_info.name == name
            assert ("times as fast as the CPU" in renderer.describe()) == (name == "openvino-intel")
    assert engines.create_engine(Avatar.demo().renderers["lite"].network).info.name == "openvino"


def test_wrong_pictures_are_refused(laptop, monkeypatch):
    monkeypatch.setattr(host_engine, "FASTER", 0.0)
    for precision in parity.LIMITS:
        monkeypatch.setitem(parity.LIMITS, precision, (200.0, 0.0))
    with Renderer(Avatar.demo(), **OPTIONS) as renderer:
        assert renderer.engine_info.name == "openvino"


def test_wrong_choices():
    for keywords, text in (
        ({"device": "intel", "engine": "torch"}, "got torch with device intel; use openvino-intel or auto"),
        ({"device": "intel", "rasterizer": "nvdiffrast"}, "needs an NVIDIA GPU, got device 'intel'"),
        ({"device": "arc"}, "expected auto, cpu, cuda, cuda:N or intel"),
    ):
        with pytest.raises(InputError, match=text):
            Renderer(Avatar.demo(), **OPTIONS | keywords)
