"""Quality and Demand: what is chosen for renderers of known cost, on a clock of the test's own."""

from dataclasses import dataclass, field

import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.service.demand import SECONDS, Demand
from dinar_live.runtime.service.quality import (
    CALM_SECONDS,
    OTHER_MS,
    WAIT_SECONDS,
    Quality,
    Rung,
    check_fps,
)

LIGHT, LITE, TEXTURE = Rung("light"), Rung("lite"), Rung("texture")
SMALL = Rung("texture", 0.5)
COSTS = {TEXTURE: 3.0, LIGHT: 20.0, SMALL: 1.0, LITE: 8.0}  # ms


@dataclass
class Asking:
    """A client that asks at a steady rate; named: a renderer that it names."""

    rate: float
    begins: float = 0.0
    ends: float = 1e9
    named: Rung | None = None
    asked: int = 0
    waiting: float | None = None  # the newest request's time
    late: list[float] = field(default_factory=list)  # when a frame came more than a period after its request
    frames: int = 0

    def due(self, now: float) -> float:
        """When its next request comes."""
        at = self.begins + self.asked / self.rate
        return at if at < self.ends else float("inf")


class Machine:
    """One render thread that serves clients in turns, newest request first, as RenderLoop does. slow: how many
    times the costs frames take now, of all or of one rung; trials are made as the server makes them."""

    def __init__(self, fps, clients, costs=COSTS):
        self.now, self.clients, self.costs = 0.0, clients, dict(costs)
        self.slow, self.slow_of = 1.0, {}
        self.quality = Quality(fps, costs, demand=Demand(fps, clock=lambda: self.now), clock=lambda: self.now)
        self.history, self.trials = [(0.0, self.quality.choice.rung)], []
        self._turn = 0

    def cost(self, rung):
        return self.costs[rung] * self.slow * self.slow_of.get(rung, 1.0)

    def _arrive(self):
        for client in self.clients:
            while client.due(self.now) <= self.now:
                client.waiting = client.due(self.now)
                client.asked += 1

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self._arrive()
            waiting = [c for c in self.clients if c.waiting is not None]
            if not waiting:
                self.now = min([end, *(c.due(self.now) for c in self.clients)])
                continue
            self._turn += 1
            client = waiting[self._turn % len(waiting)]
            asked_at, client.waiting = client.waiting, None
            began, rung = self.now, client.named or self.quality.choice.rung
            milliseconds = self.cost(rung)
            self.now += milliseconds / 1e3
            client.frames += 1
            if self.now - asked_at > 1 / client.rate:
                client.late.append(self.now)
            number = self.clients.index(client)
            own = None if client.named else rung
            self._changed(self.quality.note(number, client.asked, own, milliseconds, began))
            self._arrive()
            if all(c.waiting is None for c in self.clients) and (rung := self.quality.candidate):
                took = self.cost(rung)
                self.now += took / 1e3
                self.trials.append(self.now)
                self._changed(self.quality.tried(rung, number, took))
        return self

    def _changed(self, changed):
        if changed:
            self.history.append((self.now, self.quality.choice.rung))

    @property
    def rung(self):
        return self.quality.choice.rung


@pytest.mark.parametrize(
    "fps, chosen", [(10, LIGHT), (30, LIGHT), (45, LITE), (72, TEXTURE), (90, TEXTURE), (150, SMALL)]
)
def test_the_dearest_that_holds_the_rate_is_chosen_at_the_start(fps, chosen):
    machine = Machine(fps, [Asking(fps)])
    assert machine.rung == chosen
    machine.run(10)
    assert machine.rung == chosen and not machine.clients[0].late and len(machine.history) == 1


def test_the_order_is_that_of_measured_costs_and_scaled_ones_come_last():
    quality = Quality(30, COSTS)
    assert quality.rungs == [LIGHT, LITE, TEXTURE, SMALL]
    assert Quality(30, {Rung("a"): 2.0, Rung("b"): 5.0}).rungs == [Rung("b"), Rung("a")]


def test_nothing_that_holds_is_said_so_and_the_cheapest_taken():
    quality = Quality(30, {LIGHT: 400.0, TEXTURE: 90.0})
    assert quality.choice.rung == TEXTURE and "does not hold 30 a second" in quality.choice.why
    assert quality.choice.holds < 11


def test_a_machine_that_gets_slow_costs_a_second_of_late_frames_at_most():
    machine = Machine(30, [Asking(30)]).run(5)
    client = machine.clients[0]
    machine.slow = 3.0
    machine.run(20)
    assert machine.rung == TEXTURE or machine.rung == LITE
    assert client.late and max(client.late) < 5 + 1.0
    assert [rung for _, rung in machine.history].count(LIGHT) == 1
    assert "light" in machine.quality.choice.why and "ms a frame" in machine.quality.choice.why


def test_it_comes_back_when_there_is_time_and_no_frame_is_late_for_it():
    machine = Machine(30, [Asking(30)]).run(2)
    machine.slow = 3.0
    machine.run(10)
    client = machine.clients[0]
    before = len(client.late)
    machine.slow = 0.8
    machine.run(60)
    assert machine.rung == LIGHT and len(client.late) == before
    back = next(at for at, rung in machine.history if at > 12 and rung == LIGHT)
    assert back >= 12 + CALM_SECONDS and len([t for t in machine.trials if t <= back]) >= 3


def test_a_candidate_that_is_dearer_than_expected_is_not_taken_and_makes_nothing_late():
    """lite and texture took their usual time when it was measured, light takes ten times its own."""
    machine = Machine(30, [Asking(30)], {LIGHT: 20.0, TEXTURE: 3.0}).run(2)
    machine.slow = 2.0
    machine.run(10)
    assert machine.rung == TEXTURE
    client = machine.clients[0]
    before, trials = len(client.late), len(machine.trials)
    machine.slow, machine.slow_of = 0.8, {LIGHT: 1.5}  # 24 ms instead of the 16 that are expected
    machine.run(300)
    assert machine.rung == TEXTURE and len(client.late) == before
    assert 3 <= len(machine.trials) - trials < 40  # it is tried again, but ever more rarely than each frame


def test_load_that_comes_and_goes_does_not_make_it_swing():
    machine = Machine(30, [Asking(30)])
    for _ in range(60):
        machine.slow = 1.6
        machine.run(2)
        machine.slow = 0.7
        machine.run(12)
    changes = len(machine.history) - 1
    assert changes <= 16  # of 120 if it followed each time
    ups = [
        at
        for (at, rung), (_, last) in zip(machine.history[1:], machine.history, strict=False)
        if COSTS[rung] > COSTS[last]
    ]
    gaps = [b - a for a, b in zip(ups, ups[1:], strict=False)]
    assert gaps == sorted(gaps) or min(gaps) >= WAIT_SECONDS


def test_several_clients_hold_the_sum_of_their_rates():
    machine = Machine(30, [Asking(30), Asking(30, begins=5), Asking(10, begins=5.01)]).run(5)
    assert machine.rung == LIGHT
    machine.run(2)
    assert machine.rung == LITE  # 70 a second of 8 ms; 20 would be 1.4 of what there is
    late = [len(c.late) for c in machine.clients]
    machine.run(60)
    assert [len(c.late) for c in machine.clients] == late
    assert " clients ask for " in machine.quality.choice.why
    machine.clients[1].ends = machine.clients[2].ends = machine.now
    machine.run(WAIT_SECONDS + CALM_SECONDS + 10)
    assert machine.rung == LIGHT


def test_what_a_client_asks_beyond_the_rate_to_hold_does_not_count():
    machine = Machine(30, [Asking(500)]).run(20)
    assert machine.rung == LIGHT and machine.clients[0].frames > 20 * 45


def test_a_client_that_names_a_renderer_counts_but_is_left_alone():
    machine = Machine(30, [Asking(30), Asking(30, named=LIGHT)]).run(10)
    assert machine.rung == LITE or machine.rung == TEXTURE
    machine.run(30)
    assert not [t for t in machine.clients[0].late if t > 10]


def test_a_slow_renderer_of_seconds_a_frame_is_left_too():
    machine = Machine(30, [Asking(30)], {Rung("dinar"): 25.0, TEXTURE: 3.0})
    machine.slow_of = {Rung("dinar"): 100.0}
    machine.run(60)
    assert machine.rung == TEXTURE


@pytest.mark.parametrize("jitter", [1.0, 4.0])
def test_frames_that_take_longer_now_and_then_do_not_spoil_what_is_known_of_the_others(jitter):
    """Every fifth frame takes `jitter` times as long, with any renderer."""
    machine = Machine(30, [Asking(30)])
    machine.slow = 0.5
    cost, count = machine.cost, [0]

    def trembling(rung):
        count[0] += 1
        return cost(rung) * (jitter if count[0] % 5 == 0 else 1.0)

    machine.cost = trembling
    machine.run(2)
    machine.slow = 3.0
    machine.run(4)
    assert machine.rung != LIGHT
    costs = {tuple(c[:2]): c[2] for c in machine.quality.describe()["costs_ms"]}
    shown = machine.rung
    assert costs[shown] / costs[LIGHT] == pytest.approx(COSTS[shown] / COSTS[LIGHT], rel=0.35)


def test_gone_clients_are_forgotten():
    demand = Demand(30, clock=lambda: now)
    owner, now = object(), 0.0
    demand.note(1, owner, 1, 0.0, 5.0, LIGHT)
    assert len(demand.loads(owner, LIGHT, COSTS)) == 1
    now = SECONDS + 0.1
    assert demand.loads(owner, LIGHT, COSTS) == []


def test_another_avatar_s_clients_count_as_they_are():
    clock = [0.0]
    demand = Demand(30, clock=lambda: clock[0])
    mine, other = (Quality(30, COSTS, demand=demand, clock=lambda: clock[0]) for _ in range(2))
    for i in range(60):
        clock[0] = i / 30
        mine.note(1, i + 1, mine.choice.rung, 20.0, clock[0])
        other.note(2, i + 1, other.choice.rung, 20.0, clock[0])
    assert LIGHT not in (mine.choice.rung, other.choice.rung) or {
        mine.choice.rung,
        other.choice.rung,
    } == {LIGHT, TEXTURE}


def test_what_is_told():
    told = Quality(30, COSTS).describe()
    assert (told["fps"], told["renderer"], told["scale"]) == (30, "light", 1.0)
    assert told["costs_ms"][0] == ["light", 1.0, 20.0]
    assert told["holds"] == pytest.approx(min(850 / 20, 1e3 / (20 / 0.85 + OTHER_MS)), abs=0.1)
    assert told["why"].startswith("light: 20.0 ms a frame (lite 8.0, texture 3.0), holds 30 a second")


@pytest.mark.parametrize("fps", [0, -1, 0.5, 1000, float("nan"), "30", None])
def test_rates_that_make_no_sense(fps):
    with pytest.raises(InputError, match="fps"):
        check_fps(fps)


def test_nothing_measured_is_an_error():
    with pytest.raises(InputError, match="measured"):
        Quality(30, {})
