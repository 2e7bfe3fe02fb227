"""Python's garbage collector and steady frame times."""

from __future__ import annotations

import atexit
import gc


def settle_memory() -> None:
    """Take what exists by now out of the garbage collector's sight.

    A full collection looks at everything that was imported and takes about 30 ms, a whole frame, about once a
    minute of streaming. For programs of our own after start-up; a library must not do this to its user.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # at the end cycles are to be found, or nanobind speaks of leaks
