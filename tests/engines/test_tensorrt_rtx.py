"""TensorRT for RTX: plans that the real builder builds here without a GPU, and sessions against a strict fake of it
and of the GPU."""

import importlib.util
import pathlib
import re
import sys

import numpy as np
import pytest

from dinar_live import engines
from dinar_live.cli.main import main
from dinar_live.engines import EngineError, create_builder, create_engine
from dinar_live.engines.onnx.file import load_onnx

SIZE = (1, 4, 6)
DEMO = pathlib.Path(engines.__file__).parents[1] / "runtime" / "assets" / "demo_avatar" / "renderers"


@pytest.fixture(scope="session")
def rtx():
    """Our module over the real library."""
    pytest.importorskip(
        "tensorrt_rtx_libs", reason="needs the packages of the extra rtx", exc_type=ImportError
    )
    pytest.importorskip(
        "tensorrt_rtx_bindings", reason="needs the packages of the extra rtx", exc_type=ImportError
    )
    from dinar_live.engines.tensorrt import rtx

    return rtx


def builder_of(rtx, model, cache, precision="auto", target="8.0+"):
    """(builder, its log): one log for all that it builds."""
    builder = rtx.open_builder(load_onnx(model), precision, target=target, cache_dir=cache)
    log = builder._library.log()
    builder._library.log = lambda: log
    return builder, log


# the real builder


@pytest.mark.parametrize("precision", ["f16", "f32"])
@pytest.mark.parametrize("renderer", sorted(p.parent.name for p in DEMO.glob("*/model.onnx")))
def test_the_demo_avatars_networks_build_without_a_warning(rtx, tmp_path, renderer, precision):
    builder, log = builder_of(rtx, DEMO / renderer / "model.onnx", tmp_path / "cache", precision)
    for size in ((1, 512, 512), (2, 512, 512), (1, 384, 256), (1, 128, 128)):
        assert builder.prepare(size, builder.device_io) > 100_000
    assert builder.built == 4 and not log.warnings and not log.take()


@pytest.fixture(scope="session")
def full_renderer() -> bytes:
    """The full DINAR renderer with seeded weights."""
    pytest.importorskip("torch", reason="the exporter needs torch")
    from dinar_live.export.checkpoint import load_checkpoint
    from dinar_live.export.dinar.bake import renderer_onnx
    from dinar_live.export.networks import random_state_dict
    from dinar_live.export.networks.model import required

    return renderer_onnx(required(load_checkpoint(random_state_dict(0), networks=("renderer",)).renderer))


@pytest.mark.parametrize(
    ("size", "precision"),
    [
        ((1, 256, 256), "f16"),
        *(
            pytest.param(size, precision, marks=pytest.mark.slow)
            for size in ((1, 512, 512), (2, 512, 512), (1, 384, 256), (2, 128, 128))
            for precision in ("f16", "f32")
        ),
    ],
)
def test_the_full_renderer_builds_without_a_warning(rtx, tmp_path, full_renderer, size, precision):
    builder, log = builder_of(rtx, full_renderer, tmp_path / "cache", precision)
    assert builder.prepare(size, builder.device_io) > 10_000_000
    assert not log.warnings and not log.take()


def test_every_layer_runs_in_the_type_that_the_graph_says(rtx, tmp_path):
    """The builder's own list of layers: strongly typed means that float16 stays float16."""
    said = []
    builder, log = builder_of(rtx, DEMO / "light" / "model.onnx", tmp_path / "cache", "f16")
    library = builder._library

    class Talkative(type(log)):
        def log(self, severity, msg):
            said.append(str(msg))

    def configure(config, settings, timing, log, given=library.configure):
        config.profiling_verbosity = library.trt.ProfilingVerbosity.DETAILED
        return given(config, settings, timing, log)

    library.configure, library.log = configure, Talkative
    builder.prepare((1, 256, 256), "float16")
    layers = re.findall(
        r"^Name: .*?LayerType: (\w+).*?Inputs: \[(.*?)\], Constants", "\n".join(said), re.MULTILINE
    )
    inputs = [kind for _, tensors in layers for kind in re.findall(r"Datatype: (\w+)", tensors)]
    assert sum(kind == "correlation" for kind, _ in layers) > 8, "no convolutions in the builder's list"
    assert inputs and set(inputs) == {"Half"}
    assert re.search(r"Name: features, IOMode: Input, DataType: Half, Dimensions: \[1,\d+,", "\n".join(said))


def test_a_plan_is_found_again_and_one_for_older_cards_is_another(rtx, tmp_path):
    model = DEMO / "light" / "model.onnx"
    first, _ = builder_of(rtx, model, tmp_path / "cache")
    size = first.prepare((1, 128, 128), "float16")
    again, _ = builder_of(rtx, model, tmp_path / "cache")
    assert again.prepare((1, 128, 128), "float16") == size and again.built == 0
    turing, _ = builder_of(rtx, model, tmp_path / "cache", target="7.5")
    turing.prepare((1, 128, 128), "float16")
    assert turing.built == 1 and "7.5" in turing.info.device
    again.drop((1, 128, 128), "float16")
    again.prepare((1, 128, 128), "float16")
    assert again.built == 1


def test_progress_rises_and_may_stop_the_build(rtx, tmp_path):
    seen = []
    builder = rtx.open_builder(
        load_onnx(DEMO / "light" / "model.onnx"),
        "f16",
        cache_dir=tmp_path / "a",
        progress=lambda fraction, text: seen.append(fraction),
    )
    builder.prepare((1, 128, 128), "float16")
    assert seen == sorted(seen) and seen[-1] == 1.0

    def stop(fraction, text):
        raise KeyboardInterrupt

    builder = rtx.open_builder(
        load_onnx(DEMO / "light" / "model.onnx"), "f16", cache_dir=tmp_path / "b", progress=stop
    )
    with pytest.raises(KeyboardInterrupt):
        builder.prepare((1, 128, 128), "float16")
    assert not list((tmp_path / "b").iterdir())


def test_without_a_gpu_a_plan_cannot_be_loaded_and_says_why(rtx, tmp_path):
    from dinar_live.engines.tensorrt.engine import _deserialize

    if not engines.available_engines()["tensorrt-rtx"]:
        pytest.skip("there is a GPU")
    builder, log = builder_of(rtx, DEMO / "light" / "model.onnx", tmp_path / "cache")
    builder.prepare((1, 128, 128), "float16")
    data = builder._cache.load(builder.key((1, 128, 128), "float16", 3))
    assert data is not None
    for content in (bytes(data), bytes(data)[:5000], b"x" * 5000):
        with pytest.raises(EngineError, match="TensorRT cannot load the plan: .+"):
            _deserialize(builder._library, content, log)


def test_an_operator_that_it_does_not_know_is_named(rtx, tmp_path, tiny):
    broken = tiny.replace(b"Mul", b"Muy")
    builder, _ = builder_of(rtx, DEMO / "light" / "model.onnx", tmp_path / "cache")
    builder.lowered = lambda size, io: broken
    with pytest.raises(EngineError, match="TensorRT cannot read the model .*Muy"):
        builder.prepare(SIZE, "float16")


def test_the_fake_and_our_sources_use_what_the_real_bindings_have(rtx, fakes):
    path = pathlib.Path(__file__).parent / "tensorrt_api.py"
    spec = importlib.util.spec_from_file_location("tensorrt_api", path)
    tensorrt_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tensorrt_api)
    api = tensorrt_api.describe(rtx.tensorrt_rtx_bindings)
    fake = fakes.tensorrt.make_rtx(fakes.cuda.FakeCuda())
    checked = 0
    for name, cls in vars(fake).items():
        if not isinstance(cls, type) or name == "Strict":
            continue
        real = api["classes"][name]
        assert set(getattr(cls, "__members__", ())) <= set(real["enum"]), name
        for key, member in vars(cls).items():
            if not key.startswith("_") and not isinstance(member, type) and not hasattr(cls, "__members__"):
                assert real["members"][key]["callable"] == callable(member), f"{name}.{key}"
                checked += 1
        for key in getattr(cls, "_settable", ()):
            assert real["members"][key]["settable"], f"{name}.{key}"
    assert checked > 25
    assert not hasattr(fake.IBuilderConfig, "create_timing_cache")


# sessions, on the fake


def features(seed=0, shape=(1, 4, 4, 6)):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture
def engine_of(nvidia_rtx, tiny):
    return lambda **options: create_engine(tiny, "tensorrt-rtx", **(nvidia_rtx.options | options))


def kinds(cache):
    return sorted(
        kind for path in cache.iterdir() for kind in re.findall(rb'"kind":"(\w+)"', path.read_bytes())
    )


def test_a_session_runs_as_one_graph_and_what_was_compiled_for_the_card_is_kept(nvidia_rtx, engine_of, run):
    engine = engine_of()
    assert (engine.info.name, engine.info.version) == ("tensorrt-rtx", "1.7.1.116")
    session = engine.compile(SIZE)
    assert session.mode == "graph"
    run(session, features())
    np.testing.assert_allclose(session.outputs["rgb"], 2 * features()[:, :3], atol=2e-3)
    assert nvidia_rtx.world.compiled == 1 and kinds(nvidia_rtx.cache) == [b"kernels", b"plan"]
    del session, engine
    run(engine_of().compile(SIZE), features())
    assert nvidia_rtx.world.compiled == 1 and nvidia_rtx.world.builds == 1  # both were kept


def test_another_card_takes_the_same_plan_and_compiles_its_own_kernels(nvidia_rtx, engine_of, run):
    run(engine_of().compile(SIZE), features())
    nvidia_rtx.cuda.name = "NVIDIA Fake 2"
    run(engine_of().compile(SIZE), features())
    assert nvidia_rtx.world.builds == 1 and nvidia_rtx.world.compiled == 2


def test_kept_kernels_that_are_refused_are_compiled_anew(nvidia_rtx, engine_of, run):
    """As after an update of the driver: the blob is whole, the library does not take it."""
    session = engine_of().compile(SIZE)
    name, nvidia_rtx.cuda.name = nvidia_rtx.cuda.name, "renamed by a driver"
    del session
    nvidia_rtx.world.compiled = 0
    session = engine_of().compile(SIZE)
    run(session, features())
    assert nvidia_rtx.world.compiled == 1 and session.mode == "graph"
    assert name != nvidia_rtx.cuda.name


def test_a_stream_that_may_not_be_captured_means_eager_runs(nvidia_rtx, engine_of, run):
    nvidia_rtx.world.not_capturable = True
    session = engine_of().compile(SIZE)
    assert session.mode == "eager: TensorRT for RTX says that it cannot be captured"
    run(session, features())
    np.testing.assert_allclose(session.outputs["rgb"], 2 * features()[:, :3], atol=2e-3)
    device = engine_of().compile_device(SIZE)
    stream = nvidia_rtx.cuda.Device(0).stream()
    device.warm_up(stream.handle)
    assert device.mode.startswith("eager: ")


def test_turing_gets_a_plan_of_its_own(nvidia_rtx, engine_of):
    nvidia_rtx.cuda.compute_capability = (8, 9)
    engine_of().compile(SIZE)
    assert nvidia_rtx.world.capabilities is None
    nvidia_rtx.cuda.compute_capability = (7, 5)
    engine_of().compile(SIZE)
    assert (
        nvidia_rtx.world.capabilities == nvidia_rtx.rtx.ComputeCapability.SM75
        and nvidia_rtx.world.builds == 2
    )


@pytest.mark.parametrize("capability", [(7, 0), (8, 7), (9, 0), (10, 3)])
def test_a_card_that_it_has_no_plans_for_is_refused_before_anything_is_built(
    nvidia_rtx, engine_of, tiny, capability
):
    nvidia_rtx.cuda.compute_capability = capability
    says = rf"no plans for NVIDIA Fake 1, .* {capability[0]}\.{capability[1]} is not among 7\.5, 8\.0, 8\.9, 12\.0"
    with pytest.raises(EngineError, match=says):
        engine_of()
    assert nvidia_rtx.world.builds == 0
    nvidia_rtx.cuda.compute_capability = (13, 0)  # newer than all it knows
    engine_of().compile(SIZE)


def test_a_plan_of_another_card_family_is_not_taken(nvidia_rtx, engine_of, run):
    """Its name says which cards it is for; a file under another's name is not what was stored there."""
    engine_of().compile(SIZE)
    (plan,) = [path for path in nvidia_rtx.cache.iterdir() if b'"kind":"plan"' in path.read_bytes()]
    content = plan.read_bytes()
    plan.write_bytes(content.replace(b'"compute_capability":"8.0+"', b'"compute_capability":"7.5"'))
    engine = engine_of()
    run(engine.compile(SIZE), features())
    assert engine.built == 1 and nvidia_rtx.world.builds == 2


def test_auto_takes_it_where_tensorrt_is_not_installed(nvidia_rtx, tiny):
    engine = create_engine(tiny, **nvidia_rtx.options)
    assert engine.info.name == "tensorrt-rtx" and "the package tensorrt" in engine.info.reason


def test_what_was_built_without_a_gpu_is_found_with_one(nvidia_rtx, engine_of, tiny, run):
    with create_builder(tiny, "tensorrt-rtx", cache_dir=nvidia_rtx.cache) as builder:
        for io in ("float32", "float16"):
            assert builder.prepare(SIZE, io) > 100
        assert builder.built == 2
        with pytest.raises(EngineError, match="opened to build plans only"):
            builder.compile(SIZE)
    engine = engine_of()
    run(engine.compile(SIZE), features())
    engine.compile_device(SIZE)
    assert nvidia_rtx.world.builds == 2
    assert engine.built == 2, "what was never run counts as built now, so that it is compared"
    again = engine_of()
    again.compile(SIZE)
    assert again.built == 0


@pytest.mark.parametrize("damage", ["truncated", "another version"])
def test_a_plan_that_does_not_fit_is_built_again(nvidia_rtx, engine_of, run, damage):
    engine_of().compile(SIZE)
    if damage == "truncated":
        for path in nvidia_rtx.cache.iterdir():
            path.write_bytes(path.read_bytes()[:-5])
    else:
        nvidia_rtx.world.version = nvidia_rtx.rtx.__version__ = "1.8.0.1"
    engine = engine_of()
    run(engine.compile(SIZE), features())
    assert engine.built == 1


def test_wrong_targets_and_engines_that_build_on_their_gpu_only(nvidia_rtx, tiny):
    with pytest.raises(EngineError, match=r"target is '9.0'; expected one of '8.0\+', '7.5'"):
        create_builder(tiny, "tensorrt-rtx", target="9.0")
    with pytest.raises(EngineError, match="engine torch cannot build without a GPU"):
        create_builder(tiny, "torch")


# memory on the GPU that sessions share


@pytest.mark.parametrize("flavour", ["nvidia", "nvidia_rtx"])
def test_sessions_that_share_memory_hold_their_weights_alone(request, flavour, tiny):
    """And compute the same, one after the other, whichever was made first."""
    from dinar_live.kernels.cuda import Scratch

    machine = request.getfixturevalue(flavour)
    name = "tensorrt" if flavour == "nvidia" else "tensorrt-rtx"
    device = machine.cuda.Device(0)
    stream = device.stream()
    engine = create_engine(tiny, name, **machine.options)
    engine.scratch = Scratch(device)
    before = machine.cuda.held()
    sizes = [(1, 8, 12), (1, 4, 6), (1, 8, 6)]
    sessions = [engine.compile_device(size) for size in sizes]
    tensors = len(sessions[0].inputs) + len(sessions[0].outputs)
    assert machine.cuda.held() - before == tensors + 1, "one block a tensor, and one between the layers"
    assert len({session.inputs["features"].pointer for session in sessions}) == 1
    assert all(0 < session.memory < 10_000 for session in sessions), "the plan's weights"
    for session, size in [*zip(sessions, sizes, strict=True), (sessions[0], sizes[0])]:
        x = features(shape=(1, 4, *size[1:]))
        there = device.wrap(session.inputs["features"].pointer, x.shape, np.float16)
        given = device.pinned(x.shape, np.float16)
        given[...] = x
        there.copy_from(given, stream)
        session.warm_up(stream.handle)
        rgb = session.outputs["rgb"]
        got = device.pinned(rgb.shape, np.float16)
        device.wrap(rgb.pointer, rgb.shape, rgb.dtype).copy_to(got, stream)
        stream.synchronize()
        np.testing.assert_allclose(got, 2 * x[:, :3], atol=2e-2)
    sessions.pop(0).close()
    sessions[0].warm_up(stream.handle)  # the rest goes on
    with create_engine(tiny, name, **machine.options) as own:
        assert own.compile_device(sizes[0]).memory > sessions[0].memory  # its tensors too


# the verb, on a machine without a GPU


def test_the_verb_builds_for_gpus_elsewhere(rtx, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dinar_live.cli.compile.nvidia_problem", lambda: "no NVIDIA driver")
    arguments = ["compile", "demo", "--engine", "tensorrt-rtx", "--size", "128x128", "--renderer", "light"]
    assert main([*arguments, "--to", str(tmp_path / "plans"), "--views", "2"]) == 0
    out = capsys.readouterr().out
    assert "renderer light: tensorrt-rtx 1." in out and "f16 for GPUs of compute capability 8.0+" in out
    assert re.search(r"128x128 x2 \(device\): built in \d+\.\d s and kept, \d+\.\d MB", out)
    assert "Nothing of this was run" in out and f"DINAR_CACHE={tmp_path / 'plans'}" in out
    assert kinds(tmp_path / "plans" / "engines") == [b"plan", b"unchecked"]
    assert main([*arguments, "--to", str(tmp_path / "plans"), "--views", "2"]) == 0
    assert "kept from an earlier build" in capsys.readouterr().out


def test_the_verb_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dinar_live.cli.compile.nvidia_problem", lambda: "no NVIDIA driver")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    assert main(["compile", "demo", "--engine", "tensorrt-rtx", "--to", str(tmp_path)]) == 2
    assert "needs the package tensorrt_rtx_bindings" in capsys.readouterr().err
    assert main(["compile", "demo", "--engine", "openvino", "--target", "7.5"]) == 2
    assert "--target: the engine openvino builds for the GPU at hand only" in capsys.readouterr().err
