"""Plan: a compiled engine of TensorRT in memory."""

from __future__ import annotations

from .build import Log


class Plan:
    """A deserialized plan; sessions of one model and size share it."""

    def __init__(self, runtime, engine, log: Log):
        self.runtime = runtime  # it and its log must outlive the engine
        self.engine = engine
        self.log = log
