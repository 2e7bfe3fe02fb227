"""Footage: frames with times, of a video or of pictures in order, to be read more than once."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.vision.pictures import read_picture
from dinar_live.runtime.vision.video import VideoFile, looks_like_video

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_SECONDS = 120.0
LEAST_STEP = 1e-3  # seconds between two frames, whatever the file says
SECONDS_APART = (
    0.25  # that two pictures are taken to be apart: nothing is known, and little must follow from it
)


@dataclass(frozen=True)
class Shot:
    """A frame: number in the footage, time in seconds, rgb u8[H,W,3]."""

    number: int
    time: float
    rgb: np.ndarray


@dataclass(frozen=True)
class Footage:
    """A video, or pictures in order. name: for messages. focal_35mm: of pictures whose files say so."""

    name: str
    paths: tuple[pathlib.Path, ...]
    video: bool

    @classmethod
    def open(cls, sources: Sequence[str | pathlib.Path]) -> Footage:
        """A video, a folder of pictures, or several pictures. Raises InputError."""
        paths = [pathlib.Path(s) for s in sources]
        for path in paths:
            if not path.exists():
                raise InputError(f"{path}: no such video, picture or folder")
        if len(paths) == 1 and paths[0].is_file() and looks_like_video(paths[0]):
            return cls(paths[0].name, (paths[0],), True)
        if len(paths) == 1 and paths[0].is_dir():
            folder = paths[0]
            paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
            if not paths:
                raise InputError(f"{folder}: holds no pictures; expected {', '.join(PICTURES)}")
            return cls(folder.resolve().name, tuple(paths), False)
        if any(p.is_dir() or looks_like_video(p) for p in paths):
            raise InputError(
                f"{' '.join(map(str, paths))}: expected one video, one folder of pictures, or several pictures"
            )
        return cls(f"{len(paths)} pictures", tuple(paths), False)

    def shots(self, wanted: Collection[int] | None = None, every: int = 1) -> Iterator[Shot]:
        """The frames, upright, in order: those of `wanted`, or one in `every`. Raises InputError."""
        last = max(wanted) if wanted else None
        for number, time, rgb in self._all(wanted, every):
            if (number in wanted) if wanted is not None else (number % every == 0):
                yield Shot(number, time, rgb)
            if last is not None and number >= last:
                return

    def _all(self, wanted: Collection[int] | None, every: int) -> Iterator[tuple[int, float, np.ndarray]]:
        if self.video:
            with VideoFile(self.paths[0]) as film:
                time = -LEAST_STEP
                for number, rgb in enumerate(film):
                    time = max(film.times[-1], time + LEAST_STEP)
                    if time > MAX_SECONDS:
                        raise InputError(
                            f"{self.paths[0]}: longer than {MAX_SECONDS:.0f} s; cut out the part in which the person "
                            f"turns round once"
                        )
                    yield number, time, rgb
            return
        size = None
        for number, path in enumerate(self.paths):
            if (number not in wanted) if wanted is not None else number % every:
                continue
            rgb = read_picture(path).rgb
            if size is not None and rgb.shape != size:
                raise InputError(
                    f"{path}: {rgb.shape[1]}x{rgb.shape[0]} pixels, the others {size[1]}x{size[0]}; expected pictures of "
                    f"one camera, held in one way"
                )
            size = rgb.shape
            yield number, number * SECONDS_APART, rgb

    @property
    def fps(self) -> float:
        """Frames per second, as the file says."""
        if not self.video:
            return 1 / SECONDS_APART
        with VideoFile(self.paths[0]) as film:
            return film.fps
