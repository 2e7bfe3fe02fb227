"""Latency statistics against distributions and timelines whose answers are known."""

import numpy as np
import pytest

from dinar_live.runtime.bench import stats
from dinar_live.runtime.core.errors import InputError


def timeline(latencies_ms, planned):
    """Frames for every tick with a latency (None = never answered)."""
    frames = [(p, p + int(ms * 1e6)) for p, ms in zip(planned, latencies_ms, strict=True) if ms is not None]
    return stats.staleness(planned, [f[0] for f in frames], [f[1] for f in frames])


@pytest.fixture
def planned():
    return 10**15 + np.round(np.arange(20) * 1e9 / 30).astype(
        np.int64
    )  # not a whole number of nanoseconds apart


def test_percentiles_of_a_uniform_grid_are_exact():
    values = np.random.default_rng(0).permutation(np.arange(1001))
    assert stats.percentiles(values) == pytest.approx(
        {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "max": 1000}
    )


def test_percentiles_of_an_exponential_distribution():
    values = np.random.default_rng(1).exponential(5.0, 400_000)
    got = stats.percentiles(values)
    for name, q in stats.PERCENTILES.items():
        assert got[name] == pytest.approx(-5.0 * np.log(1 - q), rel=0.02)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_percentiles_refuse_what_has_none(values):
    with pytest.raises(InputError, match="percentiles"):
        stats.percentiles(values)


def test_samples_needed_is_the_smallest_count_that_bounds_the_quantile():
    for q in stats.PERCENTILES.values():
        n = stats.samples_for(q)
        assert q**n <= 0.025 < q ** (n - 1)
    assert stats.too_few(10) == {"p90": 36, "p95": 72, "p99": 368}
    assert stats.too_few(368) == {} and set(stats.too_few(367)) == {"p99"}


def test_residual_and_stages():
    stages = {"a": [1.0, 2.0, 3.0], "b": [4.0, 4.0, 4.0]}
    np.testing.assert_allclose(stats.residual([6.0, 6.0, 6.5], stages), [1.0, 0.0, -0.5])
    assert stats.stage_table(stages)["a"] == {"p50": 2.0, "p99": pytest.approx(2.98)}
    assert list(stats.stage_table(stages)) == ["a", "b"]
    with pytest.raises(InputError, match="stage 'b'"):
        stats.residual([1.0, 2.0], {"a": [1.0, 1.0], "b": [1.0]})


def test_thirds_show_a_machine_that_slows_down():
    assert stats.thirds([1.0] * 10 + [2.0] * 10 + [5.0] * 10) == [1.0, 2.0, 5.0]
    assert stats.thirds([1.0, 2.0]) == []


def test_frames_in_time_are_never_stale(planned):
    s = timeline([20.0] * 20, planned)
    assert (s.ticks, s.stale, s.runs) == (19, 0, ())
    np.testing.assert_allclose(s.age_ms, 1000 / 30, atol=1e-5)


def test_a_frame_ready_at_the_very_tick_counts(planned):
    s = stats.staleness(planned, planned[:-1], planned[1:])
    assert s.stale == 0


def test_a_late_frame_makes_one_stale_tick(planned):
    latencies = [20.0] * 20
    latencies[7] = 40.0  # misses tick 8, is there before tick 9 with frame 8
    s = timeline(latencies, planned)
    assert (s.stale, s.runs) == (1, (1,))
    assert s.age_ms[7] == pytest.approx(2000 / 30, abs=1e-4)


def test_a_missing_frame_makes_one_stale_tick(planned):
    latencies = [20.0] * 20
    latencies[3] = None
    assert timeline(latencies, planned).runs == (1,)


def test_a_stall_that_ends_in_a_burst_is_one_run(planned):
    latencies = [20.0] * 20
    for k in range(5):  # ticks 5..9 are all answered together, just after tick 10
        latencies[5 + k] = (5 - k) * 1000 / 30 + 1
    latencies[15] = None
    s = timeline(latencies, planned)
    assert (s.stale, s.runs, s.longest) == (6, (5, 1), 5)


def test_an_old_frame_that_comes_late_does_not_make_the_picture_older(planned):
    latencies = [20.0] * 20
    latencies[4] = 200.0
    assert timeline(latencies, planned).runs == (1,)


def test_always_one_period_behind_is_always_stale(planned):
    s = timeline([40.0] * 20, planned)
    assert (s.stale, s.runs) == (19, (19,))
    assert np.isinf(s.age_ms[0])


def test_no_frames_at_all(planned):
    s = stats.staleness(planned, [], [])
    assert (s.stale, s.runs) == (19, (19,))
    with pytest.raises(InputError, match="planned"):
        stats.staleness(planned[:1], [], [])
