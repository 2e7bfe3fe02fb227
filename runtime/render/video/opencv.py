"""OpenCV's own writer: the last resort for .mp4 and .webm, and what writes .avi."""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from .encoders import EncoderFailed

# VP9 is the best that OpenCV's own FFmpeg can write; MPEG-4 part 2 is the fallback.
CODECS = {".mp4": ("vp09", "mp4v"), ".webm": ("VP90", "VP80"), ".avi": ("MJPG",)}
NAMES = {
    "vp09": "VP9",
    "VP90": "VP9",
    "VP80": "VP8",
    "mp4v": "MPEG-4 part 2",
    "MJPG": "Motion JPEG",
}


class OpencvEncoder:
    """Frames without alpha, to the codec of CODECS that this OpenCV has; `codec` is its name. Raises
    EncoderFailed."""

    def __init__(self, path: pathlib.Path, size: tuple[int, int], fps: float):
        self._path = path
        self._lock = threading.Lock()  # `abort` may come while a frame is being written
        codecs = CODECS[path.suffix.lower()]
        with quiet_opencv():  # it warns about every codec tag that it rewrites
            for codec in codecs:
                fourcc = cv2.VideoWriter.fourcc(*codec)
                self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, (size[1], size[0]))
                if self._writer.isOpened():
                    self.codec = NAMES[codec]
                    self.label = f"{self.codec} (OpenCV)"
                    return
        raise EncoderFailed(f"this OpenCV has none of the codecs {', '.join(codecs)}")

    def write(self, rgba: np.ndarray) -> None:
        with self._lock:
            self._writer.write(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR))

    def finish(self) -> None:
        with self._lock:
            self._writer.release()

    def abort(self) -> None:
        self.finish()

    def frames(self) -> int:
        return frames_in(self._path)


def frames_in(path: pathlib.Path) -> int:
    """How many frames of a video file can be decoded."""
    with quiet_opencv():
        reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        try:
            found = 0
            while reader.grab():
                found += 1
            return found
        finally:
            reader.release()


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV does not print what it thinks of codecs and files."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
