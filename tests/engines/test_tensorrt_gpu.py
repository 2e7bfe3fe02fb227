"""TensorRT itself, on a GPU that has it (marker gpu): never part of a run without one. `pytest -m gpu
tests/engines`."""

import gc

import numpy as np
import pytest

from dinar_live.engines import available_engines, create_engine
from dinar_live.engines.nvidia import nvidia_problem

WHY_NOT = nvidia_problem() or available_engines()["tensorrt"]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.fixture
def picture():
    return np.random.default_rng(0).uniform(-1, 1, (1, 19, 64, 64)).astype(np.float32)


@pytest.fixture
def reference(light, run, picture):
    session = create_engine(light.build(16), "openvino", "f32").compile((1, 64, 64))
    run(session, picture)
    return {name: array.copy() for name, array in session.outputs.items()}


@pytest.mark.parametrize("precision, worst", [("f32", 2e-3), ("f16", 8e-3)])
def test_light_network(light, run, tmp_path, picture, reference, precision, worst):
    seen = []
    engine = create_engine(
        light.build(16),
        "tensorrt",
        precision,
        cache_dir=tmp_path,
        progress=lambda done, text: seen.append(done),
    )
    session = engine.compile((1, 64, 64))
    assert engine.built == 1 and seen == sorted(seen) and seen[-1] > 0.5
    assert session.mode == "graph"
    for _ in range(3):
        run(session, picture)
        for name, want in reference.items():
            assert np.abs(session.outputs[name] - want).max() < worst


def test_the_plan_is_found_again(light, run, tmp_path, picture, reference):
    data = light.build(16)
    with create_engine(data, "tensorrt", cache_dir=tmp_path) as engine:
        engine.compile((1, 64, 64))
    gc.collect()
    with create_engine(data, "tensorrt", cache_dir=tmp_path) as engine:
        session = engine.compile((1, 64, 64))
        assert engine.built == 0
    run(session, picture)
    assert np.abs(session.outputs["rgb"] - reference["rgb"]).max() < 8e-3


def test_device_session_joins_a_captured_graph(light, tmp_path, picture, reference):
    from dinar_live.engines.gpu import open_device, run_once

    session, gpu = (
        create_engine(light.build(16), "tensorrt", cache_dir=tmp_path).compile_device((1, 64, 64)),
        open_device(),
    )
    assert session.inputs["features"].dtype == "float16"
    eager = run_once(gpu, session, {"features": picture})
    stream = gpu.stream()
    session.warm_up(stream.handle)
    features, rgb = (
        gpu.wrap(t.pointer, t.shape, t.dtype) for t in (session.inputs["features"], session.outputs["rgb"])
    )
    with stream.capture() as graph:
        session.enqueue_on(stream.handle)
    for sign in (1, -1):
        features.copy_from((sign * picture).astype(np.float16), stream)
        stream.synchronize()
        graph.launch(stream)
        out = rgb.numpy(stream)
        assert (np.abs(out - eager["rgb"]).max() < 2e-3) == (sign == 1)
    assert np.abs(eager["rgb"] - reference["rgb"]).max() < 8e-3


def test_dinar_renderer_parses_and_agrees(run, tmp_path):
    from dinar_live.export.checkpoint import load_checkpoint
    from dinar_live.export.dinar.bake import renderer_onnx
    from dinar_live.export.networks import random_state_dict

    data = renderer_onnx(load_checkpoint(random_state_dict(0), networks=("renderer",)).renderer)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 24, 128, 128)).astype(np.float32)
    want = create_engine(data, "openvino", "f32").compile((1, 128, 128))
    run(want, x)
    got = create_engine(data, "tensorrt", cache_dir=tmp_path, optimization_level=0).compile((1, 128, 128))
    run(got, x)
    for name in ("rgb", "alpha"):
        assert np.abs(got.outputs[name] - want.outputs[name]).max() < 2 / 255
