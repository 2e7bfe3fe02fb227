"""Follower: what an avatar does while a live source performs, stalls, ends and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.motion.authored import idle_motion
from dinar_live.runtime.motion.filters import Filter
from dinar_live.runtime.motion.foot_lock_live import FootLock
from dinar_live.runtime.motion.motion import Motion

from .avatar_fit import AvatarFit
from .eased_poses import EasedPoses
from .source import Sample, Skeleton, Source


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
        filters: Sequence[Filter] = (),
        idle: Motion | None = None,
        root: str = "start",
        sole: float | None = None,
        mirror: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        for name, value in (("hold_s", hold_s), ("ease_s", ease_s)):
            if not 0 <= value <= 60:
                raise MotionError(f"{name}: got {value:g}, expected 0 to 60 seconds")
        self.source = source
        self._clock = clock
        self._rest = np.asarray(rig_joints, np.float64)
        self._names = tuple(expression_names)
        self._filters = tuple(filters)
        self._root = root
        self._sole = sole
        self._mirror = mirror
        self._idle = (idle or idle_motion()).for_avatar(rig_joints, self._names, sole=sole)
        self._lock = threading.Lock()
        self._fitted: _Fitted | None = None
        self._eased = EasedPoses(self._idle, self._rest[0], hold_s=hold_s, ease_s=ease_s)

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
        if sample is None or not self._eased.holds(sample.received_s, self._clock()):
            return None
        return sample.received_s

    @property
    def has_place(self) -> bool:
        """Performers stand where they stand (see PoseSource)."""
        return True

    def pose_at(self, t: float) -> Pose:
        """What to show now. t: seconds, where the idle motion is; the performer is always shown as of now."""
        with self._lock:
            now = self._clock()
            self._read()
            pose = self._eased.pose(t, now)
            assert pose is not None  # there is always the idle motion
            return pose

    def _read(self) -> None:
        """Takes over what the source has."""
        skeleton, sample = self.source.skeleton, self.source.read()
        if sample is None or skeleton is None:
            self._eased.let_go()
            return
        if self._fitted is None or skeleton is not self._fitted.skeleton:
            fit = AvatarFit(
                skeleton, self._rest, self._names, root=self._root, sole=self._sole, mirror=self._mirror
            )
            self._fitted = _Fitted(skeleton, fit, self._filters)
        if len(sample.expression) != len(skeleton.expression_names):
            self._eased.let_go()  # read between two bodies; the next one fits
            return
        self._eased.take(self._fitted.pose(sample), sample.received_s)


class _Fitted:
    """One performer's samples as poses of the avatar: filtered and fitted, each sample once."""

    def __init__(self, skeleton: Skeleton, fit: AvatarFit, filters: Sequence[Filter]):
        self.skeleton = skeleton
        self._fit = fit
        self._filters = filters
        self._last: tuple[Sample, Sample, Pose] | None = None  # as read, filtered, fitted
        for f in filters:
            f.reset()
            if isinstance(f, FootLock):  # steps are as long as the performer's legs make them
                f.leg_length = skeleton.leg_length

    def pose(self, sample: Sample) -> Pose:
        """The pose of the newest sample."""
        if self._last is not None and sample is self._last[0]:
            return self._last[2]
        filtered = self._filtered(sample)
        pose = self._fit.pose(filtered)
        self._last = sample, filtered, pose
        return pose

    def _filtered(self, sample: Sample) -> Sample:
        body, pelvis = sample.body, sample.pelvis
        if self._last is not None and sample.sequence == self._last[0].sequence:  # only the face is new
            body, pelvis = self._last[1].body, self._last[1].pelvis
        else:
            for f in self._filters:
                body, pelvis = f.step(sample.received_s, body, pelvis)
        return sample._replace(body=body, pelvis=pelvis)
