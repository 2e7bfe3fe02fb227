"""The picture of a measurement: well-formed, and what is in it."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from dinar_live.runtime.bench import stats
from dinar_live.runtime.bench.measurement import Measurement
from dinar_live.runtime.bench.plot import COLUMNS, nice_steps, svg

SVG = "{http://www.w3.org/2000/svg}"


def measurement(latency, paced=True, **more):
    latency = np.asarray(latency, float)
    planned = np.arange(len(latency) + 1) * 33_000_000
    staleness = stats.staleness(planned, planned[:-1], planned[:-1] + (latency * 1e6).astype(int))
    return Measurement(
        scenario="paced" if paced else "single",
        latency_ms=latency,
        stages_ms={"network": latency * 0.75, "<rest> & more": latency * 0.25},
        fps=30.0,
        includes="this & that",
        size=(512, 512),
        renderer="light",
        engine="openvino",
        precision="f32",
        rasterizer="native",
        staleness=staleness if paced else None,
        extra={"rate_hz": 30.0} if paced else {},
        **more,
    )


def drawn(m):
    root = ElementTree.fromstring(svg(m, "a <title>"))
    return root, [e.text for e in root.iter(f"{SVG}text")]


def test_latency_stages_and_stale_ticks():
    latency = np.full(60, 20.0)
    latency[[10, 11, 40]] = 50.0
    root, texts = drawn(measurement(latency))
    assert "a <title>" in texts and "this & that" in texts
    assert "network 16.12" in texts and "<rest> & more 5.38" in texts
    assert "p50 20.0 ms" in texts and "2 s" in texts
    assert any(t.startswith("red: ticks that showed an old frame, 3 of 60") for t in texts)
    latencies, stale = [p.get("d") for p in root.iter(f"{SVG}path")]
    assert latencies.count("M") == 60 and stale.count("M") == 3
    high = float(latencies.split("M")[11].split("V")[1])
    assert high < float(latencies.split("M")[1].split("V")[1])  # up is more


def test_bars_are_as_long_as_the_stages():
    root, _ = drawn(measurement([10.0] * 30, paced=False))
    bars = [float(r.get("width")) for r in root.iter(f"{SVG}rect") if r.get("height") == "26"]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.01) and len(bars) == 4


@pytest.mark.parametrize("count", [1, 2, COLUMNS - 1, 20_000])
def test_however_many_frames(count):
    root, _ = drawn(measurement(np.random.default_rng(0).exponential(9, count) + 0.1, paced=count > 1))
    assert next(root.iter(f"{SVG}path")).get("d").count("M") == min(count, COLUMNS)


@pytest.mark.parametrize(
    "most, steps", [(9.0, [0, 2, 4, 6, 8, 10]), (370, [0, 100, 200, 300, 400]), (0.04, None)]
)
def test_steps_of_the_axis(most, steps):
    found = nice_steps(most)
    assert found[0] == 0 and found[-1] >= most - 1e-9 and 3 <= len(found) <= 7
    if steps:
        assert found == pytest.approx(steps)
