"""Comparing the clocks of client and server."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

DRIFT = 50e-6  # how fast two quartz clocks may part, seconds per second
SAMPLES = 16


class ClockSync(NamedTuple):
    """offset_ns: the server's clock minus the client's, right to within uncertainty_ns. round_trip_ns: of the
    exchange that told."""

    offset_ns: int
    round_trip_ns: int
    uncertainty_ns: int


class ClockComparison:
    """Keeps recent exchanges and trusts the one with the shortest way there and back, unless the clocks may
    have parted since."""

    def __init__(self):
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=SAMPLES)  # offset, round trip, when; ns

    def add(self, sent_ns: int, server_recv_ns: int, server_send_ns: int, received_ns: int) -> None:
        """One exchange: the client's clock at both ends, the server's in between."""
        round_trip = received_ns - sent_ns - (server_send_ns - server_recv_ns)
        offset = (server_recv_ns - sent_ns + server_send_ns - received_ns) // 2
        if round_trip >= 0:  # anything else is no exchange with that server
            self._samples.append((offset, round_trip, received_ns))

    def at(self, now_ns: int) -> ClockSync | None:
        """The best estimate as of `now_ns` on the client's clock; None before the first exchange."""

        def uncertainty(sample: tuple[int, int, int]) -> float:
            return sample[1] / 2 + DRIFT * max(now_ns - sample[2], 0)

        if not self._samples:
            return None
        best = min(self._samples, key=uncertainty)
        return ClockSync(best[0], best[1], round(uncertainty(best)))

    def clear(self) -> None:
        """Another server, another clock."""
        self._samples.clear()
