"""LeaderElection: which of several clients everybody else sees."""

from __future__ import annotations


class LeaderElection:
    """The first client that acts leads, until it has been quiet for quiet_s seconds; then the next one that
    acts does. One of a higher rank takes the lead at once."""

    def __init__(self, quiet_s: float):
        self._quiet = quiet_s
        self._last = float("-inf")
        self._client: object = None
        self._rank = 0

    def claims(self, client, now: float, rank: int = 0) -> bool:
        """`client` acts at `now` (seconds); whether it leads."""
        if client != self._client and now - self._last <= self._quiet and rank <= self._rank:
            return False
        self._client = client
        self._last = now
        self._rank = rank
        return True
