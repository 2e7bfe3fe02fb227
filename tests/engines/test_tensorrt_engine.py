"""The TensorRT engine against strict fakes of TensorRT and of the GPU: cache, sessions, and
everything that can fail."""

import gc
import os
import re
import stat
import sys
import threading

import numpy as np
import pytest

from dinar_live.engines import EngineError, create_engine
from dinar_live.engines import cache as engine_cache

SIZE = (1, 4, 6)


@pytest.fixture
def engine_of(nvidia, tiny):
    def engine_of(model=tiny, **options):
        return create_engine(model, "tensorrt", **(nvidia.options | options))

    return engine_of


def features(seed=0, shape=(1, 4, 4, 6)):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def check(session, run, atol=2e-3):
    for seed in range(3):
        x = features(seed)
        for array in session.outputs.values():
            array.fill(np.nan)
        run(session, x)
        np.testing.assert_allclose(session.outputs["rgb"], 2 * x[:, :3], atol=atol)
        np.testing.assert_allclose(session.outputs["alpha"], x[:, 3:], atol=atol)


# sessions


def test_session_on_host_arrays_runs_as_one_graph(nvidia, engine_of, run):
    engine = engine_of()
    assert (engine.info.name, engine.info.version, engine.info.device, engine.info.precision) == (
        "tensorrt", nvidia.trt.__version__, "NVIDIA Fake 1", "f16")  # fmt: skip
    session = engine.compile(SIZE)
    assert session.mode == "graph" and session.inputs["features"].shape == (1, 4, 4, 6)
    launches, executed = nvidia.cuda.launches, nvidia.world.executed
    check(session, run)
    assert nvidia.cuda.launches == launches + 3 and nvidia.world.executed == executed + 3


def test_what_tensorrt_gets_is_static_float16_of_a_documented_opset(nvidia, engine_of, light):
    engine_of(light.build(16)).compile((1, 32, 32))
    proto = nvidia.world.parsed
    assert 18 <= proto.opset_import[0].version <= 20
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert len(convolutions) >= 12 and all(weights[node.input[1]].data_type == 10 for node in convolutions)
    assert nvidia.world.settings == (3, 4)


def test_device_session(nvidia, engine_of):
    session = engine_of().compile_device(SIZE)
    (x,), (rgb, alpha) = session.inputs.values(), session.outputs.values()
    assert (x.dtype, x.shape, rgb.dtype, alpha.shape) == ("float16", (1, 4, 4, 6), "float16", (1, 1, 4, 6))
    from dinar_live.engines.gpu import open_device, run_once

    gpu = open_device()
    stream = gpu.stream()
    session.warm_up(stream.handle)
    for seed in range(2):
        out = run_once(gpu, session, {"features": features(seed)})
        np.testing.assert_allclose(out["rgb"], 2 * features(seed)[:, :3], atol=2e-3)
    with stream.capture() as graph:
        session.enqueue_on(stream.handle)
    executed = nvidia.world.executed
    graph.launch(stream)
    stream.synchronize()
    assert nvidia.world.executed == executed + 1
    assert session.inputs["features"] is x
    with pytest.raises(EngineError, match=r"shape \(1, 4, 4, 5\); the session takes \(1, 4, 4, 6\)"):
        run_once(gpu, session, {"features": features(0, (1, 4, 4, 5))})
    with pytest.raises(EngineError, match="default stream"):
        session.enqueue_on(0)
    with pytest.raises(EngineError, match="could not queue a run: TensorRT gave no reason"):
        session.enqueue_on(12345)
    before = nvidia.cuda.held()
    session.close()
    assert nvidia.cuda.held() == before - 3
    with pytest.raises(EngineError, match="closed"):
        session.enqueue_on(stream.handle)


def test_f32_keeps_float32_everywhere(nvidia, engine_of, run):
    engine = engine_of(precision="f32")
    assert engine.compile_device(SIZE).inputs["features"].dtype == "float32"
    check(engine.compile(SIZE), run, atol=1e-6)
    with pytest.raises(EngineError, match="bf16 is not offered"):
        engine_of(precision="bf16")


def test_a_dropped_session_frees_everything(nvidia, engine_of, run):
    session = engine_of().compile(SIZE)
    run(session, features())
    session.enqueue()
    del session
    gc.collect()
    assert not nvidia.cuda.held() and not nvidia.cuda.streams
    assert nvidia.cuda.graphs and all(graph.closed for graph in nvidia.cuda.graphs)


def test_sessions_of_one_size_share_the_plan(nvidia, engine_of, tiny):
    a = engine_of()
    first = a.compile(SIZE)
    b = engine_of(bytes(tiny))
    second = b.compile(SIZE)
    assert nvidia.world.builds == 1 and first._device_session._plan is second._device_session._plan
    first.inputs["features"].fill(1)
    assert not second.inputs["features"].any()


# the cache


def test_a_second_process_loads_the_plan(nvidia, engine_of, run):
    session = engine_of().compile(SIZE)
    assert nvidia.world.builds == 1
    del session
    gc.collect()
    engine = engine_of()
    check(engine.compile(SIZE), run)
    assert nvidia.world.builds == 1 and engine.built == 0


@pytest.mark.parametrize(
    "change",
    [
        "model",
        "size",
        "precision",
        "io",
        "version",
        "gpu",
        "compute capability",
        "level",
        "rewriting",
        "platform",
    ],
)
def test_a_change_of_any_part_of_the_key_builds_again(nvidia, engine_of, tiny, light, monkeypatch, change):
    kept = engine_of().compile(SIZE)
    assert nvidia.world.builds == 1
    model, options, size, device = tiny, {}, SIZE, False
    module = sys.modules["dinar_live.engines.tensorrt.engine"]
    if change == "model":
        model = tiny.replace(b"graph", b"Graph")
    elif change == "size":
        size = (2, 4, 6)
    elif change == "precision":
        options = {"precision": "f32"}
    elif change == "io":
        device = True
    elif change == "version":
        nvidia.trt.__version__ = nvidia.world.version = "10.15.1.30"
    elif change == "gpu":
        nvidia.cuda.name = "NVIDIA Fake 2"
    elif change == "compute capability":
        nvidia.cuda.compute_capability = (9, 1)
    elif change == "level":
        options = {"optimization_level": 4}
    elif change == "rewriting":
        monkeypatch.setattr(module, "_rewriting_digest", lambda: "other")
    elif change == "platform":
        monkeypatch.setattr(module, "platform_name", lambda: "plan9 mips")
    engine = engine_of(model, **options)
    (engine.compile_device if device else engine.compile)(size)
    assert nvidia.world.builds == 2 and engine.built == 1
    del kept


def test_a_refused_plan_is_built_again(nvidia, engine_of, run):
    engine_of().compile(SIZE)
    gc.collect()
    (file,) = [path for path in nvidia.cache.iterdir() if b'"kind":"plan"' in path.read_bytes()]
    nvidia.world.version = (
        "10.15.1.99"  # another library than the one the key was made from: TensorRT refuses, we build
    )
    engine = engine_of()
    check(engine.compile(SIZE), run)
    assert nvidia.world.builds == 2 and b"10.15.1.99\n" in file.read_bytes()


def test_a_plan_that_cannot_be_loaded_after_building_is_an_error_and_not_kept(nvidia, engine_of):
    nvidia.world.refuse_plan = True
    with pytest.raises(EngineError, match="cannot load the plan: Version tag does not match"):
        engine_of().compile(SIZE)
    assert not list(nvidia.cache.iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b[:-1] + bytes([b[-1] ^ 1]),
        lambda b: b"",
        lambda b: b[:10],
        lambda b: b"x" + b,
    ],
)
def test_a_damaged_file_is_built_again(nvidia, engine_of, run, damage):
    engine_of().compile(SIZE)
    gc.collect()
    for path in nvidia.cache.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    engine = engine_of()
    check(engine.compile(SIZE), run)
    assert nvidia.world.builds == 2 and nvidia.world.timing_seen == b""


def test_the_cache_is_private(nvidia, engine_of, tmp_path):
    nvidia.cache.mkdir(mode=0o777)
    os.chmod(nvidia.cache, 0o777)
    engine_of().compile(SIZE)
    if os.name == "posix":
        assert stat.S_IMODE(nvidia.cache.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in nvidia.cache.iterdir())
    assert not [path for path in nvidia.cache.iterdir() if path.suffix != ".engine"]
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="choose another"):
        engine_of(cache_dir=tmp_path / "file")
    link = tmp_path / "link"
    link.symlink_to(nvidia.cache)
    with pytest.raises(EngineError, match="not a folder"):
        engine_of(cache_dir=link)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners of POSIX folders")
def test_a_folder_of_roots_is_taken_as_it_is(tmp_path, monkeypatch):
    """Engines that an image brings, for a program that does not run as root."""
    folder = tmp_path / "engines"
    folder.mkdir()
    found = os.lstat(folder)

    def owned(mode):
        return lambda path: os.stat_result((mode, *found[1:4], 0, *found[5:]))

    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "lstat", owned(stat.S_IFDIR | 0o755))
    assert engine_cache.EngineCache(folder).folder == folder
    monkeypatch.setattr(os, "lstat", owned(stat.S_IFDIR | 0o777))
    with pytest.raises(EngineError, match="belongs to another user"):
        engine_cache.EngineCache(folder)


def test_where_engines_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path))
    assert engine_cache.default_folder() == tmp_path / "engines"
    monkeypatch.delenv("DINAR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME" if sys.platform != "win32" else "LOCALAPPDATA", str(tmp_path))
    if sys.platform != "darwin":
        assert engine_cache.default_folder() == tmp_path / "dinar-live" / "engines"
    monkeypatch.setattr(engine_cache, "_user_cache", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(EngineError, match="set DINAR_CACHE"):
        engine_cache.default_folder()


def test_the_least_recently_used_go_first(tmp_path):
    cache = engine_cache.EngineCache(tmp_path / "small", max_bytes=2500)
    keys = [engine_cache.EngineKey("plan", str(i), (), "e", "g", "9.0", "p", ()) for i in range(4)]
    for i, key in enumerate(keys[:2]):
        cache.store(key, bytes(800))
        os.utime(cache.path(key), (i, i))
    assert cache.load(keys[0]) == bytes(800)  # used now, so the other one is older
    cache.store(keys[2], bytes(800))
    assert cache.load(keys[1]) is None and cache.load(keys[0]) and cache.load(keys[2])
    cache.store(keys[3], bytes(5000))  # more than all may take: it stays, alone
    assert cache.load(keys[3]) == bytes(5000) and len(list(cache.folder.iterdir())) == 1


def test_a_disk_that_is_full_costs_the_cache_only(nvidia, engine_of, run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dinar_live.engines.cache.os.replace", full)
    check(engine_of().compile(SIZE), run)
    assert not list(nvidia.cache.iterdir())


def test_a_plan_that_was_built_with_more_care_is_preferred(nvidia, engine_of):
    """So that `dinar compile --level 5` serves a renderer, which asks for no level."""
    engine_of(optimization_level=5).compile(SIZE)
    assert nvidia.world.settings[0] == 5
    gc.collect()
    engine_of().compile(SIZE)
    assert nvidia.world.builds == 1
    engine = engine_of(optimization_level=0)
    engine.compile(SIZE)
    assert nvidia.world.builds == 2 and nvidia.world.settings[0] == 0
    engine_of().drop(SIZE, "float32")
    gc.collect()
    engine_of().compile(SIZE)
    assert nvidia.world.builds == 3 and nvidia.world.settings[0] == 3


def test_drop_makes_the_next_session_build(nvidia, engine_of):
    engine = engine_of()
    session = engine.compile(SIZE)
    engine.drop(SIZE, "float32")
    engine.compile(SIZE)
    assert nvidia.world.builds == 2
    del session


def test_timings_of_one_build_serve_the_next(nvidia, engine_of):
    engine = engine_of()
    engine.compile(SIZE)
    assert nvidia.world.timing_seen == b""
    engine.compile((1, 8, 8))
    assert nvidia.world.timing_seen == b"timings of 10.15.1.29"
    nvidia.world.refuse_timing = True  # another driver since then
    engine.compile((1, 8, 16))
    assert nvidia.world.timing_seen == b"" and nvidia.world.builds == 3


# what can fail


def test_progress_rises_to_one_and_can_stop_the_build(nvidia, engine_of):
    seen = []
    engine_of(progress=lambda fraction, text: seen.append((fraction, text))).compile(SIZE)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert {text for _, text in seen} == {"Building", "Tactics", "built"}
    assert 0.5 < seen[4][0] < 1

    def stop(fraction, text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine_of(progress=stop).compile((1, 8, 8))


def test_a_build_under_way_is_cancelled(nvidia, engine_of):
    begun, failed = threading.Event(), []

    def progress(fraction, text):
        if text == "Tactics":
            begun.set()
            engine._cancelled.wait(60)

    engine = engine_of(progress=progress)

    def build():
        try:
            engine.compile_device(SIZE)
        except EngineError as error:
            failed.append(str(error))

    thread = threading.Thread(target=build)
    thread.start()
    assert begun.wait(60)
    other = threading.Thread(target=build)  # waits for its turn
    other.start()
    engine.cancel()
    thread.join(60)
    other.join(60)
    assert failed == ["the build was cancelled"] * 2 and not list(nvidia.cache.iterdir())


def test_tensorrt_own_words_reach_the_error(nvidia, engine_of):
    nvidia.world.fail_build = True
    with pytest.raises(
        EngineError, match="cannot build the model: could not find any implementation for node conv"
    ):
        engine_of().compile(SIZE)
    nvidia.world.no_builder = True
    with pytest.raises(EngineError, match="cannot start a builder: CUDA initialization failure"):
        engine_of().compile(SIZE)


def test_an_operator_that_it_does_not_know_is_named(nvidia, engine_of, tiny, monkeypatch, fakes):
    monkeypatch.setattr(fakes.tensorrt, "OPERATORS", fakes.tensorrt.OPERATORS - {"Mul"})
    text = (
        r"cannot read the model \(node 'scale' \(Mul\): the operator is not supported\): no importer for Mul"
    )
    with pytest.raises(EngineError, match=text):
        engine_of().compile(SIZE)


def test_no_context_and_no_memory(nvidia, engine_of, fakes):
    nvidia.world.no_context = True
    with pytest.raises(EngineError, match="execution context .*: out of memory"):
        engine_of().compile(SIZE)
    nvidia.world.no_context = False
    nvidia.cuda.faults.add("allocate")
    with pytest.raises(EngineError, match="allocate: CUDA_ERROR_UNKNOWN"):
        engine_of().compile(SIZE)
    gc.collect()
    assert not nvidia.cuda.held() and not nvidia.cuda.streams


def test_a_failed_enqueue_is_an_error(nvidia, engine_of):
    nvidia.world.fail_enqueue = True
    with pytest.raises(EngineError, match="could not queue a run: enqueueV3 failed: stream not accepted"):
        engine_of().compile(SIZE)


@pytest.mark.parametrize("how", ["fail_capture", "stale_graph", "empty_graph", "end capture", "instantiate"])
def test_a_capture_that_fails_or_repeats_old_results_is_not_used(nvidia, engine_of, run, how, fakes):
    if " " in how or how == "instantiate":
        nvidia.cuda.faults.add(how)
    else:
        setattr(nvidia.world, how, True)
    session = engine_of().compile(SIZE)
    why = {"fail_capture": "cannot be captured .*enqueueV3 failed", "stale_graph": "not trusted: output .* differs",
           "empty_graph": "not trusted: output .* differs", "end capture": "cannot be captured .*end capture: CUDA_ERROR",
           "instantiate": "cannot be captured .*instantiate: CUDA_ERROR"}[how]  # fmt: skip
    assert re.search(why, session.mode) and session.mode.startswith("eager: ")
    check(session, run)
    assert all(graph.closed for graph in nvidia.cuda.graphs), "a graph was left behind"
    nvidia.cuda.faults.clear()
    session.enqueue()
    session.synchronize()  # the stream is not stuck in a capture


def test_a_run_that_fails_later_is_an_error(nvidia, engine_of, fakes):
    session = engine_of().compile(SIZE)
    nvidia.cuda.faults.add("synchronize")
    session.enqueue()
    with pytest.raises(EngineError, match="synchronize: CUDA_ERROR"):
        session.synchronize()


@pytest.mark.parametrize(
    "device, text",
    [
        ("cuda:1", "this machine has 1 NVIDIA GPU"),
        ("gpu", "'gpu' is unknown"),
        ("cuda:-1", "unknown"),
        (0, "unknown"),
    ],
)
def test_wrong_devices(engine_of, device, text):
    with pytest.raises(EngineError, match=text):
        engine_of(device=device)


def test_wrong_level(engine_of):
    with pytest.raises(EngineError, match="optimization_level is 9; expected 0 to 5"):
        engine_of(optimization_level=9)


# choice


def test_auto_takes_tensorrt_on_a_gpu(nvidia, tiny):
    assert create_engine(tiny, "tensorrt", device="auto", **nvidia.options).info.device == "NVIDIA Fake 1"
    engine = create_engine(tiny, **nvidia.options)
    assert engine.info.name == "tensorrt" and engine.info.reason.startswith(
        "auto: the first that can be used"
    )
    assert create_engine(tiny, device="cpu").info.name == "openvino"


def test_auto_says_why_it_passed_over_the_gpu(nvidia, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    info = create_engine(tiny).info
    assert info.name == "openvino"
    assert (
        "engine tensorrt" in info.reason
        and "pypi.nvidia.com" in info.reason
        and "torch sees no GPU" in info.reason
    )
    with pytest.raises(EngineError, match="pypi.nvidia.com.*torch sees no GPU"):
        create_engine(tiny, device="cuda")
