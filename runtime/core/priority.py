"""Priority for programs that keep a clock."""

from __future__ import annotations

import os

from .errors import DinarError


def run_in_real_time() -> None:
    """Let this thread, and the threads and processes it starts from now on, run before ordinary programs
    (SCHED_RR, lowest level).

    A thread that sleeps until its next picture is due otherwise waits for whoever has the processor when it
    wakes up. For programs of our own at their start; a library must not do this to its user. Raises
    DinarError where the system has no such thing or does not allow it.
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
