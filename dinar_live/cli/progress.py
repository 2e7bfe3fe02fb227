"""Progress: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 15.0
"""Between two lines where standard error is not a terminal."""


class Progress(tqdm):
    """tqdm that says something in a log too: whole lines, every `LOG_SECONDS`, none for work that is done before
    the first. As tqdm, `unit` and `desc` say what is counted."""

    def __init__(self, *args, **options):
        if not sys.stderr.isatty():
            options |= {
                "mininterval": LOG_SECONDS,
                "maxinterval": LOG_SECONDS,
                "delay": LOG_SECONDS,
                "leave": True,
            }
            counted = options.get("total") or (args and hasattr(args[0], "__len__"))
            of = "{n_fmt} of {total_fmt}" if counted else "{n_fmt}"
            name = "{desc}: " if options.get("desc") else ""
            options["bar_format"] = f"{name}{of} {{unit}}s in {{elapsed}}{{postfix}}"
        super().__init__(*args, **options)

    def close(self) -> None:
        """The last line, where it has not been said and any was."""
        if not self.disable and not _is_terminal(self.fp):
            if self.n != self.last_print_n and time.time() >= self.start_t + self.delay:
                self.display()
            self.leave = False
            self.fp = io.StringIO()  # for what tqdm clears a terminal with
        super().close()

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """How tqdm shows its text."""
        if _is_terminal(file):
            return tqdm.status_printer(file)

        def line(text: str) -> None:
            if text := text.strip():
                print(text, file=file, flush=True)

        return line


def _is_terminal(file: Any) -> bool:
    return file.isatty()
