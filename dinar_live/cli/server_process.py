"""`dinar serve` in a process of its own, as users run it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from dinar_live.runtime.core.errors import DinarError

START_SECONDS = 120.0  # a network of hundreds of GFLOP takes a while to compile
STOP_SECONDS = 10.0
QUALITY = "quality of "
READY = re.compile(r"ready (\S+) (\S+)")


class ServerProcess:
    """Starts `dinar serve` with `arguments` on a free port and waits until it is ready.

    endpoint: where its clients connect. page: the address of its page, "-" without one. say: called with each
    line it writes until then, and later with those about the quality it chose, from another thread. It also
    ends when this process dies, because its standard input does. Raises DinarError with the server's own
    words if it ends or says nothing in time.
    """

    def __init__(self, arguments: list[str], say: Callable[[str], None] = lambda line: None):
        command = [
            sys.executable,
            "-m",
            "dinar_live.cli.main",
            "serve",
            *arguments,
            "--endpoint",
            "tcp://127.0.0.1:0",
            "--until-stdin-closes",
        ]
        # In a process group of its own: a Ctrl-C reaches only this process, which then ends the server.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._say = say
        self._last: deque[str] = deque(maxlen=20)
        self._ready = threading.Event()
        self.endpoint = self.page = ""
        # Read to the end: a server whose output nobody takes would stop at a full pipe.
        self._reader = threading.Thread(target=self._read, name="dinar-serve-output", daemon=True)
        self._reader.start()
        end = time.monotonic() + START_SECONDS
        try:
            while not self._ready.wait(0.05):
                if not self._reader.is_alive() and not self._ready.is_set():
                    raise DinarError(
                        f"the server ended before it was ready (exit code {self._process.wait()}): {self.output()}"
                    )
                if time.monotonic() > end:
                    raise DinarError(f"the server was not ready within {START_SECONDS:g} s: {self.output()}")
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        assert self._process.stdout is not None  # a pipe
        for line in self._process.stdout:
            line = line.rstrip()
            self._last.append(line)
            if self._ready.is_set():
                if QUALITY in line:
                    self._say(line)
                continue
            if found := READY.match(line):
                self.endpoint, self.page = found.groups()
                self._ready.set()
            else:
                self._say(line)

    def output(self) -> str:
        """The last lines the server wrote."""
        return " | ".join(self._last) or "it wrote nothing"

    def check(self, tick: int = 0) -> None:
        """DinarError if the server is gone; may be the on_tick of a run."""
        code = self._process.poll()
        if code is not None:
            raise DinarError(f"the server ended during the run (exit code {code}): {self.output()}")

    def kill(self) -> None:
        """Ends the server at once."""
        self._process.kill()

    def close(self) -> None:
        """Ends the server and waits for it. May be called twice."""
        assert self._process.stdin is not None and self._process.stdout is not None  # pipes
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        self._process.stdout.close()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exc) -> None:
        self.close()
