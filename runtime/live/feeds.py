"""Where a source's pictures come from: a camera, or a video that stands for one."""

from __future__ import annotations

import glob
import os
import pathlib
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError, MotionError
from dinar_live.runtime.vision.video import VideoFile, quiet_opencv

CAMERA_SIZE = (640, 480)  # width, height that a camera is asked for; the networks see 256 pixels of it
_BEHIND_S = 0.5
_FIRST_FRAME_S = 8.0  # some cameras take their time


class Frame(NamedTuple):
    """A picture u8[H,W,3] RGB. time_s: on the feed's own clock; received_s: when it came, on the clock given;
    cut: whether it does not go on from the one before."""

    rgb: np.ndarray
    time_s: float
    received_s: float
    cut: bool


class Feed(ABC):
    """Pictures in real time. name: as messages call it. lost: what to say when no more come. Used by one thread."""

    name: str
    lost: str

    @abstractmethod
    def open(self) -> None:
        """Begin. Raises MotionError, saying why not."""

    @abstractmethod
    def read(self) -> Frame | None:
        """The next picture, waited for; None where none will come until it is opened again."""

    @abstractmethod
    def close(self) -> None:
        """Free it. May be called twice."""


class CameraFeed(Feed):
    """A camera of this machine, by its number."""

    def __init__(self, number: int, clock: Callable[[], float] = time.monotonic):
        self.name = f"camera {number}"
        self.lost = (
            f"{self.name} gives no more pictures: unplugged, or taken by another program; trying again"
        )
        self._number = number
        self._clock = clock
        self._capture: cv2.VideoCapture | None = None
        self._cut = True

    def open(self) -> None:
        self.close()
        if sys.platform == "linux":
            self._check_device(pathlib.Path(f"/dev/video{self._number}"))
        with quiet_opencv():
            capture = cv2.VideoCapture(self._number, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, CAMERA_SIZE[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, CAMERA_SIZE[1])
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            end = self._clock() + _FIRST_FRAME_S
            while capture.isOpened() and not capture.read()[0]:
                if self._clock() > end:
                    capture.release()
        if not capture.isOpened():
            raise MotionError(
                f"{self.name}: gives no picture: it is taken by another program, or switched off; close what uses it"
            )
        self._capture = capture
        self._cut = True

    def _check_device(self, device: pathlib.Path) -> None:
        if not device.exists():
            numbers = [re.sub(r"\D", "", path) for path in glob.glob("/dev/video*")]
            there = f"cameras {', '.join(sorted(numbers, key=int))}" if numbers else "no camera at all"
            raise MotionError(f"{self.name}: there is no {device}; this machine has {there}")
        if not os.access(device, os.R_OK | os.W_OK):
            raise MotionError(
                f"{self.name}: {device} may not be used by you; an administrator adds you to the group 'video'"
            )

    def read(self) -> Frame | None:
        if self._capture is None:
            return None
        good, bgr = self._capture.read()
        if not good:
            self.close()
            return None
        now = self._clock()
        frame = Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), now, now, self._cut)
        self._cut = False
        return frame

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class VideoFeed(Feed):
    """A video played in real time, again and again, as if it were a camera. clock, sleep: for tests."""

    def __init__(
        self,
        path: str | os.PathLike,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.name = f"video {path}"
        self.lost = f"{path}: cannot be read any more"
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._video: VideoFile | None = None
        self._time_s = 0.0  # of the next frame, over all rounds

    def open(self) -> None:
        self._begin()
        self._started_s: float | None = None  # when time 0 was; from the first frame on

    def _begin(self) -> None:
        self.close()
        try:
            self._video = VideoFile(self._path)
        except InputError as e:
            raise MotionError(str(e)) from None
        self._frames: Iterator[np.ndarray] = iter(self._video)
        self._cut = True

    def read(self) -> Frame | None:
        for again in (False, True):
            if self._video is None:
                return None
            try:
                rgb = next(self._frames, None)
                if rgb is None and not again:
                    self._begin()
                    continue
            except (InputError, MotionError):
                rgb = None
            if rgb is None:
                break
            frame = Frame(rgb, self._time_s, self._wait(), self._cut)
            self._cut = False
            self._time_s += 1 / self._video.fps
            return frame
        self.close()
        return None

    def _wait(self) -> float:
        """Waits until the next frame is due; returns when that is."""
        now = self._clock()
        if self._started_s is None or now > self._started_s + self._time_s + _BEHIND_S:
            self._started_s = now - self._time_s  # the machine was busy elsewhere: no rush to catch up
        due = self._started_s + self._time_s
        if due > now:
            self._sleep(due - now)
        return due

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None
