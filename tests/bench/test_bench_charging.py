"""What a tick is charged: timelines by hand."""

import numpy as np
import pytest

from dinar_live.runtime.bench.stats import SUPERSEDED, charged, charged_stages
from dinar_live.runtime.core.errors import InputError

MS = 1_000_000
PLANNED = np.arange(5) * 10 * MS


def test_frames_of_their_own_are_charged_as_they_came():
    waits = charged(PLANNED, PLANNED, PLANNED + 7 * MS, 100 * MS)
    np.testing.assert_array_equal(waits.latency_ms, [7] * 5)
    assert waits.unanswered == 0 and not waits.newer_ms.any() and waits.frame.tolist() == [0, 1, 2, 3, 4]


def test_what_a_newer_request_replaced_waits_for_that_one():
    """Ticks 1 and 2 are superseded by 3, whose frame comes at 50 ms; 4 has its own."""
    waits = charged(PLANNED, PLANNED[[0, 3, 4]], np.array([5, 50, 52]) * MS, 100 * MS)
    np.testing.assert_array_equal(waits.latency_ms, [5, 40, 30, 20, 12])
    np.testing.assert_array_equal(waits.newer_ms, [0, 20, 10, 0, 0])
    assert waits.frame.tolist() == [0, 1, 1, 1, 2]


def test_a_newer_frame_that_overtakes_counts_for_the_older_ticks_too():
    waits = charged(PLANNED, PLANNED, np.array([90, 15, 91, 35, 92]) * MS, 100 * MS)
    np.testing.assert_array_equal(waits.latency_ms, [15, 5, 15, 5, 52])
    assert waits.frame.tolist() == [1, 1, 3, 3, 4]


def test_what_is_never_answered_is_charged_until_the_end():
    waits = charged(PLANNED, PLANNED[:3], PLANNED[:3] + 5 * MS, 100 * MS)
    np.testing.assert_array_equal(waits.latency_ms, [5, 5, 5, 70, 60])
    assert waits.unanswered == 2 and waits.frame.tolist() == [0, 1, 2, -1, -1]
    np.testing.assert_array_equal(charged(PLANNED, [], [], 50 * MS).latency_ms, [50, 40, 30, 20, 10])


def test_frames_of_ticks_before_and_after_count_as_they_are_newer_or_not():
    waits = charged(PLANNED, [-10 * MS, 60 * MS], [1 * MS, 70 * MS], 100 * MS)
    np.testing.assert_array_equal(waits.latency_ms, [70, 60, 50, 40, 30])


def test_stages_sum_to_what_is_charged():
    waits = charged(PLANNED, PLANNED[[0, 3]], np.array([5, 50]) * MS, 100 * MS)
    table = charged_stages({"network": np.array([4.0, 15.0]), "rest": np.array([1.0, 5.0])}, waits)
    assert list(table) == [SUPERSEDED, "network", "rest"]
    np.testing.assert_allclose(sum(table.values()), waits.latency_ms)
    np.testing.assert_array_equal(table["network"], [4, 15, 15, 15, 0])
    np.testing.assert_array_equal(table[SUPERSEDED], [0, 20, 10, 0, 60])


def test_a_server_that_answers_one_in_ten_is_not_judged_by_that_one():
    planned = np.arange(1000) * 10 * MS
    answered = planned[9::10]
    waits = charged(planned, answered, answered + 5 * MS, 20_000 * MS)
    assert np.quantile(waits.latency_ms, 0.99) == pytest.approx(95) and np.median(waits.latency_ms) > 45


def test_lengths_that_do_not_match():
    with pytest.raises(InputError, match="charged"):
        charged(PLANNED, [1, 2], [1], 5)
