"""The worker threads: forks, exits, and many callers."""

import os
import subprocess
import sys
import textwrap

import pytest


def run(program):
    """In a fresh process, since threads and forks do not mix with the test runner."""
    head = """
        import os, sys, threading
        import numpy as np
        from dinar_live.kernels import compose
        rgb, alpha = np.ones((3, 512, 512), np.float32), np.ones((512, 512), np.float32)
        def work():
            return compose(rgb, alpha, threads=4).min() == 255
    """
    source = textwrap.dedent(head) + textwrap.dedent(program)
    return subprocess.run([sys.executable, "-c", source], timeout=60, capture_output=True, text=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_gets_its_own_workers():
    result = run("""
        assert work()
        child = os.fork()
        if child == 0:
            os._exit(0 if all(work() for _ in range(20)) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert work()
    """)
    assert result.returncode == 0, result.stderr


def test_exit_while_threads_are_at_work():
    result = run("""
        def forever():
            while True:
                work()
        for _ in range(3):
            threading.Thread(target=forever, daemon=True).start()
        for _ in range(50):
            assert work()
        print("done")
    """)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_idle_workers_do_not_spin():
    result = run("""
        import time
        assert work()
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.5)
        used = time.process_time() - before
        assert used < 0.1, used
    """)
    assert result.returncode == 0, result.stderr
