"""Follower: what an avatar does while a live source performs, stalls, ends and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.motion.authored import idle_motion
from dinar_live.runtime.motion.motion import Motion

from .easing import Easing
from .source import AvatarFit, Sample, Skeleton, Source


class Follower:
    """The poses of a source on one avatar, for `AvatarService(source=...)`. Thread-safe.

    The newest sample is shown as it is. Without a new one the last is held for hold_s, then the avatar eases
    to an idle motion within ease_s, on the spot and facing where the performer was; when samples return it
    eases back within ease_s. Before the first sample it idles.
    rig_joints, expression_names: of the avatar. filters: `OneEuro`, `Predictor` or the like, in this order,
    on every sample taken. idle: a Motion (default: `idle_motion`). root, sole, mirror: of `AvatarFit`. clock:
    seconds; the one the source's samples are stamped with.
    """

    def __init__(
        self,
        source: Source,
        rig_joints,
        expression_names=(),
        *,
        hold_s: float = 0.5,
        ease_s: float = 1.0,
        filters: Sequence = (),
        idle: Motion | None = None,
        root: str = "start",
        sole: float | None = None,
        mirror: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        for name, value in (("hold_s", hold_s), ("ease_s", ease_s)):
            if not 0 <= value <= 60:
                raise MotionError(f"{name}: got {value:g}, expected 0 to 60 seconds")
        self.source, self._clock, self._hold = source, clock, hold_s
        self._rest = np.asarray(rig_joints, np.float64)
        self._names = tuple(expression_names)
        self._filters = tuple(filters)
        self._options = {"root": root, "sole": sole, "mirror": mirror}
        self._idle = (idle or idle_motion()).for_avatar(rig_joints, self._names, sole=sole)
        self._lock = threading.Lock()
        self._skeleton: Skeleton | None = None
        self._fit: AvatarFit | None = None
        self._sample: Sample | None = None
        self._live: Pose | None = None
        self._easing = Easing(self._idle, self._rest[0], ease_s)

    @property
    def duration(self) -> float:
        """Seconds of the idle motion, after which it begins again."""
        return self._idle.duration

    @property
    def following(self) -> bool:
        """Whether the newest sample is young enough to be followed."""
        return self.taken_s is not None

    @property
    def taken_s(self) -> float | None:
        """When the sample that is followed came, on the clock of the samples; None while none is."""
        sample = self.source.read()
        return (
            sample.received_s
            if sample is not None and self._clock() - sample.received_s <= self._hold
            else None
        )

    @property
    def has_place(self) -> bool:
        """Performers stand where they stand (see PoseSource)."""
        return True

    def pose_at(self, t: float) -> Pose:
        """What to show now. t: seconds, where the idle motion is; the performer is always shown as of now."""
        with self._lock:
            now = self._clock()
            follows = self._take(now)
            return self._easing.pose(t, now, self._live, follows)

    def _take(self, now: float) -> bool:
        """Reads the source; True while the performer is to be followed."""
        skeleton, sample = self.source.skeleton, self.source.read()
        if sample is None or skeleton is None:
            return False
        if skeleton is not self._skeleton:
            self._skeleton, self._fit = (
                skeleton,
                AvatarFit(skeleton, self._rest, self._names, **self._options),
            )
            self._sample = None
            for f in self._filters:
                f.reset()
        if len(sample.expression) != len(skeleton.expression_names):
            return False  # read between two bodies; the next one fits
        if sample is not self._sample:
            self._live = self._fit.pose(self._filtered(sample))
            self._sample = sample
        return now - sample.received_s <= self._hold

    def _filtered(self, sample: Sample) -> Sample:
        if not self._filters:
            return sample
        if self._sample is None or sample.sequence != self._sample.sequence:  # else only the face is new
            self._still = sample.body, sample.pelvis
            for f in self._filters:
                self._still = f.step(sample.received_s, *self._still)
        return sample._replace(body=self._still[0], pelvis=self._still[1])
