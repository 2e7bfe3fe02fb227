"""`dinar serve` in a process of its own, as users run it."""
from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import deque

from ..errors import DinarError

START_SECONDS = 120.0       # a network of hundreds of GFLOP takes a while to compile
STOP_SECONDS = 5.0
READY = re.compile(r"ready (\S+) ")


class ServerProcess:
    """Starts `dinar serve` with `arguments` on a free port, without its page, and waits until it is ready at `endpoint`.

    It also ends when this process dies, because its standard input does.
    Raises DinarError with the server's own words if it ends or says nothing in time.
    """

    def __init__(self, arguments: list[str]):
        command = [sys.executable, "-m", "dinar_live.runtime.cli.main", "serve", *arguments, "--endpoint", "tcp://127.0.0.1:0", "--no-page",
                   "--until-stdin-closes"]
        # In a session of its own: a Ctrl-C reaches only this process, which then ends the server.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         errors="replace", start_new_session=True)
        self._last: deque[str] = deque(maxlen=20)
        self._ready = threading.Event()
        self.endpoint = ""
        # Read to the end: a server whose output nobody takes would stop at a full pipe.
        self._reader = threading.Thread(target=self._read, name="dinar-serve-output", daemon=True)
        self._reader.start()
        end = time.monotonic() + START_SECONDS
        try:
            while not self._ready.wait(0.05):
                if not self._reader.is_alive() and not self._ready.is_set():
                    raise DinarError(f"the server ended before it was ready (exit code {self._process.wait()}): {self.output()}")
                if time.monotonic() > end:
                    raise DinarError(f"the server was not ready within {START_SECONDS:g} s: {self.output()}")
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        for line in self._process.stdout:
            self._last.append(line.rstrip())
            found = READY.match(line)
            if found:
                self.endpoint = found.group(1)
                self._ready.set()

    def output(self) -> str:
        """The last lines the server wrote."""
        return " | ".join(self._last) or "it wrote nothing"

    def check(self) -> None:
        """DinarError if the server is gone."""
        code = self._process.poll()
        if code is not None:
            raise DinarError(f"the server ended during the run (exit code {code}): {self.output()}")

    def close(self) -> None:
        """Ends the server and waits for it. May be called twice."""
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
