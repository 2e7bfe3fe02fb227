"""BLAS with one thread: for matrices as small as the solver's, waking others takes several times as long as the
work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it, numpy's BLAS works on the calling thread alone."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
