"""The precision int8 on the CPU: pictures like those of float32, taken by itself only where it pays, refused where not."""

import numpy as np
import pytest

from dinar_live import engines
from dinar_live.engines import cache
from dinar_live.engines.openvino import engine as openvino_engine
from dinar_live.runtime import Avatar, Camera, DinarError, Pose, Renderer
from dinar_live.runtime.render import host_engine, parity
from dinar_live.runtime.render.host_engine import examples
from dinar_live.runtime.render.options import RenderOptions, RenderPlan

SIZE = (192, 160)
OPTIONS = {"device": "cpu", "threads": 1, "background_compile": False}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing was found out yet, here or in the cache."""
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path))
    monkeypatch.setattr(host_engine, "_decided", {})
    return tmp_path


@pytest.fixture
def no_bf16(monkeypatch):
    monkeypatch.setattr(openvino_engine, "has_bf16_convolutions", lambda: False)


def shot(renderer, azimuth=2.6):
    """From a side that no example shows."""
    camera = Camera.orbit(renderer.avatar.rig.joints[0], SIZE, azimuth=azimuth)
    return renderer.render(Pose(), camera).rgba.astype(int).copy()


@pytest.mark.parametrize("name", ["light", "lite"])
def test_frames_are_those_of_float32(name, fresh):
    avatar = Avatar.demo()
    frames = []
    for precision in ("f32", "int8"):
        with Renderer(avatar, SIZE, renderer=name, precision=precision, **OPTIONS) as renderer:
            assert renderer.engine_info.precision == precision
            frames.append(shot(renderer))
    seen = (frames[0][..., 3] > 0) | (frames[1][..., 3] > 0)
    error = (frames[0] - frames[1])[seen]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 44 and np.any(error)


def test_convolutions_are_of_8_bits(fresh):
    avatar = Avatar.demo()
    plan = RenderPlan(avatar, RenderOptions(SIZE, precision="int8", **OPTIONS))
    with engines.create_engine(
        plan.spec.network, "openvino", precision="int8", threads=1, examples=lambda: examples(plan)
    ) as engine:
        compiled = engine._core.compile_model(engine._model, "CPU", engine._config)
        layers = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
        kinds, types = (
            [info[key].astype(str) for info in layers] for key in ("layerType", "runtimePrecision")
        )
    of_convolutions = [t for k, t in zip(kinds, types, strict=True) if "Convolution" in k]
    assert len(of_convolutions) >= 10 and all("8" in t for t in of_convolutions)


def test_it_needs_examples_and_an_engine_that_has_it():
    network = Avatar.demo().renderers["lite"].network
    with pytest.raises(engines.EngineError, match="int8 needs `examples`.*examples is missing"):
        engines.create_engine(network, "openvino", precision="int8")
    with pytest.raises(
        engines.EngineError, match="int8 is not offered by the torch engine, but by .*openvino"
    ):
        engines.create_engine(network, "torch", precision="int8")


def test_taken_by_itself_where_it_is_faster(fresh, no_bf16, monkeypatch):
    avatar, found = Avatar.demo(), []
    real = host_engine._decide
    monkeypatch.setattr(host_engine, "_decide", lambda *a: found.append(1) or real(*a))
    for faster, expected in ((0.0, "int8"), (1e9, "f32")):
        monkeypatch.setattr(host_engine, "FASTER", faster)
        monkeypatch.setattr(host_engine, "_decided", {})
        monkeypatch.setenv("DINAR_CACHE", str(fresh / expected))
        for _ in range(2):  # the second finds what is kept
            with Renderer(avatar, SIZE, renderer="lite", **OPTIONS) as renderer:
                assert renderer.engine_info.precision == expected
                assert ("auto: int8 is" in renderer.describe()) == (expected == "int8")
                assert shot(renderer)[..., 3].any()
            host_engine._decided.clear()
    assert len(found) == 2


def test_a_damaged_decision_is_found_out_again(fresh, no_bf16, monkeypatch):
    avatar = Avatar.demo()
    monkeypatch.setattr(host_engine, "FASTER", 0.0)
    Renderer(avatar, SIZE, renderer="lite", **OPTIONS).close()
    (file,) = cache.default_folder().iterdir()
    file.write_bytes(b"rubbish")
    host_engine._decided.clear()
    with Renderer(avatar, SIZE, renderer="lite", **OPTIONS) as renderer:
        assert renderer.engine_info.precision == "int8"


def test_frames_that_are_too_far_off_are_refused(fresh, no_bf16, monkeypatch):
    avatar = Avatar.demo()
    monkeypatch.setattr(host_engine, "FASTER", 0.0)
    monkeypatch.setitem(parity.LIMITS, "int8", (200.0, 0.0))
    with pytest.raises(DinarError, match="int8 is refused: PSNR .* dB.*use another --precision"):
        Renderer(avatar, SIZE, renderer="lite", precision="int8", **OPTIONS)
    with Renderer(avatar, SIZE, renderer="lite", **OPTIONS) as renderer:
        assert renderer.engine_info.precision == "f32"
