"""RendererPool: what is kept, what is made, what is given up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.render.memory import MemoryBudget
from dinar_live.runtime.service.renderer_pool import MAX_RENDERERS, RendererKey, RendererPool


class Made:
    """Stands in for a Renderer."""

    def __init__(self, kind, closed):
        self.kind, self._closed = kind, closed

    def close(self):
        self._closed.append(self.kind)


@pytest.fixture
def closed():
    return []


@pytest.fixture
def gate():
    gate = threading.Event()
    gate.set()
    return gate


@pytest.fixture
def pool(closed, gate):
    def make(kind):
        assert gate.wait(10)
        if kind.size == (0, 0):
            raise ValueError("no such size")
        return Made(kind, closed)

    with ThreadPoolExecutor(1) as builder:
        pool = RendererPool(make, builder)
        yield pool
        gate.set()
        pool.close()


def kinds(count):
    return [RendererKey((i, i)) for i in range(1, count + 1)]


def test_the_last_used_are_kept_and_the_others_closed(pool, closed, eventually):
    first, *rest = kinds(MAX_RENDERERS + 1)
    for kind in (first, *rest[:-1]):
        assert pool.get(kind).kind == kind
    kept = pool.get(first)
    pool.get(rest[-1])
    assert pool.get(first) is kept and len(pool) == MAX_RENDERERS
    eventually(lambda: closed == [rest[0]])


def test_ready_never_waits(pool, gate, eventually):
    gate.clear()
    (kind,) = kinds(1)
    assert not pool.ready(kind) and not pool.ready(kind)
    gate.set()
    eventually(lambda: pool.ready(kind))
    assert pool.get(kind).kind == kind and pool.ready(kind)


def test_what_nobody_comes_for_does_not_pile_up(pool, gate, closed, eventually):
    """A client that asks for another size each time, and never for the same one again."""
    for kind in kinds(100):
        pool.ready(kind)
        assert len(pool._building) <= MAX_RENDERERS
    gate.clear()
    for kind in kinds(200)[100:]:
        pool.ready(kind)
        assert len(pool._building) <= MAX_RENDERERS
    last = RendererKey((999, 999))
    gate.set()
    eventually(lambda: pool.ready(last))
    assert pool.get(last).kind == last


def test_preparing_takes_nobodys_place(pool):
    for kind in kinds(MAX_RENDERERS):
        pool.get(kind)
    pool.prepare(RendererKey((77, 77)))
    assert not pool._building and len(pool) == MAX_RENDERERS


def test_a_failure_is_told_each_time(pool, eventually):
    bad = RendererKey((0, 0))
    for _ in range(2):
        eventually(lambda: pool.ready(bad))
        with pytest.raises(ValueError, match="no such size"):
            pool.get(bad)


def test_close_closes_what_is_being_made(pool, closed):
    pool.get(RendererKey((1, 1)))
    pool.ready(RendererKey((2, 2)))
    pool.ready(RendererKey((3, 3)))
    pool.close()
    assert {k.size for k in closed} >= {(1, 1)} and len(pool) == 0 and not pool._building


class Sized(Made):
    def __init__(self, kind, closed):
        super().__init__(kind, closed)
        self.memory = 10 * kind.size[0] * kind.size[1]


@pytest.fixture
def budgeted(closed):
    """The default is 10x10 and takes 1000 of 5000."""
    with ThreadPoolExecutor(1) as builder:
        default = RendererKey((10, 10))
        budget = MemoryBudget(5000)
        pool = RendererPool(lambda kind: Sized(kind, closed), builder, keep=default, budget=budget)
        pool.get(default)
        yield pool, default, budget
        pool.close()
        assert budget.used == 0


def test_the_default_never_goes(closed):
    with ThreadPoolExecutor(1) as builder:
        default = RendererKey((512, 512))
        pool = RendererPool(lambda kind: Made(kind, closed), builder, keep=default)
        kept = pool.get(default)
        for kind in kinds(3 * MAX_RENDERERS):
            pool.get(kind)
        assert pool.ready(default) and pool.get(default) is kept and len(pool) == MAX_RENDERERS
        assert default not in closed
        pool.close()


def test_renderers_stay_within_the_budget(budgeted, closed, eventually):
    pool, default, budget = budgeted
    first, second, third = (RendererKey((10, 20), *flags) for flags in ((), (True,), (False, True)))
    pool.get(first), pool.get(second)
    assert budget.used == 5000
    pool.get(first)
    pool.get(third)
    eventually(lambda: closed == [second])
    assert budget.used == 5000 and pool.ready(default) and pool.ready(first)


def test_what_does_not_fit_is_refused_and_takes_nobodys_place(budgeted, closed):
    pool, _, budget = budgeted
    small, large = RendererKey((10, 10), True), RendererKey((20, 21))
    pool.get(small)
    for _ in range(2):
        assert pool.ready(large)
        with pytest.raises(DinarError, match=r"21x20 pixels need about .* MiB.*--memory"):
            pool.get(large)
    assert budget.used == 2000 and not closed


def test_what_is_needed_together_does_not_go_for_one_another(budgeted, eventually):
    pool, _, _ = budgeted
    both = [RendererKey((10, 30)), RendererKey((10, 31))]
    eventually(lambda: all([pool.ready(key, both) for key in both]))
    pool.get(both[0])
    with pytest.raises(DinarError, match="31x10"):
        pool.get(both[1])


def test_closing_does_not_wait_for_what_is_being_made(gate, closed, eventually):
    gate.clear()

    def make(kind):
        assert gate.wait(10)
        return Made(kind, closed)

    with ThreadPoolExecutor(1) as builder:
        pool = RendererPool(make, builder)
        pool.ready(RendererKey((1, 1)))
        eventually(lambda: pool._building[RendererKey((1, 1))].running())
        pool.close()
        assert not closed
        gate.set()
        eventually(lambda: closed == [RendererKey((1, 1))])
