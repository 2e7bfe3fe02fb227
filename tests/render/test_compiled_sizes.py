"""CompiledSizes: a size that cannot be compiled costs nothing but that size."""

import logging
import threading
import time

import pytest

from dinar_live.engines import EngineError
from dinar_live.runtime.render.compiled_sizes import LATER, NOW, CompiledSizes


def wait(true) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("error", [EngineError, RuntimeError])
def test_a_size_that_cannot_be_compiled_is_logged_once_and_a_larger_one_used(caplog, error):
    asked = []

    def compile(key):
        asked.append(key)
        if key == (1, 64, 64):
            raise error("no memory left")
        return key

    sessions = CompiledSizes(compile)
    sessions.require((1, 128, 128))
    with caplog.at_level(logging.WARNING):
        assert sessions.get(1, 64, 64, LATER)[0] == (1, 128, 128)
        wait(lambda: caplog.records)
    assert "(1, 64, 64)" in caplog.text and "no memory left" in caplog.text
    assert sessions.get(1, 64, 64, LATER)[0] == (1, 128, 128)
    assert sessions.get(1, 96, 64, LATER)[0] == (1, 128, 128)  # and the next size is compiled
    wait(lambda: sessions.get(1, 96, 64, LATER)[0] == (1, 96, 64))
    assert asked == [(1, 128, 128), (1, 64, 64), (1, 96, 64)]
    with pytest.raises(error, match="no memory left"):  # who wants to wait for it is told
        sessions.get(1, 64, 64, NOW)
    assert len(sessions.close()) == 2


def test_the_end_of_a_program_waits_for_what_is_being_compiled():
    """Cut off within a compiler, the process would end with an error."""
    began, done = threading.Event(), []

    def compile_slowly(key):
        if key == (1, 64, 64):
            return object()
        began.set()
        time.sleep(0.2)
        done.append(key)
        return object()

    sizes = CompiledSizes(compile_slowly)
    sizes.require((1, 64, 64))
    sizes.get(1, 32, 32)
    assert began.wait(20)
    sizes.finish()
    assert done == [(1, 32, 32)] and not sizes._thread.is_alive()
