"""The light network of benchmarks/: both engines agree on it, its crops are exact; the benchmark script and
the yardstick run."""

import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from dinar_live.engines import create_engine
from dinar_live.engines.yardstick import yardstick

ENGINES = ("openvino", "torch")


# the light network


@pytest.mark.parametrize("channels", [16, 19, 21])
def test_light_network_engines_agree(light, channels, run):
    model = light.build(channels, seed=channels)
    x = np.random.default_rng(0).standard_normal((2, channels + 3, 48, 32), np.float32)
    results = []
    for engine in ENGINES:
        session = create_engine(model, engine, "f32").compile((2, 48, 32))
        run(session, x)
        results.append({key: array.copy() for key, array in session.outputs.items()})
    for key, channels_out in (("rgb", 3), ("alpha", 1)):
        assert results[0][key].shape == (2, channels_out, 48, 32)
        assert results[0][key].min() >= 0 and results[0][key].max() <= 1 and results[0][key].std() > 0.05
        np.testing.assert_allclose(results[0][key], results[1][key], atol=2e-5)


def test_light_network_budget_and_weights(light):
    assert light.gflop(21) <= 10
    assert light.gflop(16, size=(512, 256)) == pytest.approx(light.gflop(16) / 2)
    assert light.build(16, seed=1) == light.build(16, seed=1) != light.build(16, seed=2)
    with pytest.raises(ValueError, match="multiple of 16"):
        light.build(16, width=24)


def test_crop_of_the_light_network_is_exact(light, run):
    """A crop with a margin of reach() pixels gives the full frame's pixels; without a margin it does not."""
    rows, columns = np.mgrid[:320, :320]
    mask = ((columns - 150) / 40) ** 2 + ((rows - 165) / 60) ** 2 < 1
    features = np.random.default_rng(0).standard_normal((1, 19, 320, 320), np.float32) * mask
    features[:, 16:18] = np.where(mask, features[:, 16:18], -10)
    features[:, 18] = mask
    engine = create_engine(light.build(16), "openvino", "f32")

    def rgba(x):
        session = engine.compile((1, *x.shape[2:]))
        run(session, x)
        return np.concatenate(
            [session.outputs["rgb"] * session.outputs["alpha"], session.outputs["alpha"]], axis=1
        )

    full = rgba(features)
    box = np.array([np.nonzero(mask.any(1))[0][[0, -1]], np.nonzero(mask.any(0))[0][[0, -1]]])
    errors = {}
    for margin in (0, light.reach()):
        (top, bottom), (left, right) = (
            (low // light.STRIDE * light.STRIDE, -(-high // light.STRIDE) * light.STRIDE)
            for low, high in box + [-margin, margin + 1]
        )
        out = np.zeros_like(full)
        out[:, :, top:bottom, left:right] = rgba(np.ascontiguousarray(features[:, :, top:bottom, left:right]))
        errors[margin] = np.abs(out - full).max()
    assert errors[light.reach()] < 1e-4 and errors[0] > 1 / 255


def test_reach_is_what_one_pixel_does(light, run):
    session = create_engine(light.build(16), "openvino", "f32").compile((1, 128, 128))
    farthest = 0
    for at in range(60, 68):
        x = np.zeros((1, 19, 128, 128), np.float32)
        for sign in (-1, 1):
            x[:, 16:18] = -10
            x[:, :16, at, at] = 20 * sign * np.random.default_rng(at).standard_normal(16)
            x[:, 18, at, at] = 1
            run(session, x)
            _, rows, columns = np.nonzero(session.outputs["alpha"][0])
            if rows.size:
                farthest = max(farthest, np.abs(rows - at).max(), np.abs(columns - at).max())
    assert light.reach() - 16 <= farthest <= light.reach()


def test_benchmark_script_runs(tmp_path):
    script = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "engines.py"
    start = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            "--sizes",
            "64x64",
            "--rounds",
            "1",
            "--runs",
            "2",
            "--json",
            str(tmp_path / "r.json"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "openvino" in done.stdout
        and (tmp_path / "r.json").stat().st_size > 100
        and time.perf_counter() - start < 60
    )


def test_yardstick():
    scale = yardstick()
    assert scale.keys() == {"conv_gflops_f32", "conv_gflops_bf16", "memcpy_gbps"}
    assert scale["conv_gflops_f32"] > 1 and scale["memcpy_gbps"] > 0.1
    assert scale["conv_gflops_bf16"] is None or scale["conv_gflops_bf16"] > 1
