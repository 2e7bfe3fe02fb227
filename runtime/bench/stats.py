"""Latency statistics: percentiles, stages, residuals, stale frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.render.frame import GPU_TIME, STAGES

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
CONFIDENCE = 0.975


def percentiles(values: ArrayLike) -> dict[str, float]:
    """p50, p90, p95, p99 (linear between samples, as numpy does) and max of `values` [n], in their unit.

    Raises InputError for no values or ones that are not finite.
    """
    values = np.asarray(values, np.float64)
    bad = int(values.size - np.isfinite(values).sum())
    if values.size == 0 or bad:
        raise InputError(
            f"percentiles: got {values.size} values, {bad} of them not finite; expected at least one, all finite"
        )
    quantiles = np.quantile(values, list(PERCENTILES.values()))
    return {
        **{name: float(q) for name, q in zip(PERCENTILES, quantiles, strict=True)},
        "max": float(values.max()),
    }


def samples_for(quantile: float) -> int:
    """How many samples a quantile in (0, 1) needs: enough that the largest one lies above the true quantile
    with 97.5 % confidence.

    n samples all lie below it with probability quantile**n (the distribution-free interval of an order
    statistic has no upper end before).
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(quantile))


def too_few(count: int) -> dict[str, int]:
    """The percentiles that `count` samples are too few for, and how many each needs."""
    return {name: samples_for(q) for name, q in PERCENTILES.items() if count < samples_for(q)}


def residual(total: ArrayLike, stages: Mapping[str, ArrayLike]) -> np.ndarray:
    """What of `total` [n] no stage accounts for, per frame: f64[n], negative where stages overlap.

    Raises InputError for unequal lengths.
    """
    rest = np.array(total, np.float64)
    for name, values in stages.items():
        values = np.asarray(values, np.float64)
        if values.shape != rest.shape:
            raise InputError(f"stage {name!r}: got {values.size} values for {rest.size} frames")
        rest -= values
    return rest


def frame_times(frame) -> tuple[int, int, int, int, int]:
    """The five times of a stream.Frame that `stages` wants, ns."""
    return frame.sent_ns, frame.server_recv_ns, frame.server_send_ns, frame.received_ns, frame.decoded_ns


def stages(
    planned_ns: np.ndarray, times_ns: np.ndarray, timings: list[dict[str, float]]
) -> dict[str, np.ndarray]:
    """Where the latency of each frame went, ms: stage -> f64[n], in the order of time, summing to decoded -
    planned.

    planned_ns: i64[n]. times_ns: i64[n,5] sent, server received, server sent, received, decoded (the server's
    two on its own clock, of which only their difference is used). timings: the server's stages per frame, ms.
    schedule: from the planned time to the sending (the tick loop's lateness, waiting for the answer before).
    wait: in the server's mailbox. encode: JPEG and alpha. server: hand-overs between its threads. decode:
        waking up, decoding. transport: all the rest.
    """
    sent, server_in, server_out, received, decoded = times_ns.T
    gpu = (GPU_TIME,) if any(GPU_TIME in t for t in timings) else ()
    server = {
        name: np.array([t.get(name, 0.0) for t in timings]) for name in ("wait", *STAGES, *gpu, "encode")
    }
    result = {
        "schedule": (sent - planned_ns) / 1e6,
        **server,
        "server": residual((server_out - server_in) / 1e6, server),
        "decode": (decoded - received) / 1e6,
    }
    return {**result, "transport": residual((decoded - planned_ns) / 1e6, result)}


def stage_table(stages: Mapping[str, ArrayLike]) -> dict[str, dict[str, float]]:
    """Stage -> {p50, p99}, in the stages' own order and unit."""
    return {
        name: {key: value for key, value in percentiles(values).items() if key in ("p50", "p99")}
        for name, values in stages.items()
    }


def thirds(values) -> list[float]:
    """The medians of the first, second and last third of a run, [] for fewer than 3 values: shows a machine
    that slows down."""
    if len(values) < 3:
        return []
    return [float(np.median(part)) for part in np.array_split(np.asarray(values, np.float64), 3)]


@dataclass(frozen=True)
class Staleness:
    """ticks: how many were judged. stale: how many showed an old frame. runs: length of each unbroken run of
    stale ticks.
    age_ms: f64[ticks], how old the newest frame was at each tick (inf before the first frame). period_ms: older
    than that is stale.
    """

    ticks: int
    stale: int
    runs: tuple[int, ...]
    age_ms: np.ndarray
    period_ms: float = float("inf")

    @property
    def longest(self) -> int:
        return max(self.runs, default=0)


def staleness(planned_ns, sent_for_ns, available_ns) -> Staleness:
    """Judges each tick of an open loop: it is stale when the newest frame at hand is older than one period.

    planned_ns: i64[ticks], when each tick was planned (evenly spaced), and with it its request. sent_for_ns:
    i64[frames], the planned time of the request that each frame answers. available_ns: i64[frames], when that
    frame was ready to be shown, in any order. All in nanoseconds of one clock. The first tick is not judged:
    nothing could have answered before it. Raises InputError.
    """
    planned, sent_for, available = (np.asarray(a, np.int64) for a in (planned_ns, sent_for_ns, available_ns))
    if len(planned) < 2 or (np.diff(planned) <= 0).any():
        raise InputError(f"staleness: got {len(planned)} planned ticks, expected at least 2 that grow")
    if sent_for.shape != available.shape:
        raise InputError(f"staleness: got {len(sent_for)} request times for {len(available)} frames")
    order = np.argsort(available, kind="stable")
    newest = np.maximum.accumulate(sent_for[order])
    ticks = planned[1:]
    at_hand = np.searchsorted(available[order], ticks, side="right")  # frames ready at the tick
    seen = at_hand > 0
    age = np.full(len(ticks), np.inf)
    age[seen] = (ticks[seen] - newest[at_hand[seen] - 1]) / 1e6
    # The schedule is rounded to nanoseconds, so a period is only known to within one.
    period_ms = (planned[-1] - planned[0]) / (len(planned) - 1) / 1e6
    period_ms += 2e-6
    stale = age > period_ms
    edges = np.flatnonzero(np.diff(np.concatenate(([False], stale, [False]))))
    return Staleness(
        len(ticks), int(stale.sum()), tuple(int(n) for n in edges[1::2] - edges[::2]), age, period_ms
    )


SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Charged:
    """What each tick of an open loop waited for. latency_ms: f64[ticks], from its planned time until a frame at
    least as new was at hand; where none came, until the end of the run. newer_ms: f64[ticks], how much newer
    that frame is than the tick; 0 = it is its own. frame: i64[ticks], which one, -1 = none came."""

    latency_ms: np.ndarray
    newer_ms: np.ndarray
    frame: np.ndarray

    @property
    def unanswered(self) -> int:
        return int((self.frame < 0).sum())


def charged(planned_ns, sent_for_ns, available_ns, end_ns: int) -> Charged:
    """Charges every tick until a frame at least as new is at hand, also those whose own request was replaced by
    a newer one: a server that answers one request in ten must not be judged by that one.

    planned_ns: i64[ticks] that grow. sent_for_ns, available_ns: i64[frames] as in `staleness`. end_ns: when
    nobody waited any more. All in nanoseconds of one clock. Raises InputError.
    """
    planned, sent_for, available = (np.asarray(a, np.int64) for a in (planned_ns, sent_for_ns, available_ns))
    if sent_for.shape != available.shape:
        raise InputError(f"charged: got {len(sent_for)} request times for {len(available)} frames")
    order = np.argsort(sent_for, kind="stable")
    asked, came = sent_for[order], available[order]
    # the earliest arrival of this frame or a newer one, and which that is
    earliest = np.arange(len(order))
    for i in range(len(order) - 2, -1, -1):
        if came[earliest[i + 1]] < came[i]:
            earliest[i] = earliest[i + 1]
    at = np.searchsorted(asked, planned, side="left")
    there = at < len(order)
    chosen = earliest[at[there]]
    until, frame, newer = (
        np.full(len(planned), end_ns, np.int64),
        np.full(len(planned), -1, np.int64),
        np.zeros(len(planned)),
    )
    until[there] = came[chosen]
    frame[there] = order[chosen]
    newer[there] = (asked[chosen] - planned[there]) / 1e6
    latency = (until - planned) / 1e6
    newer[~there] = latency[~there]
    return Charged(latency, newer, frame)


def charged_stages(stages: Mapping[str, np.ndarray], waits: Charged) -> dict[str, np.ndarray]:
    """The stages [frames] of the frame that each tick waited for, [ticks], and before them SUPERSEDED: the time
    until that frame was asked for. They sum to latency_ms."""
    there = waits.frame >= 0
    table = {SUPERSEDED: waits.newer_ms}
    for name, values in stages.items():
        table[name] = np.zeros(len(there))
        table[name][there] = np.asarray(values)[waits.frame[there]]
    return table
