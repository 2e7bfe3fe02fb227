"""What a scenario hands to the report."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .images import Difference
from .stats import Staleness


@dataclass(frozen=True, eq=False)
class Measurement:
    """One run of a scenario, one value per frame, or per tick of an open loop, in order.

    latency_ms: f64[n]; stages_ms: stage -> f64[n], summing to the latency; fps: frames per second of what the
        user sees. frames: how many came, n where that is None.
    includes: what the latency spans, as a sentence. staleness: of open-loop scenarios. faults: why the run is
        invalid.
    """

    scenario: str
    latency_ms: np.ndarray
    stages_ms: dict[str, np.ndarray]
    fps: float
    includes: str
    size: tuple[int, int]
    renderer: str
    engine: str
    precision: str
    rasterizer: str
    staleness: Staleness | None = None
    check_difference: Difference | None = None
    frame_difference: Difference | None = None
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extra: dict = field(default_factory=dict)
    frames: int | None = None
