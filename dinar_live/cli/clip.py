"""Rendering a clip to a file, frame by frame at the clip's own rate. What `render` and `demo` share."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import threading
from collections.abc import Iterator

from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.sinks import CODECS, PngSink, VideoSink

from .progress import Progress

FILES_NOT_WRITTEN = (".mov", ".mkv", ".m4v", ".gif", ".png", ".jpg", ".jpeg", ".webp")
WITH_ALPHA = ".webm"


class Output:
    """Where a clip goes, checked before anything slow begins.

    path: a file with a suffix of CODECS, or a folder for PNGs. transparent: without a background.
    straight: what the renderer must deliver. Raises InputError, naming --out.
    """

    def __init__(self, path, transparent: bool):
        self.path = pathlib.Path(path)
        suffix = self.path.suffix.lower()
        self.video = suffix in CODECS
        if suffix in FILES_NOT_WRITTEN:  # it would become a folder of that name
            raise InputError(
                f"--out {path}: got {self.path.suffix}, expected {', '.join(CODECS)} or a folder for PNGs"
            )
        if self.video and transparent and suffix != WITH_ALPHA:
            raise InputError(
                f"--background transparent: a video file has no alpha, but for {WITH_ALPHA}; give that or a folder for "
                "PNGs as --out"
            )
        self.alpha = self.video and transparent
        self.straight = transparent or not self.video

    def open(self, size: tuple[int, int], fps: float) -> VideoSink | PngSink:
        """size: (height, width) of the frames."""
        return VideoSink(self.path, size, fps, alpha=self.alpha) if self.video else PngSink(self.path)


def write_clip(
    renderer: Renderer, sink: VideoSink | PngSink, moments: Iterator[tuple[Pose, Camera]], frames: int
) -> None:
    """Render `frames` moments into the sink, and complete it; drop it when anything ends that early, the
    system's request to end (SIGTERM) too."""
    for note in sink.notes:
        print(f"note: {note}", flush=True)
    complete = False
    with _ended_as_by_ctrl_c():
        try:
            for pose, camera in Progress(moments, total=frames, unit="frame"):
                sink.write(renderer.render(pose, camera).rgba)
            complete = True
        finally:
            sink.close(complete)


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM cleans up, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
