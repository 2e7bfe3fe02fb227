"""Encoders: take frames one by one and make a file. FfmpegEncoder, in a process of its own."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import subprocess
import threading
from collections import deque
from typing import Protocol

import cv2
import numpy as np

from . import ffmpeg
from .bleed import bled

PIPE_BYTES = 1 << 20
FINISH_SECONDS = 600.0  # what is left to encode, and the move of the index to the front
_LAST_WORDS = 4


class EncoderFailed(Exception):
    """Why no more frames are taken, or the file is not complete; for the end of a sentence."""


class FileEncoder(Protocol):
    """label: what it makes and with what, for people. Raises EncoderFailed."""

    label: str

    def write(self, rgba: np.ndarray) -> None:
        """Append u8[H,W,4]."""
        ...

    def finish(self) -> None:
        """Complete the file."""
        ...

    def abort(self) -> None:
        """Stop at once; the file may be anything. May be called while another thread writes, and after
        `finish`."""
        ...

    def frames(self) -> int:
        """How many frames the finished file has."""
        ...


class FfmpegEncoder:
    """Frames go to ffmpeg through a pipe, as they are: it changes colours to YUV and compresses in threads of
    its own.

    size: (height, width). An odd side is made even by repeating the last row or column, as 4:2:0 asks for.
    alpha: frames have straight alpha, which is kept.
    """

    def __init__(
        self, encoder: ffmpeg.Encoder, path: pathlib.Path, size: tuple[int, int], fps: float, *, alpha: bool
    ):
        self.label = str(encoder)
        self._program = encoder.program
        self._url = f"file:{path.resolve()}"
        self._odd = size[0] % 2, size[1] % 2
        self._alpha = alpha
        even = (size[0] + self._odd[0], size[1] + self._odd[1])
        line = ffmpeg.command(encoder, even, fps, alpha, self._url, path.suffix.lower().removeprefix("."))
        try:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                **ffmpeg.quiet(),
            )
        except OSError as e:
            raise EncoderFailed(f"{encoder.program} cannot be started ({e.strerror or e})") from e
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        _widen(self._pipe.fileno())
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._listener = threading.Thread(target=self._listen, name="dinar-video-words", daemon=True)
        self._listener.start()

    def write(self, rgba: np.ndarray) -> None:
        if self._alpha:
            rgba = bled(rgba)
        if any(self._odd):
            rgba = cv2.copyMakeBorder(rgba, 0, self._odd[0], 0, self._odd[1], cv2.BORDER_REPLICATE)
        try:
            self._pipe.write(np.ascontiguousarray(rgba).data)
        except (OSError, ValueError) as e:  # it has ended; its last words say why
            raise EncoderFailed(self._why()) from e

    def finish(self) -> None:
        try:
            self._pipe.close()
        except OSError as e:
            raise EncoderFailed(self._why()) from e
        try:
            code = self._process.wait(FINISH_SECONDS)
        except subprocess.TimeoutExpired:
            raise EncoderFailed(f"ffmpeg did not end within {FINISH_SECONDS:g} s") from None
        if code or self._words:
            self._listener.join(5.0)
        if code:
            raise EncoderFailed(self._why())

    def abort(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join(5.0)
        with contextlib.suppress(OSError, ValueError):
            self._pipe.close()

    def frames(self) -> int:
        done = subprocess.run(
            ffmpeg.count_command(self._program, self._url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            **ffmpeg.quiet(),
        )
        found = re.findall(r"^frame=\s*(\d+)", done.stdout, re.M)
        return int(found[-1]) if found and done.returncode == 0 else 0

    def _why(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10.0)
        self._listener.join(5.0)
        code = self._process.returncode
        ended = f"ended with exit code {code}"
        if code is not None and code < 0:
            ended = f"was ended by signal {-code} ({signal.strsignal(-code)})"
        words = "; ".join(self._words)
        return f"ffmpeg {ended}" + (f": {words}" if words else "")

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as words:
            for line in words:
                if text := " ".join(line.decode(errors="replace").split()):
                    self._words.append(re.sub(r"^(\[[^\]]*\] )+", "", text))


def _widen(pipe: int) -> None:
    """Room for a whole frame in a pipe, where the system can: fewer turns between the two processes."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[attr-defined]
    except (ImportError, AttributeError, OSError):
        pass
