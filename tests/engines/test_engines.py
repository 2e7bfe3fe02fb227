"""The engine interface: choice, buffers and sessions, the same for every engine."""

import os
import subprocess
import sys

import numpy as np
import pytest

from dinar_live.engines import (
    Backend,
    DeviceTensor,
    EngineError,
    TensorNameError,
    available_engines,
    create_engine,
    create_reference,
    engine_names,
    engine_options,
    engine_runs_on,
    register_engine,
)
from dinar_live.engines import registry as registry_module

# buffers and sessions


def test_buffers_are_stable_aligned_float32_and_hold_the_result(tiny, name, run):
    session = create_engine(tiny, name, "f32").compile((2, 3, 5))
    before = {
        key: (array.ctypes.data, array.shape)
        for key, array in (*session.inputs.items(), *session.outputs.items())
    }
    assert before.keys() == {"features", "rgb", "alpha"}
    assert session.outputs["rgb"].shape == (2, 3, 3, 5) and session.outputs["alpha"].shape == (2, 1, 3, 5)
    for i in range(3):
        x = np.random.default_rng(i).standard_normal((2, 4, 3, 5), np.float32)
        session.outputs["rgb"].fill(np.nan)
        run(session, x)
        np.testing.assert_allclose(session.outputs["rgb"], 2 * x[:, :3], rtol=1e-6)
        np.testing.assert_allclose(session.outputs["alpha"], x[:, 3:], rtol=1e-6)
    for key, array in (*session.inputs.items(), *session.outputs.items()):
        assert (array.ctypes.data, array.shape) == before[key]
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.ctypes.data % 64 == 0


def test_openvino_runs_on_our_memory(tiny):
    session = create_engine(tiny, "openvino").compile((1, 8, 8))
    for key, array in (*session.inputs.items(), *session.outputs.items()):
        assert session._request.get_tensor(key).data.ctypes.data == array.ctypes.data


def test_buffers_cannot_be_replaced_and_wrong_names_list_the_right_ones(tiny, name):
    session = create_engine(tiny, name).compile((1, 2, 2))
    with pytest.raises(TypeError):
        session.inputs["features"] = np.zeros((1, 4, 2, 2), np.float32)
    with pytest.raises(EngineError, match="no tensor named 'feature'; the model has features"):
        session.inputs["feature"]
    with pytest.raises(TensorNameError, match="rgb, alpha"):
        session.outputs["depth"]
    assert (
        "depth" not in session.outputs
        and session.outputs.get("depth") is None
        and list(session.outputs) == ["rgb", "alpha"]
    )


def test_two_sessions_at_once(tiny, name):
    engine = create_engine(tiny, name, "f32")
    a, b = engine.compile((1, 64, 64)), engine.compile((2, 32, 16))
    for i in range(5):
        a.inputs["features"].fill(i)
        b.inputs["features"].fill(-i)
        a.enqueue()
        b.enqueue()
        b.synchronize()
        a.synchronize()
        assert (a.outputs["rgb"] == 2 * i).all() and (b.outputs["rgb"] == -2 * i).all()


def test_enqueue_twice_is_refused_and_synchronize_is_idempotent(tiny, name):
    session = create_engine(tiny, name).compile((1, 2, 2))
    session.synchronize()
    session.enqueue()
    with pytest.raises(EngineError, match="synchronize"):
        session.enqueue()
    session.synchronize()
    session.synchronize()
    session.enqueue()
    session.synchronize()


def test_sessions_outlive_the_engine(tiny, name, run):
    with create_engine(tiny, name, "f32") as engine:
        session = engine.compile((1, 2, 2))
    with pytest.raises(EngineError, match="closed"):
        engine.compile((1, 2, 2))
    run(session, 3.0)
    assert (session.outputs["rgb"] == 6).all()


def test_session_dropped_while_running_does_not_crash(light):
    engine = create_engine(light.build(16), "openvino")
    for _ in range(3):
        session = engine.compile((1, 256, 256))
        session.enqueue()
        del session


def test_an_engine_on_the_cpu_has_no_device_session(tiny):
    with pytest.raises(EngineError, match="openvino runs on .* no sessions on a GPU: use compile"):
        create_engine(tiny, "openvino").compile_device((1, 8, 8))


def test_device_tensor_size_in_bytes():
    assert DeviceTensor(4096, (2, 3, 4, 5), "float16").nbytes == 240
    assert DeviceTensor(4096, (2, 3, 4, 5), "float32").nbytes == 480


# choice


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(registry_module, "nvidia_problem", lambda: "no NVIDIA driver (of this test)")


def test_auto_takes_openvino_without_a_gpu_and_says_why(tiny, no_gpu):
    info = create_engine(tiny).info
    assert info.reason.startswith("auto: no NVIDIA driver (of this test); ")
    assert info.name == "openvino" and info.version and info.device and info.threads >= 1
    assert info.precision in ("bf16", "f32") and "auto" in info.reason and info.precision in info.reason


def test_a_gpu_that_was_asked_for_and_is_not_there(tiny, no_gpu):
    with pytest.raises(
        EngineError, match=r"^no NVIDIA driver \(of this test\): install the driver .* or use the device cpu$"
    ):
        create_engine(tiny, device="cuda:0")


def test_info_of_a_forced_engine(tiny, name):
    engine = create_engine(tiny, name, "f32", threads=1)
    assert (engine.info.name, engine.info.precision, engine.info.threads) == (name, "f32", 1)
    assert "asked for" in engine.info.reason
    assert engine.inputs == {"features": (None, 4, None, None)} and engine.outputs == {
        "rgb": (None, 3, None, None),
        "alpha": (None, 1, None, None),
    }


def test_forced_precision_changes_the_arithmetic(light, run):
    model = light.build(16)
    x = np.random.default_rng(0).standard_normal((1, 19, 64, 64), np.float32)
    results = {}
    for engine, precision in (("torch", "f32"), ("openvino", "f32"), ("openvino", "bf16")):
        try:
            session = create_engine(model, engine, precision).compile((1, 64, 64))
        except EngineError as error:
            assert precision == "bf16" and "instructions" in str(error)
            pytest.skip("this CPU has no bf16")
        run(session, x)
        results[engine, precision] = session.outputs["rgb"]
    reference = results["torch", "f32"]
    assert np.abs(results["openvino", "f32"] - reference).max() < 2e-5
    assert 1e-4 < np.abs(results["openvino", "bf16"] - reference).max() < 0.1


@pytest.mark.parametrize(
    "arguments, text",
    [
        (
            {"name": "onnxruntime"},
            "'onnxruntime' is unknown; choose auto, tensorrt, tensorrt-rtx, torch, openvino",
        ),
        ({"precision": "fp32"}, "precision 'fp32' is unknown"),
        ({"threads": -1}, "threads is -1"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"threads": True}, "threads is True"),
        ({"name": "torch", "device": "tpu"}, "device 'tpu'"),
        ({"name": "openvino", "device": "cpu"}, "openvino has no option device; it has cache_dir"),
        (
            {"cachedir": "x"},
            "auto has no option cachedir; it has cache_dir, device, examples, optimization_level, progress",
        ),
    ],
)
def test_wrong_choices(tiny, arguments, text):
    with pytest.raises(EngineError, match=text):
        create_engine(tiny, **arguments)


@pytest.fixture
def registry():
    saved = dict(registry_module._backends)
    yield
    registry_module._backends.clear()
    registry_module._backends.update(saved)


def test_missing_engine_names_the_package_and_the_command(tiny, registry, no_gpu):
    register_engine(
        "absent", Backend("nowhere", ("package_that_is_absent",), "pip install absent"), first=True
    )
    assert engine_names()[0] == "absent" and available_engines()["openvino"] == ""
    with pytest.raises(
        EngineError, match="absent needs the package package_that_is_absent: pip install absent"
    ):
        create_engine(tiny, "absent")
    info = create_engine(tiny).info
    assert info.name == "openvino" and "package_that_is_absent" in info.reason


def test_damaged_engine_is_reported_and_passed_over(tiny, registry, no_gpu):
    register_engine(
        "damaged", Backend("dinar_live.engines.no_such_module", (), "pip install damaged"), first=True
    )
    with pytest.raises(EngineError, match="cannot be loaded .*pip install damaged"):
        create_engine(tiny, "damaged")
    assert "cannot be loaded" in create_engine(tiny).info.reason


def test_registered_engine_joins_auto(tiny, registry):
    register_engine(
        "reference", Backend("dinar_live.engines.torch.engine", ("torch",), "", ("device",)), first=True
    )
    assert create_engine(tiny, device="cpu", cache_dir="unused by torch").info.name == "torch"


def test_auto_goes_on_where_an_engine_is_not_accepted(tiny, registry, no_gpu):
    asked = []

    def accept(engine):
        asked.append(engine)
        if len(asked) == 1:
            raise EngineError("what it computes is wrong")

    engine = create_engine(tiny, accept=accept)
    assert [e.info.name for e in asked] == ["openvino", "torch"] and engine is asked[1]
    assert engine.info.reason.startswith("auto: ") and "what it computes is wrong" in engine.info.reason
    with pytest.raises(EngineError, match="closed"):
        asked[0].compile((1, 2, 2))
    asked.clear()
    with pytest.raises(EngineError, match="what it computes is wrong"):
        create_engine(tiny, "openvino", accept=accept)


def test_the_reference_is_f32_on_the_cpu_and_never_an_engine_that_does_not_claim_to_be_one(tiny, registry):
    register_engine("own", Backend("dinar_live.engines.torch.engine", (), ""), first=True)
    with create_reference(tiny, threads=1) as engine:
        assert (engine.info.name, engine.info.precision) == ("openvino", "f32")
    for name in ("openvino", "torch"):
        register_engine(name, Backend("nowhere", (f"absent_{name}",), f"pip install {name}", reference=True))
    with pytest.raises(EngineError, match="pip install openvino; .*pip install torch"):
        create_reference(tiny)


def test_what_others_must_know_of_an_engine(registry):
    assert engine_names("gpu") == ("tensorrt", "tensorrt-rtx", "torch") and engine_names("cpu") == (
        "openvino",
        "openvino-intel",
        "torch",
    )
    assert engine_runs_on("auto") == "both" and engine_runs_on("tensorrt") == "gpu"
    assert engine_options("openvino") == {"cache_dir", "examples"} and engine_options(
        "auto"
    ) >= engine_options("tensorrt")
    for ask in (engine_runs_on, engine_options):
        with pytest.raises(EngineError, match="'abacus' is unknown; choose auto, tensorrt"):
            ask("abacus")
    for wrong in (
        lambda: Backend("m", (), "", runs_on="tpu"),
        lambda: Backend("m", (), "", runs_on="both"),
        lambda: register_engine("auto", Backend("m", (), "")),
    ):
        with pytest.raises(EngineError):
            wrong()


def test_import_is_light():
    code = "import sys, dinar_live.engines; print([m for m in ('openvino', 'torch', 'onnx') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


WATCHED_IMPORT = """
import pathlib, sys, time
events = set()
watched = ("socket.connect", "socket.getaddrinfo", "os.fork", "os.mkdir")
sys.addaudithook(lambda event, args: events.add(event) if event in watched else None)
{importing}
time.sleep(0.3)   # telemetry works in a thread
print(sorted(events), "torch" in sys.modules, "openvino_telemetry" in sys.modules, list(pathlib.Path.home().iterdir()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="watches forks and the home folder of Linux")
def test_openvino_engine_starts_no_telemetry_and_imports_no_torch(tiny, tmp_path):
    (tmp_path / "home").mkdir()
    model = tmp_path / "m.onnx"
    model.write_bytes(tiny)
    importing = """
import dinar_live.engines as e
session = e.create_engine(sys.argv[1], "openvino").compile((1, 2, 2))
session.enqueue()
session.synchronize()
import dinar_live.engines.yardstick
"""
    environment = {
        key: value for key, value in os.environ.items() if key != "CI"
    }  # telemetry keeps quiet in continuous integration
    environment |= {
        "HOME": str(tmp_path / "home"),
        "https_proxy": "http://127.0.0.1:9",
    }  # were it to start, nothing would leave
    command = [sys.executable, "-c", WATCHED_IMPORT.format(importing=importing), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[] False False []"


def test_cache_dir(tiny, tmp_path, run):
    for _ in range(2):
        session = create_engine(tiny, "openvino", "f32", cache_dir=tmp_path).compile((1, 4, 4))
        run(session, 1.5)
        assert (session.outputs["rgb"] == 3).all()
    assert list(tmp_path.iterdir())
