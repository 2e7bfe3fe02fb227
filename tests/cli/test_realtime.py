"""--realtime: asked for at the start, inherited, or refused in one line."""

import os
import subprocess
import sys

import pytest

from dinar_live.runtime.core import process
from dinar_live.runtime.core.errors import DinarError

PROGRAM = """
import os, subprocess, sys, threading
from dinar_live.runtime.core.process import run_in_real_time
run_in_real_time()
seen = []
thread = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(threading.get_native_id())))
thread.start(), thread.join()
child = subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"], capture_output=True, text=True)
print(seen[0] == os.SCHED_RR, int(child.stdout) == os.SCHED_RR)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="no real-time priorities here")
def test_threads_and_processes_inherit_it_or_it_is_refused():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (
        done.stdout == "True True\n" or "DinarError: --realtime: the system does not allow it" in done.stderr
    )


def test_refusals_say_what_to_do(monkeypatch):
    def forbid(*arguments):
        raise PermissionError

    names = {
        "sched_setscheduler": forbid,
        "SCHED_RR": 2,
        "sched_param": int,
        "sched_get_priority_min": lambda policy: 1,
    }
    for name, value in names.items():
        monkeypatch.setattr(os, name, value, raising=False)
    with pytest.raises(DinarError, match="rtprio"):
        process.run_in_real_time()
    monkeypatch.delattr(os, "sched_setscheduler")
    with pytest.raises(DinarError, match="no real-time priorities"):
        process.run_in_real_time()


@pytest.mark.parametrize("verb", ["serve", "live", "play", "demo", "bench"])
def test_verbs_take_it(verb):
    from dinar_live.cli.main import main

    with pytest.raises(SystemExit) as e:
        main([verb, "--realtime", "--help"])
    assert e.value.code == 0
