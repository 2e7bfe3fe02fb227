"""Frames of a video file, upright, with their times; or one sentence on why not."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError

MAX_FRAMES = 20_000  # 11 minutes at 30 frames per second
MAX_PIXELS = 40_000_000
_USUAL_FPS = 30.0
SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")


def is_video(data: bytes) -> bool:
    """Whether a file that begins so (32 bytes) is a container that is read here: MP4 or MOV, WebM or MKV, AVI."""
    box = data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    still = data[4:8] == b"ftyp" and data[8:11] in (b"hei", b"hev", b"mif", b"avi", b"msf")
    return (
        (box and not still)
        or data[:4] == b"\x1a\x45\xdf\xa3"
        or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")
    )


def looks_like_video(path: str | os.PathLike) -> bool:
    """Whether a file is a video by its first bytes, or by its name if it is none that can be read."""
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as f:
            return is_video(f.read(32)) or path.suffix.lower() in SUFFIXES
    except OSError:
        return path.suffix.lower() in SUFFIXES


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV from writing to standard error what is told in one sentence here."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class VideoFile:
    """A video that is read once, from the start. fps: as the file says
    it. expected: frames that it says it has, 0 if it does not. times: seconds of the frames read so far. Use as a
    context manager. Raises InputError naming the file."""

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such video")
        with open(self.path, "rb") as f:
            start = f.read(32)
        if not is_video(start):  # FFmpeg also opens playlists, which name other files and addresses
            raise InputError(f"{path}: not a video that is read here; expected MP4, MOV, WebM, MKV or AVI")
        with quiet_opencv():
            self._capture = cv2.VideoCapture(str(self.path.resolve()), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError(
                f"{path}: a video that cannot be opened: damaged, cut off, or of an unknown codec"
            )
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 1 <= fps <= 1000 else _USUAL_FPS
        expected = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.expected = int(expected) if 0 < expected < 1e7 else 0
        width, height = (
            int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > MAX_PIXELS:
            self.close()
            raise InputError(
                f"{path}: frames of {width}x{height}, expected at most {MAX_PIXELS // 10**6} megapixels"
            )
        if self.expected > MAX_FRAMES:
            self.close()
            raise InputError(
                f"{path}: {self.expected} frames, expected at most {MAX_FRAMES}: cut the part out that is meant"
            )
        self.times: list[float] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames, u8[H,W,3] RGB. Raises InputError if there is none, or there are too many."""
        while len(self.times) < MAX_FRAMES:
            time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            good, frame = self._capture.read()
            if not good:
                break
            self.times.append(time_s)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if not self.times:
            raise InputError(
                f"{self.path}: not one frame can be read: damaged, cut off, or of an unknown codec"
            )

    @property
    def rate(self) -> float:
        """Frames per second by the times of the frames read, else as the file says."""
        steps = np.diff(self.times)
        if len(steps) and steps.min() > 0 and 1 <= 1 / steps.mean() <= 1000:
            return float(1 / steps.mean())
        return self.fps

    def close(self) -> None:
        """Free the file. May be called twice."""
        self._capture.release()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *exc) -> None:
        self.close()
