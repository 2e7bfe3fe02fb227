"""Where rendered frames go: a video file, a folder of PNGs, a contact sheet."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from dinar_live.runtime.core.errors import DinarError, InputError

# VP9 is what browsers, VLC and editors all play and what OpenCV's own FFmpeg can write; MPEG-4 part 2 is the
# fallback.
CODECS = {".mp4": ("vp09", "mp4v"), ".webm": ("VP90", "VP80"), ".avi": ("MJPG",)}


class VideoSink:
    """Writes opaque frames to .mp4, .webm or .avi; the file appears under its name only when it is
    complete, which is checked."""

    def __init__(self, path, size: tuple[int, int], fps: float):
        self.path = pathlib.Path(path)
        if self.path.suffix not in CODECS:
            raise InputError(
                f"{path}: got {self.path.suffix!r}, expected {', '.join(CODECS)} or a folder name for PNGs"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._work = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")
        self._frames = 0
        with quiet_opencv():  # it warns about every codec tag that it rewrites
            for codec in CODECS[self.path.suffix]:
                fourcc = cv2.VideoWriter.fourcc(*codec)
                self._writer = cv2.VideoWriter(
                    str(self._work), cv2.CAP_FFMPEG, fourcc, fps, (size[1], size[0])
                )
                if self._writer.isOpened():
                    return
        self._work.unlink(missing_ok=True)
        raise InputError(
            f"{path}: this OpenCV has none of the codecs {CODECS[self.path.suffix]}; write a folder of PNGs instead"
        )

    def write(self, rgba: np.ndarray) -> None:
        """Append u8[H,W,4]; alpha is ignored."""
        self._writer.write(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR))
        self._frames += 1

    def close(self, complete: bool = True) -> None:
        """Finish the file, or drop it. Raises DinarError, the file being dropped, where not every frame can
        be read back: OpenCV does not say that a disk is full."""
        self._writer.release()
        try:
            if complete:
                self._check()
                os.replace(self._work, self.path)
        finally:
            self._work.unlink(missing_ok=True)

    def _check(self) -> None:
        reason = ""
        try:
            with open(self._work, "rb") as file:
                os.fsync(file.fileno())  # a disk may say only now that it is full
        except OSError as e:
            reason = f" ({e.strerror})"
        found = 0 if reason else frames_in(self._work)
        if found != self._frames:
            raise DinarError(
                f"{self.path}: only {found} of {self._frames} frames could be written{reason}, and the file was "
                f"removed; {free_space(self.path.parent)} are free there. Is the disk full, or is there a limit on "
                "the size of files?"
            )


class PngSink:
    """Writes frames as NNNNNN.png with straight alpha into a folder, where they appear when all are
    complete. Raises DinarError from `write` where the disk is full."""

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

    def write(self, rgba: np.ndarray) -> None:
        """Write u8[H,W,4], straight alpha."""
        write_png(self._work / f"{self._count:06d}.png", rgba)
        self._count += 1

    def close(self, complete: bool = True) -> None:
        """Put the frames into their folder, or drop them."""
        try:
            if complete:
                self.path.mkdir(exist_ok=True)
                for i in range(self._count):
                    name = f"{i:06d}.png"
                    os.replace(self._work / name, self.path / name)
        finally:
            shutil.rmtree(self._work, ignore_errors=True)


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


def free_space(folder: pathlib.Path) -> str:
    """How much more fits into a folder's file system, for people."""
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV does not print what it thinks of codecs and files."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


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
