"""Where rendered frames go: a video file, a folder of PNGs, a contact sheet."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Sequence

import cv2
import numpy as np

from dinar_live.runtime.core.errors import DinarError, InputError

from .video import CODECS, VideoSink
from .video.frame_queue import FrameQueue
from .video.sink import free_space

__all__ = ["CODECS", "PngSink", "VideoSink", "contact_sheet", "write_png"]


class PngSink:
    """Writes frames as NNNNNN.png with straight alpha into a folder, where they appear when all are
    complete. They are written while the next are rendered: `write` or `close` raise DinarError where the disk is
    full. label and notes: as of VideoSink."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        if self.path.is_file():
            raise InputError(f"{path}: is a file, expected a folder for the PNGs")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        target = self.path.resolve()
        self._work = target.with_name(f".{target.name}.part")
        shutil.rmtree(self._work, ignore_errors=True)  # of a run that was killed
        self._work.mkdir()
        self._count = 0
        self._open = True
        self.label = "PNG"
        self.notes: list[str] = []
        self._queue = FrameQueue(self._write, "dinar-png")

    def write(self, rgba: np.ndarray) -> None:
        """Write u8[H,W,4], straight alpha, which may be changed afterwards."""
        self._queue.put(rgba)

    def _write(self, rgba: np.ndarray) -> None:
        write_png(self._work / f"{self._count:06d}.png", rgba)
        self._count += 1

    def close(self, complete: bool = True) -> None:
        """Put the frames into their folder, or drop them. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        try:
            if complete:
                self._queue.finish()
                self.path.mkdir(exist_ok=True)
                for i in range(self._count):
                    name = f"{i:06d}.png"
                    os.replace(self._work / name, self.path / name)
        finally:
            self._queue.abandon()
            shutil.rmtree(self._work, ignore_errors=True)


def write_png(path, image: np.ndarray) -> None:
    """An RGB or RGBA u8 image [H,W,c] as PNG, under its name only when complete. Raises DinarError."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    ok, data = cv2.imencode(".png", cv2.cvtColor(image, code))
    if not ok:
        raise InputError(f"{path}: an image of shape {list(image.shape)} cannot be written as PNG")
    work = path.with_name(f".{path.name}.part")
    try:
        work.write_bytes(data.tobytes())
        os.replace(work, path)
    except OSError as e:
        raise DinarError(
            f"{path}: cannot be written ({e.strerror}); {free_space(path.parent)} are free there"
        ) from e
    finally:
        with contextlib.suppress(OSError):
            work.unlink(missing_ok=True)


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, gap: int = 4, background: int = 235
) -> np.ndarray:
    """Tile u8 [H,W,3|4] images (premultiplied where they have alpha) into one RGB sheet; smaller ones are
    centred in their cell."""
    h, w = max(i.shape[0] for i in images), max(i.shape[1] for i in images)
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), background, np.uint8)
    for n, image in enumerate(images):
        rgb = image[..., :3]
        if image.shape[2] == 4:
            rgb = np.clip(
                rgb + (background * (255 - image[..., 3:].astype(np.int32)) + 127) // 255, 0, 255
            ).astype(np.uint8)
        y = gap + n // columns * (h + gap) + (h - rgb.shape[0]) // 2
        x = gap + n % columns * (w + gap) + (w - rgb.shape[1]) // 2
        sheet[y : y + rgb.shape[0], x : x + rgb.shape[1]] = rgb
    return sheet
