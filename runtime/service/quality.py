"""Quality: which of an avatar's renderers, and at what part of a frame's size, holds the rate that clients ask for."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dinar_live.runtime.core.errors import InputError

from .demand import Demand, Load, high

DEFAULT_FPS = 30.0
MAX_FPS = 240.0
SCALES = (0.75, 0.5)  # of the cheapest renderer, where even that is too slow at full size
# Milliseconds of a frame's time that are not the renderer's: encoding, sending, decoding (docs/benchmarks.md).
OTHER_MS = 4.0
# Shares of the time that is there. Above DOWN the rate does not hold; a new choice must be expected to stay below
# FIT, and one that renders more has to show in trials that it stays below TRIED.
DOWN, FIT, TRIED = 0.85, 0.7, 0.77
ENOUGH = 8  # frames that a judgement needs
DOWN_SECONDS = 0.5  # after a change, before the next one down
CALM_SECONDS = 5.0  # that a better choice must have fitted
WAIT_SECONDS, MAX_WAIT_SECONDS = 10.0, 320.0  # before what was given up is tried again
TRIALS = 3  # frames of a better choice that are rendered in idle time before it is taken
TRIAL_SECONDS = 1.0  # between two of them
TRIAL_ROOM = 1.25  # of a trial's expected time that must be there until the next request


class Rung(NamedTuple):
    """A choice: a renderer of the avatar, and pixels that it renders for one of the frame's along each side."""

    renderer: str
    scale: float = 1.0

    def __str__(self) -> str:
        return self.renderer if self.scale == 1 else f"{self.renderer} at {self.scale:g} of the size"


@dataclass(frozen=True)
class Choice:
    """What was chosen and why, for people; holds: frames a second that each client may have of it."""

    rung: Rung
    why: str
    holds: float


class Quality:
    """Chooses among rungs so that `fps` frames a second hold for every client that asks for so many.

    costs: rung -> milliseconds of a frame, measured at the start; the dearer, the better it looks, but what is
        scaled comes last. Later costs follow the frames that are rendered: another rung is expected to take as
        many times its first cost as the present one does.
    demand: of all avatars of the server. clock: seconds. `note` each frame, then look at `choice`; when
    `candidate` is not None, a frame of it should be rendered while nothing else is to do, and told by `tried`.
    For one thread. Raises InputError.
    """

    def __init__(
        self,
        fps: float,
        costs: Mapping[Rung, float],
        *,
        demand: Demand | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.fps = check_fps(fps)
        if not costs:
            raise InputError("quality: no renderer was measured")
        self._costs = dict(costs)
        # by what was measured, and what is scaled down below all that is not
        self.rungs = sorted(costs, key=lambda rung: (rung.scale < 1, -costs[rung]))
        self._demand = demand or Demand(self.fps, clock=clock)
        self._clock = clock
        self._changed_at = -1e9
        self._frames = 0  # since the last change
        self._calm_since: dict[Rung, float] = {}
        self._not_before: dict[Rung, float] = {}
        self._wait: dict[Rung, float] = {}
        self._trials: dict[Rung, list[float]] = {}
        self._tried_at = -1e9
        self._before: dict[Hashable, float] = {}  # typical units of each client before the last change
        start = next((r for r in self.rungs if self._strain(r, []) <= FIT), self.rungs[-1])
        self.choice = Choice(start, self._why(start, "measured at the start", []), self._holds(start, []))

    # ---- what is told --------------------------------------------------------------------------------------

    def note(
        self, client: Hashable, asked: int, rung: Rung | None, milliseconds: float, began: float
    ) -> bool:
        """A frame of `client` took so long; whether the choice changed by it. asked: see Demand. rung: that it was
        rendered with where that was this choice's, None where the client had named a renderer. began: when,
        seconds of the clock."""
        if rung is not None:
            self._learn(client, rung, milliseconds)
        self._demand.note(client, self, asked, began, milliseconds, rung)
        if rung == self.choice.rung:
            self._frames += 1
        return self._decide()

    def tried(self, rung: Rung, client: Hashable, milliseconds: float) -> bool:
        """The candidate rendered a frame of `client` in idle time; whether it was taken for that."""
        self._tried_at = self._clock()
        typical = {load.client: load.typical for load in self._loads()}.get(client)
        if typical:
            self._trials.setdefault(rung, []).append(milliseconds / typical)
        return self._decide()

    @property
    def candidate(self) -> Rung | None:
        """A better choice that should be tried now, since nothing is due for longer than it takes."""
        now = self._clock()
        if now < self._tried_at + TRIAL_SECONDS:
            return None
        loads = self._loads()
        rung = self._better(loads)
        if rung is None or len(self._trials.get(rung, ())) >= TRIALS:
            return None
        free = min((load.next_at for load in loads), default=now) - now
        return rung if free * 1e3 >= TRIAL_ROOM * self._slowest(rung, loads) else None

    def describe(self) -> dict:
        """As JSON for clients: fps, renderer, scale, holds, why, and costs_ms of every choice."""
        rung, loads = self.choice.rung, self._loads()
        return {
            "fps": self.fps,
            "renderer": rung.renderer,
            "scale": rung.scale,
            "holds": round(self._holds(rung, loads), 1),
            "why": self.choice.why,
            "costs_ms": [[r.renderer, r.scale, round(self._costs[r], 2)] for r in self.rungs],
        }

    # ---- parts ---------------------------------------------------------------------------------------------

    def _decide(self) -> bool:
        loads, rung, now = self._loads(), self.choice.rung, self._clock()
        strain = self._strain(rung, loads)
        if self._frames >= ENOUGH and now >= self._changed_at + DOWN_SECONDS and strain > DOWN:
            below = self.rungs[self.rungs.index(rung) + 1 :]
            lower = next((r for r in below if self._strain(r, loads) <= FIT), below[-1] if below else None)
            if lower is not None:
                wait = self._wait.get(rung, WAIT_SECONDS / 2)
                held = now - self._changed_at > 6 * WAIT_SECONDS
                self._wait[rung] = WAIT_SECONDS if held else min(2 * wait, MAX_WAIT_SECONDS)
                self._not_before[rung] = now + self._wait[rung]
                self._take(lower, self._why(lower, f"{rung} is too slow", loads), loads)
                return True
        better = self._better(loads)
        trials = self._trials.get(better, []) if better else []
        if better is not None and len(trials) >= TRIALS:
            self._costs[better] = high(trials, 0.5)
            if self._strain(better, loads) <= TRIED:
                self._take(better, self._why(better, "there is time for it", loads), loads)
                return True
            self._trials.pop(better)
            self._not_before[better] = now + WAIT_SECONDS
        return False

    def _loads(self) -> list[Load]:
        return self._demand.loads(self, self.choice.rung, self._costs)

    def _better(self, loads: list[Load]) -> Rung | None:
        """The best rung above the present one that has fitted for CALM_SECONDS."""
        now = self._clock()
        above = self.rungs[: self.rungs.index(self.choice.rung)]
        if not any(load.units is not None for load in loads):
            return None
        found = None
        for rung in above:
            if now < self._not_before.get(rung, -1e9) or self._strain(rung, loads) > FIT:
                self._calm_since.pop(rung, None)
                self._trials.pop(rung, None)
            elif now - self._calm_since.setdefault(rung, now) >= CALM_SECONDS and found is None:
                found = rung
        return found

    def _take(self, rung: Rung, why: str, loads: list[Load]) -> None:
        self._before = {load.client: load.typical for load in loads if load.typical is not None}
        self._changed_at = self._clock()
        self._frames = 0
        self._calm_since.clear()
        self._trials.clear()
        self.choice = Choice(rung, why, self._holds(rung, loads))

    def _learn(self, client: Hashable, rung: Rung, milliseconds: float) -> None:
        """The first frames after a change show what the new rung costs beside the one before; only of those that are
        scaled, whose costs are guesses: the machine may have changed at the same time, which is why the rung did."""
        if rung.scale < 1 and rung == self.choice.rung and self._frames < ENOUGH and client in self._before:
            self._adjust(rung, milliseconds / self._before[client])

    def _adjust(self, rung: Rung, cost: float) -> None:
        old = self._costs[rung]
        self._costs[rung] = 0.75 * old + 0.25 * min(max(cost, old / 4), 4 * old)

    def _slowest(self, rung: Rung, loads: list[Load]) -> float:
        units = [load.units for load in loads if load.units is not None] or [1.0]
        return max(units) * self._costs[rung]

    def _strain(self, rung: Rung, loads: list[Load]) -> float:
        """The share of the time that is there which the rung would take, by the frames of late: of every second
        for what all clients ask, or of a period of `fps` for one frame."""
        cost = self._costs[rung]
        busy = sum(
            load.rate * (load.milliseconds if load.units is None else load.units * cost) for load in loads
        )
        period = max(1e3 / self.fps - OTHER_MS, 1e3 / self.fps / 4)
        return max(busy / 1e3, self._slowest(rung, loads) / period)

    def _holds(self, rung: Rung, loads: list[Load]) -> float:
        """Frames a second that each of the clients may have: what `_strain` allows."""
        cost = self._slowest(rung, loads)
        own = sum(load.units is not None for load in loads) or 1
        others = sum(load.rate * load.milliseconds for load in loads if load.units is None) / 1e3
        return min(max(DOWN - others, 0.0) * 1e3 / (own * cost), 1e3 / (cost / DOWN + OTHER_MS))

    def _why(self, rung: Rung, reason: str, loads: list[Load]) -> str:
        clients = len(loads)
        rates = sum(load.rate for load in loads)
        asked = f"{clients} clients ask for {rates:.0f} a second in all" if clients > 1 else ""
        others = ", ".join(
            f"{r} {self._slowest(r, loads):.1f}" for r in self.rungs if r.scale == 1 and r != rung
        )
        holds = self._strain(rung, loads) <= DOWN
        text = f"{self._slowest(rung, loads):.1f} ms a frame" + (f" ({others})" if others else "")
        what = (
            f"holds {self.fps:g} a second"
            if holds
            else f"does not hold {self.fps:g} a second, nothing here is faster"
        )
        return "; ".join(part for part in (f"{rung}: {text}, {what}", reason, asked) if part)


def check_fps(fps: float) -> float:
    """A rate to hold. Raises InputError."""
    if not (isinstance(fps, int | float) and 1 <= fps <= MAX_FPS):
        raise InputError(f"fps: got {fps!r}, expected 1 to {MAX_FPS:g} frames a second, or 0 for off")
    return float(fps)
