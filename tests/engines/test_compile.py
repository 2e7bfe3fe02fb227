"""`dinar compile` on the CPU and with a fake TensorRT, and the comparison with float32 that it makes."""

import dataclasses
import math

import numpy as np
import pytest

from dinar_live.cli.main import main
from dinar_live.kernels.install import install_line
from dinar_live.runtime.avatar import RendererSpec
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render import parity
from dinar_live.runtime.render.compiling import sizes


@pytest.fixture(autouse=True)
def few_runs(monkeypatch):
    """A run of the stand-in takes half a second."""
    monkeypatch.setattr("dinar_live.runtime.render.compiling.TIMED_RUNS", 1)


@pytest.fixture
def avatar(avatar_with_checks, light):
    """The open body with the light network (random weights) over a texture of 16 channels, and a renderer
    without a network."""
    texture = np.random.default_rng(0).standard_normal((32, 32, 16)).astype(np.float16)
    spec = RendererSpec(texture, model=light.build(16, 16), margin=light.reach(), stride=light.STRIDE)
    (picture,) = avatar_with_checks.checks.rgba.values()
    checks = dataclasses.replace(avatar_with_checks.checks, rgba={"light": picture, "texture": picture})
    return dataclasses.replace(
        avatar_with_checks, renderers={"light": spec} | avatar_with_checks.renderers, checks=checks
    )


@pytest.fixture
def bundle(avatar, tmp_path):
    avatar.save(tmp_path / "ann")
    return str(tmp_path / "ann")


def compiled(bundle, *arguments):
    return main(["compile", bundle, "--size", "64", *map(str, arguments)])


# the verb


def test_on_a_cpu_it_says_what_it_did(bundle, capsys):
    assert (
        compiled(bundle, "--engine", "openvino", "--precision", "f32", "--views", 2, "--device", "cpu") == 0
    )
    out = capsys.readouterr().out
    assert (
        "renderer light: openvino" in out
        and "64x64 x2: compiled in" in out
        and "nothing is kept" in out
        and out.count(": ok") == 1
    )
    assert "renderer texture: has no network, nothing to compile" in out


def test_without_a_gpu_tensorrt_is_one_sentence_with_the_line_that_installs_it(bundle, capsys, monkeypatch):
    from dinar_live import engines

    monkeypatch.setattr(
        engines.registry, "nvidia_problem", lambda: "no NVIDIA driver (libcuda.so.1 was not found)"
    )
    monkeypatch.setattr(engines.registry, "installed", lambda package: package != "tensorrt")
    assert compiled(bundle, "--engine", "tensorrt") == 2
    error = capsys.readouterr().err
    assert error == (
        "dinar compile: renderer 'light': engine tensorrt needs an NVIDIA GPU (no NVIDIA driver (libcuda.so.1 was not found)) "
        f"and the package tensorrt: {install_line('gpu')} tensorrt-cu13 --extra-index-url https://pypi.nvidia.com\n"
    )


def test_tensorrt_builds_keeps_and_builds_again(nvidia, bundle, capsys):
    arguments = ("--renderer", "light")
    assert compiled(bundle, *arguments) == 0
    out = capsys.readouterr().out
    assert "tensorrt 10.15.1.29 f16 on NVIDIA Fake 1 (auto: the first that can be used; f16: a GPU)" in out
    assert "64x64 (device): built in" in out and ": ok, 0.500 ms a run" in out
    assert any(b'"kind":"measured"' in path.read_bytes() for path in nvidia.cache.iterdir())
    assert nvidia.world.builds == 1 and nvidia.world.settings[0] == 3
    assert {value.type.tensor_type.elem_type for value in nvidia.world.parsed.graph.input} == {10}
    assert compiled(bundle, *arguments) == 0
    assert "kept from an earlier build" in capsys.readouterr().out and nvidia.world.builds == 1
    assert compiled(bundle, *arguments, "--rebuild", "--host") == 0
    out = capsys.readouterr().out
    assert "64x64 (device): built" in out and "64x64 (host): built" in out and nvidia.world.builds == 3
    assert not nvidia.cuda.streams, "a stream was left behind"


def test_an_engine_that_computes_something_else_is_refused_and_not_kept(nvidia, bundle, capsys):
    nvidia.world.wrong = True
    assert compiled(bundle, "--renderer", "light", "--host") == 1
    done = capsys.readouterr()
    assert (
        done.out.count("REFUSED, expected at least 50 dB and 99.9 % within 2/255") == 2
        and "use --precision f32" in done.err
    )
    assert not [path for path in nvidia.cache.iterdir() if b'"kind":"plan"' in path.read_bytes()]


def test_a_build_that_fails_is_one_line(nvidia, bundle, capsys):
    nvidia.world.fail_build = True
    assert compiled(bundle, "--engine", "tensorrt") == 2
    assert capsys.readouterr().err.endswith(
        "TensorRT cannot build the model: could not find any implementation for node conv\n"
    )


def test_wrong_arguments(bundle, capsys):
    assert (
        compiled(bundle, "--renderer", "dinar") == 2
        and "the avatar has light, texture" in capsys.readouterr().err
    )
    assert (
        compiled(bundle, "--window", "128x64") == 2
        and "larger than the picture of 64x64" in capsys.readouterr().err
    )
    assert (
        compiled(bundle, "--engine", "openvino", "--device", "cuda") == 2
        and "no option device" in capsys.readouterr().err
    )
    assert compiled(bundle, "--threads", -1) == 2 and "expected 0..256" in capsys.readouterr().err


def test_sizes(avatar):
    spec = avatar.renderers["light"]
    assert sizes(spec, [(100, 60)]) == [((104, 64), (100, 60))]
    every = dict(sizes(spec, [(512, 512)], every_window=True))
    assert (
        len(every) == 16
        and next(iter(every)) == (512, 512)
        and (128, 384) in every
        and set(every.values()) == {(512, 512)}
    )
    assert sizes(spec, [(512, 512)], [(500, 128)])[1] == ((504, 128), (512, 512))
    with pytest.raises(InputError, match="128x1024, larger than the picture of 512x512"):
        sizes(spec, [(512, 512)], [(1024, 128)])


# the comparison


SPEC = RendererSpec(np.zeros((2, 2, 3), np.float32))


def outputs(rgb, alpha):
    return {"rgb": np.full((1, 3, 4, 4), rgb, np.float32), "alpha": np.full((1, 1, 4, 4), alpha, np.float32)}


def measured(want, got, spec=SPEC, mask=0.0):
    x = np.full((1, 6, 4, 4), mask, np.float32)
    return parity.measure(spec, iter([x, x]), lambda _: want, lambda _: got)


def test_figures_of_a_known_difference():
    result = measured(outputs(0.5, 1.0), outputs(0.6, 1.0))
    assert result.max_error == pytest.approx(0.1) and result.views == 2
    assert result.psnr == pytest.approx(-10 * math.log10(0.1**2 * 3 / 4), abs=1e-3)
    assert not result.passes("f16") and measured(outputs(0.5, 1), outputs(0.5, 1)).psnr == math.inf
    assert measured(outputs(0.5, 1.0), outputs(0.502, 1.0)).passes("f16")
    worse = measured(outputs(0.5, 1.0), outputs(0.51, 1.0))
    assert not worse.passes("f16") and worse.passes("bf16")


def test_colour_counts_where_it_is_seen_only():
    assert measured(outputs(0.2, 0.0), outputs(0.9, 0.0)).psnr == math.inf
    assert measured(outputs(0.2, 0.5), outputs(0.3, 0.5)).max_error == pytest.approx(0.05)
    hard = dataclasses.replace(SPEC, hardsegm=True)
    assert measured(outputs(0.2, 0.0), outputs(0.9, 0.0), hard, mask=1.0).max_error == pytest.approx(0.7)
    assert measured(outputs(0.2, 0.0), outputs(0.2, 0.3)).max_error == pytest.approx(
        0.3
    )  # alpha where there should be none


def test_single_channels_may_be_off_but_not_one_in_a_hundred():
    want = {"rgb": np.full((1, 3, 64, 64), 0.5, np.float32), "alpha": np.ones((1, 1, 64, 64), np.float32)}
    for count, passes in ((10, True), (400, False)):
        got = {name: array.copy() for name, array in want.items()}
        got["rgb"].flat[:count] += 4 / 255
        x = np.zeros((1, 6, 64, 64), np.float32)
        result = parity.measure(SPEC, iter([x]), lambda _: want, lambda _, got=got: got)
        assert result.psnr > 50 and result.max_error == pytest.approx(4 / 255, rel=1e-3)
        assert result.passes("f16") == passes, str(result)


def test_an_engine_that_was_refused_is_not_built_again_at_the_next_start(nvidia, bundle, capsys):
    nvidia.world.wrong = True
    assert compiled(bundle, "--renderer", "light") == 1
    nvidia.world.wrong, builds = False, nvidia.world.builds
    assert compiled(bundle, "--renderer", "light") == 2
    error = capsys.readouterr().err
    assert "at an earlier start, what tensorrt built was refused: PSNR" in error and "--rebuild" in error
    assert nvidia.world.builds == builds
    assert compiled(bundle, "--renderer", "light", "--rebuild") == 0
    assert compiled(bundle, "--renderer", "light") == 0


def test_what_is_not_finite_fails():
    result = measured(outputs(0.5, 1.0), outputs(np.nan, 1.0))
    assert not result.passes("f16") and not result.passes("bf16")


def test_check_views_scale_to_the_picture(avatar):
    spec = avatar.renderers["texture"]
    ((pose, camera),) = parity.check_views(avatar, (96, 96))
    np.testing.assert_array_equal(camera.K, avatar.checks.K[0])
    ((_, wide),) = parity.check_views(avatar, (192, 384))
    low = parity.features(avatar, spec, pose, camera, (96, 96))[-1]
    high = parity.features(avatar, spec, pose, wide, (192, 384))[-1]
    assert abs(high.sum() / low.sum() - 4) < 0.1
    rows, columns = np.nonzero(high)
    assert 180 < columns.mean() < 204 and high[:, :96].sum() == 0
    assert [x.shape for x in parity.inputs_for(avatar, spec, (2, 64, 32), (96, 96))] == [(2, 6, 64, 32)]
    assert len(parity.check_views(dataclasses.replace(avatar, checks=None), (64, 64))) == 2
