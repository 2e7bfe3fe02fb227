"""VideoSink: frames in, a video file out, which appears when it is complete."""

from __future__ import annotations

import math
import os
import pathlib
import shutil

import numpy as np

from dinar_live.runtime.core.errors import DinarError, InputError

from . import ffmpeg
from .encoders import EncoderFailed, FfmpegEncoder, FileEncoder
from .frame_queue import FrameQueue
from .opencv import CODECS, OpencvEncoder

MAX_SIDE = 16384


class VideoSink:
    """Writes frames to .mp4 (H.264), .webm (VP9) or .avi (Motion JPEG) while the next are rendered.

    size: (height, width). fps: 0.1..1000. alpha: keep the frames' alpha, which must be straight; .webm only.
    The file appears under its name only when it is complete, which is checked. An encoder that fails is told by
    the next `write`, or by `close`. label: what is written and with what; notes: what a user should know.
    Raises InputError, DinarError.
    """

    def __init__(self, path, size: tuple[int, int], fps: float, *, alpha: bool = False):
        self.path = pathlib.Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in CODECS:
            raise InputError(
                f"{path}: got {self.path.suffix!r}, expected {', '.join(CODECS)} or a folder name for PNGs"
            )
        if alpha and suffix != ".webm":
            raise InputError(f"{path}: {suffix} files have no alpha; expected .webm, or a folder for PNGs")
        if not (math.isfinite(fps) and 0.1 <= fps <= 1000):
            raise InputError(f"{path}: fps {fps:g}: expected 0.1..1000")
        if not all(1 <= side <= MAX_SIDE for side in size):
            raise InputError(f"{path}: size {size[1]}x{size[0]}: expected sides of 1..{MAX_SIDE} pixels")
        if self.path.is_dir():
            raise InputError(f"{path}: is a folder, expected the name of a file")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.notes: list[str] = []
        self._size = size
        self._work = self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")
        self._work.write_bytes(b"")  # now, not after the first frames, where this folder may not be written
        self._frames = 0
        self._open = True
        try:
            self._encoder = self._open_encoder(suffix, fps, alpha)
        except EncoderFailed as e:
            self._work.unlink(missing_ok=True)
            raise DinarError(f"{path}: {e}. {ffmpeg.INSTALL}; or write a folder of PNGs") from e
        self.label = self._encoder.label
        self._queue = FrameQueue(self._encoder.write, "dinar-video")

    def _open_encoder(self, suffix: str, fps: float, alpha: bool) -> FileEncoder:
        if suffix == ".avi":
            return OpencvEncoder(self._work, self._size, fps)
        found, reason = ffmpeg.find_encoder(ffmpeg.H264 if suffix == ".mp4" else ffmpeg.VP9)
        if found is not None:
            if any(side % 2 for side in self._size):
                height, width = (side + side % 2 for side in self._size)
                self.notes.append(
                    f"{self.path.name} is {width}x{height}: sides of a video must be even, so the last row or "
                    "column is repeated"
                )
            return FfmpegEncoder(found, self._work, self._size, fps, alpha=alpha)
        if alpha:
            raise EncoderFailed(f"alpha in a WebM needs ffmpeg with libvpx-vp9, and {reason}")
        encoder = OpencvEncoder(self._work, self._size, fps)
        if suffix == ".mp4":
            self.notes.append(
                f"{self.path.name} is {encoder.codec}, which browsers and VLC play, but phones and QuickTime often "
                f"do not: H.264 needs ffmpeg, and {reason}. {ffmpeg.INSTALL}"
            )
        return encoder

    def write(self, rgba: np.ndarray) -> None:
        """Append u8[H,W,4], which may be changed afterwards. Alpha is ignored without alpha=True. Raises
        DinarError, the file being dropped, when the encoder has failed."""
        if rgba.shape != (*self._size, 4) or rgba.dtype != np.uint8:
            raise InputError(
                f"{self.path}: got a frame of {rgba.dtype}{list(rgba.shape)}, expected uint8{[*self._size, 4]}"
            )
        if not self._open:
            raise DinarError(f"{self.path}: a frame came after close()")
        try:
            self._queue.put(rgba)
        except EncoderFailed as e:
            self.close(complete=False)
            raise self._failure(f"after {self._frames} frames {e}") from e
        self._frames += 1

    def close(self, complete: bool = True) -> None:
        """Finish the file, or drop it. Raises DinarError, the file being dropped, where it is not complete:
        the disk is full, or the encoder has failed. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        try:
            if complete:
                self._finish()
                os.replace(self._work, self.path)
        finally:
            self._encoder.abort()
            self._queue.abandon()
            self._work.unlink(missing_ok=True)

    def _finish(self) -> None:
        try:
            self._queue.finish()
            self._encoder.finish()
            with open(self._work, "rb+") as file:
                os.fsync(file.fileno())  # a disk may say only now that it is full
        except EncoderFailed as e:
            raise self._failure(f"it was not completed: {e}") from e
        except OSError as e:
            raise self._failure(f"it was not completed ({e.strerror})") from e
        if (found := self._encoder.frames()) != self._frames:
            raise self._failure(f"only {found} of {self._frames} frames could be written")

    def _failure(self, what: str) -> DinarError:
        return DinarError(
            f"{self.path}: {what}, and the file was removed; {free_space(self.path.parent)} are free there. Is the "
            "disk full, or is there a limit on the size of files?"
        )

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, kind, *rest) -> None:
        self.close(complete=kind is None)


def free_space(folder: pathlib.Path) -> str:
    """How much more fits into a folder's file system, for people."""
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"
