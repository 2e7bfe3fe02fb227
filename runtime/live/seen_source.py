"""SeenSource: whoever is before a camera, or in a video, performs: no suit, no markers, no calibration."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dinar_live.runtime.core.errors import DinarError, MotionError
from dinar_live.runtime.motion.kinematics import leg_length

from .feeds import CameraFeed, Feed, Frame, VideoFeed
from .sample_buffer import SampleBuffer
from .source import Sample, Skeleton, Source, SourceState
from .source_form import OpenOptions, SourceForm, WrongForm

if TYPE_CHECKING:
    from dinar_live.runtime.vision.live_person import Performed

SMOOTH_HZ = 1.5
MAX_CAMERA = 63
_AGAIN_S = 2.0  # between attempts to open a camera that went away
_JOIN_S = 3.0  # a camera's driver may not come back
_DOING = {
    "looking": "nobody to be seen: step into the picture, from head to feet",
    "measuring": "measuring the person: a moment",
}


class Person(Protocol):
    """What turns pictures into poses: `runtime.vision.live_person.LivePerson`."""

    doing: str
    expression_names: tuple[str, ...]

    def see(self, rgb: np.ndarray, t: float) -> Performed | None: ...

    def cut(self) -> None: ...


class SeenSource(Source):
    """The person in a feed's pictures. One thread reads them, another looks at the newest, so that nothing queues up.
    While nobody is there no samples come, and what follows eases to standing by. person: makes what looks at the
    pictures, when the source starts; raises a DinarError where it cannot."""

    def __init__(self, feed: Feed, person: Callable[[], Person], clock: Callable[[], float] = time.monotonic):
        self.samples = SampleBuffer(clock)
        self._feed = feed
        self._make = person
        self._stop = threading.Event()
        self._fresh = threading.Condition()
        self._newest: Frame | None = None
        self._threads: list[threading.Thread] = []
        self._trouble = self._missing = ""
        self._person: Person | None = None
        self._number = 0

    def start(self) -> None:
        self._stop.clear()
        try:
            self._feed.open()  # a camera that is not there shows before the networks are read
            self._person = self._make()
        except DinarError as e:
            self._feed.close()
            raise e if isinstance(e, MotionError) else MotionError(str(e)) from e
        self._threads = [
            threading.Thread(target=f, name=f"dinar-{name}", daemon=True)
            for name, f in (("pictures", self._read_on), ("look", self._look_on))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        with self._fresh:
            self._fresh.notify_all()
        for thread in self._threads:
            thread.join(_JOIN_S)
        self._threads = []

    def read(self) -> Sample | None:
        return self.samples.newest

    @property
    def skeleton(self) -> Skeleton | None:
        return self.samples.skeleton

    @property
    def state(self) -> SourceState:
        doing = self._person.doing if self._person is not None else "looking"
        hint = self._trouble or _DOING.get(doing, self._missing)
        return self.samples.state(self._feed.name, hint=hint)

    def _read_on(self) -> None:
        try:
            while not self._stop.is_set():
                frame = self._feed.read()
                if frame is None:
                    self._trouble = self._feed.lost
                    if not self._stop.wait(_AGAIN_S):
                        self._open_again()
                    continue
                self.samples.heard(self.samples.clock())
                with self._fresh:
                    if self._newest is not None:
                        self.samples.drop("pictures passed over")
                        frame = frame._replace(cut=frame.cut or self._newest.cut)
                    self._newest = frame
                    self._fresh.notify()
        finally:
            self._feed.close()

    def _open_again(self) -> None:
        try:
            self._feed.open()
        except MotionError as e:
            self._trouble = f"{e}; trying again"
        else:
            self._trouble = ""

    def _look_on(self) -> None:
        while not self._stop.is_set():
            with self._fresh:
                if self._newest is None:
                    self._fresh.wait(0.2)
                frame, self._newest = self._newest, None
            if frame is not None:
                try:
                    self._look(frame)
                except (DinarError, np.linalg.LinAlgError):  # one picture must not end the show
                    self.samples.drop("unreadable")

    def _look(self, frame: Frame) -> None:
        person = self._person
        assert person is not None
        if frame.cut:
            person.cut()
        found = person.see(frame.rgb, frame.received_s)
        if found is None:
            return
        self._missing = (
            f"{', '.join(found.missing)} outside the picture: guessed; step back" if found.missing else ""
        )
        if found.person != self._number:
            self._number = found.person
            self.samples.set_skeleton(Skeleton(leg_length(found.rest), person.expression_names))
        self.samples.put(
            found.body, found.pelvis, found.expression, time_s=frame.time_s, now=frame.received_s
        )


def _live_person() -> Person:
    from dinar_live.runtime.vision.get_models import get_with_pip
    from dinar_live.runtime.vision.landmarker import Landmarker
    from dinar_live.runtime.vision.live_person import LivePerson
    from dinar_live.runtime.vision.models import ModelFolder

    folder = ModelFolder(getter=lambda f: get_with_pip(f, lambda text: print(text, file=sys.stderr)))
    threads = 2 if (os.cpu_count() or 1) >= 4 else 1  # the renderer wants its share
    return LivePerson(Landmarker(folder, threads=threads))


def _open_camera(rest: str, options: OpenOptions) -> SeenSource:
    if rest and not (rest.isascii() and rest.isdigit() and int(rest) <= MAX_CAMERA):
        raise WrongForm(f"a camera's number after the colon, 0 to {MAX_CAMERA}")
    return SeenSource(CameraFeed(int(rest or 0)), _live_person)


def _open_video(path: str, options: OpenOptions) -> SeenSource:
    if not path:
        raise WrongForm
    feed = VideoFeed(path)
    feed.open()  # what is no video is said at once
    feed.close()
    return SeenSource(feed, _live_person)


CAMERA_FORM = SourceForm("camera", "camera[:N]", _open_camera, smooth=SMOOTH_HZ)
VIDEO_FORM = SourceForm("video", "VIDEO.mp4", _open_video, smooth=SMOOTH_HZ)
