"""The search for how many clients hold a rate, and a crowd against a server."""

import numpy as np
import pytest

from dinar_live.runtime.bench import capacity
from dinar_live.runtime.bench.served import Served
from dinar_live.runtime.bench.workload import shots
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.motion import demo_motion
from dinar_live.runtime.service.avatar_service import AvatarService
from dinar_live.runtime.stream import Limits, Server

SIZE = (96, 96)
OPTIONS = {"size": SIZE, "renderer": "auto", "threads": 1}


@pytest.mark.parametrize("limit", [1, 2, 5, 32])
@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 31, 32, 100])
def test_the_search_finds_the_most(most, limit):
    tried = []

    def holds(clients):
        assert 1 <= clients <= limit and clients not in tried
        tried.append(clients)
        return clients <= most

    assert capacity.most_that_hold(holds, limit) == min(most, limit)
    assert len(tried) <= 11


@pytest.fixture
def serve(avatar_with_checks):
    """serve(**options of Server) -> (Served, Server), a context."""

    class Context:
        def __init__(self, **options):
            self.options = options

        def __enter__(self):
            self.service = AvatarService(avatar_with_checks, **OPTIONS)
            self.server = Server(self.service.render, self.service.capabilities(), **self.options).start()
            return Served(avatar_with_checks, demo_motion(), self.server.endpoint, OPTIONS), self.server

        def __exit__(self, *exc):
            self.server.close()
            self.service.close()

    return Context


def test_a_crowd_asks_at_its_rate_and_every_tick_is_judged(serve, avatar_with_checks):
    work = shots(avatar_with_checks, demo_motion(), SIZE, 20, 10.0)
    with serve() as (served, server):
        found = capacity.crowd(served, work, 10.0, 2.0, 3, settle=0.5)
        stats = server.stats()
    assert len(found) == 3 and all(s.ticks == 20 and len(ms) == 20 for s, ms in found)
    assert stats["requests"] == 3 * 25 and stats["frames"] + stats["superseded"] == stats["requests"]
    assert all((ms > 0).all() and np.median(ms) < 2000 for _, ms in found)


def test_capacity_of_a_server_with_one_place_left(serve):
    with serve(limits=Limits(max_clients=2)) as (served, _):
        found, faults, caps = capacity.run_capacity(served, (2.0,), 1.5)
    assert faults == [] and caps["renderer"] == "texture"
    (one,) = found
    assert one.limit == 2 and one.rate_hz == 2.0 and 0 <= one.clients <= 2
    assert one.tries and one.as_json()["tries"][0]["clients"] == 1
    assert "2 Hz" in capacity.lines(found)[1]


def test_a_renderer_that_is_too_slow_holds_for_nobody():
    one = capacity.Capacity(90.0, 0, 32, [capacity.Try(1, 0.5, 20.0, 40.0), capacity.Try(1, 0.4, 20.0, 40.0)])
    assert "40.0 %" in capacity.lines([one])[1] and not one.tries[0].holds


def test_more_members_than_the_server_takes_is_an_error(serve, avatar_with_checks):
    work = shots(avatar_with_checks, demo_motion(), SIZE, 5, 5.0)
    with (
        serve(limits=Limits(max_clients=1)) as (served, _),
        pytest.raises(DinarError, match="lets no more clients in"),
    ):
        capacity.crowd(served, work, 5.0, 1.0, 2, settle=0.0)


@pytest.mark.parametrize("rates, seconds, says", [((30.0,), 0, "--seconds"), ((0.0,), 1, "--rate 0")])
def test_what_makes_no_sense(serve, rates, seconds, says):
    with serve() as (served, _), pytest.raises(InputError, match=says):
        capacity.run_capacity(served, rates, seconds)
