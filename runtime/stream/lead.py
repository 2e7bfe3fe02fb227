"""Lead: which of several clients everybody else sees."""
from __future__ import annotations


class Lead:
    """The first client that acts leads, until it has been quiet for quiet_s seconds; then the next one that acts does."""

    def __init__(self, quiet_s: float):
        self._quiet, self._last = quiet_s, float("-inf")
        self.client: object = None

    def claims(self, client, now: float) -> bool:
        """`client` acts at `now` (seconds); whether it leads."""
        if client != self.client and now - self._last <= self._quiet:
            return False
        self.client, self._last = client, now
        return True
