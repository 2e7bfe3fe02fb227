"""What TensorRT says while it works: its messages (Log) and how far a build is (BuildMonitor)."""

from __future__ import annotations

import logging
import threading
from typing import Any

from dinar_live.engines.base import EngineError, Progress

_KEPT_MESSAGES = 12
_log = logging.getLogger(__name__)


class Log:
    """TensorRT's messages: errors are kept for the exception that will be raised, warnings for whoever looks
    (`warnings`), and both go to Python's logging.

    Many of its calls report failure as None or False only; the reason is nowhere but here. Called from
    TensorRT's own threads. A mixin before a library's ILogger: Library.log makes one.
    """

    Severity: Any  # of ILogger

    def __init__(self):
        super().__init__()  # the binding wants its own __init__ to be called
        self._lock = threading.Lock()
        self._errors: list[str] = []
        self.warnings: list[str] = []

    def log(self, severity, msg) -> None:
        text = " ".join(str(msg).split())[:500]
        if severity in (self.Severity.INTERNAL_ERROR, self.Severity.ERROR):
            with self._lock:
                if text not in self._errors:
                    self._errors = [*self._errors, text][-_KEPT_MESSAGES:]
        elif severity == self.Severity.WARNING:
            _log.info("TensorRT: %s", text)
            with self._lock:
                if text not in self.warnings:
                    self.warnings = [*self.warnings, text][-_KEPT_MESSAGES:]

    def take(self) -> str:
        """The errors since the last call, as one line ("" if there were none)."""
        with self._lock:
            errors, self._errors = self._errors, []
        return "; ".join(errors)

    def failure(self, what: str) -> EngineError:
        """An EngineError that says what failed and what TensorRT said about it."""
        return EngineError(f"{what}: {self.take() or 'TensorRT gave no reason'}")


class BuildMonitor:
    """One rising number out of TensorRT's nested phases. An exception in the callback stops the build;
    `stopped_by` keeps it. A mixin before a library's IProgressMonitor: Library.monitor makes one."""

    def __init__(self, progress: Progress):
        super().__init__()
        self._progress = progress
        self._lock = threading.Lock()
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # name -> (parent, steps, done)
        self._highest = 0.0
        self.stopped_by: BaseException | None = None

    def phase_start(self, phase_name, parent_phase, num_steps) -> None:
        with self._lock:
            self._phases[phase_name] = (parent_phase, max(1, int(num_steps)), 0)
        self._report(phase_name)

    def phase_finish(self, phase_name) -> None:
        with self._lock:
            self._phases.pop(phase_name, None)

    def step_complete(self, phase_name, step) -> bool:
        with self._lock:
            if phase_name in self._phases:
                parent, steps, _ = self._phases[phase_name]
                self._phases[phase_name] = (parent, steps, min(steps, int(step) + 1))
        self._report(phase_name)
        return self.stopped_by is None

    def _report(self, phase_name: str) -> None:
        try:  # an exception may not reach TensorRT
            with self._lock:
                self._highest = max(self._highest, self._fraction(phase_name))
                highest = self._highest
            self._progress(highest, phase_name)
        except BaseException as error:
            self.stopped_by = self.stopped_by or error

    def _fraction(self, phase_name: str) -> float:
        """Done of the outermost phase, where a step under way counts as far as its own phase has come."""
        inner, name, seen = 0.0, phase_name, set()
        while name in self._phases and name not in seen:
            seen.add(name)
            parent, steps, done = self._phases[name]
            inner = min(1.0, (done + inner) / steps)
            name = parent
        return inner
