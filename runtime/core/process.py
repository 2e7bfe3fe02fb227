"""What programs of our own ask of Python and the system at start-up. A library must not do this to its user."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import threading
import time

from .errors import DinarError

COMPILING = ("dinar-build", "dinar-compile")  # what threads are called that may wait for a compiler
_PATIENCE_SECONDS = 0.3
_M_MMAP_THRESHOLD = -3  # malloc.h


def settle_memory() -> None:
    """Take what exists by now out of the garbage collector's sight.

    A full collection looks at everything that was imported and takes about 30 ms, a whole frame, about once a
    minute of streaming. To be called after start-up.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # cycles must be found at the end, or nanobind reports leaks


def return_large_memory() -> None:
    """Have the C library give blocks of 4 MiB and more back to the system when they are freed.

    glibc raises that size by itself, up to 32 MiB, with what a program frees. What compiled networks had held then
    stayed in the process as holes: 80 MiB after 25 windows that came and went. Frames are smaller, so that they do
    not pay. Without glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)


def leave(code: int) -> int:
    """Returns `code`, for a program that has nothing more to do. Where a network is still being compiled,
    which nothing can interrupt, ends the process instead of waiting."""
    end = time.monotonic() + _PATIENCE_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(COMPILING):
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    return code


def run_in_real_time() -> None:
    """Let this thread, and the threads and processes it starts from now on, run before ordinary programs
    (SCHED_RR, lowest level).

    A thread that sleeps until its next frame is due otherwise waits for whoever has the processor when it wakes
    up. Raises DinarError where the system has no such thing or does not allow it.
    """
    if not hasattr(os, "sched_setscheduler"):
        raise DinarError(
            "--realtime: this system has no real-time priorities that a program could ask for (Linux has)"
        )
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    except PermissionError:
        raise DinarError(
            "--realtime: the system does not allow it. Run as root, give the program CAP_SYS_NICE, or allow it to your "
            "account: a line `USER - rtprio 1` in /etc/security/limits.conf, then log in anew"
        ) from None
