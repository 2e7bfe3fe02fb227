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
ENDPOINT = re.compile(r"\btcp://[^\s,;)]+")


class ServerProcess:
    """Starts `dinar serve` with `arguments` and waits until it prints the ZeroMQ endpoint it listens on (`endpoint`).

    Raises DinarError with the server's own words if it ends or says nothing in time.
    """

    def __init__(self, arguments: list[str]):
        command = [sys.executable, "-u", "-m", "dinar_live.runtime.cli.main", "serve", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         errors="replace")
        self._last: deque[str] = deque(maxlen=20)
        self._listening = threading.Event()
        self.endpoint = ""
        # Read to the end: a server whose output nobody takes would stop at a full pipe.
        self._reader = threading.Thread(target=self._read, name="dinar-serve-output", daemon=True)
        self._reader.start()
        end = time.monotonic() + START_SECONDS
        try:
            while not self._listening.wait(0.05):
                if not self._reader.is_alive() and not self._listening.is_set():
                    raise DinarError(f"the server ended before it listened (exit code {self._process.wait()}): {self.output()}")
                if time.monotonic() > end:
                    raise DinarError(f"the server did not listen within {START_SECONDS:g} s: {self.output()}")
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        for line in self._process.stdout:
            self._last.append(line.rstrip())
            found = ENDPOINT.search(line)
            if found and not self.endpoint:
                self.endpoint = found.group()
                self._listening.set()

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
        if self._process.poll() is None:
            self._process.terminate()
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
