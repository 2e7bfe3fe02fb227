"""What `dinar compile` has measured decides among the engines for a GPU."""

import hashlib

import numpy as np
import pytest

from dinar_live import engines
from dinar_live.engines import EngineError, registry
from dinar_live.engines.measured import in_measured_order, measured, record

GPU = "NVIDIA Fake 1"


def test_the_fastest_takes_the_first_place_of_those_that_were_measured():
    names = ["tensorrt", "tensorrt-rtx", "torch"]
    assert in_measured_order(names, {}) == (names, "")
    assert in_measured_order(names, {"torch": 1.0}) == (names, "")
    ordered, why = in_measured_order(names, {"tensorrt": 0.5, "torch": 0.25})
    assert ordered == ["torch", "tensorrt-rtx", "tensorrt"]
    assert why == "dinar compile measured torch 0.25 ms, tensorrt 0.50 ms"


def test_times_are_kept_for_a_network_and_a_gpu(tmp_path):
    assert measured("a", GPU, tmp_path) == {}
    record("a", GPU, (1, 256, 256), "tensorrt", 0.1, tmp_path)
    record("a", GPU, (1, 512, 512), "tensorrt", 0.4, tmp_path)
    record("a", GPU, (1, 512, 512), "torch", 0.3, tmp_path)
    record("a", GPU, (1, 512, 512), "torch", 0.2, tmp_path)
    assert measured("a", GPU, tmp_path) == {"tensorrt": 0.4, "torch": 0.2}, "of one size, the newest"
    assert measured("b", GPU, tmp_path) == measured("a", "another", tmp_path) == {}
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    assert measured("a", GPU, tmp_path) == {}


def test_auto_goes_by_them_and_says_so(monkeypatch, tiny, tmp_path):
    asked = []

    def open_one(name, model, precision, threads, reason, options):
        asked.append((name, options["device"], reason))
        raise EngineError("cannot")

    monkeypatch.setattr(registry, "nvidia_problem", lambda: "")
    monkeypatch.setattr(registry, "gpu_name", lambda index: GPU)
    monkeypatch.setattr(registry, "_open", open_one)
    digest = hashlib.sha256(tiny).hexdigest()
    for name, ms in (("tensorrt", 2.0), ("tensorrt-rtx", 0.5), ("torch", 1.0)):
        record(digest, GPU, (1, 512, 512), name, ms, tmp_path)
    with pytest.raises(EngineError):
        engines.create_engine(tiny, device="cuda", cache_dir=tmp_path)
    assert [name for name, _, _ in asked] == ["tensorrt-rtx", "torch", "tensorrt"]
    assert asked[0][2].startswith("auto: dinar compile measured tensorrt-rtx 0.50 ms, torch 1.00 ms")


def test_a_run_is_timed_on_the_device(nvidia, tiny):
    """On the stand-in each operation takes a quarter of a millisecond: a graph's launch and the network in it."""
    from dinar_live.engines.gpu import open_device, run_ms

    engine = engines.create_engine(tiny, "tensorrt", **nvidia.options)
    session = engine.compile_device((1, 4, 6))
    assert np.isclose(run_ms(open_device(0), session, 5), 0.5)
    session.mode = "eager: for the test"
    assert np.isclose(run_ms(open_device(0), session, 5), 0.25)
    session.close()
