"""Sources: what moves on an avatar while a request brings no pose."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from .avatar import Rig
from .errors import DinarError
from .motion import AvatarMotion, Motion
from .render import Pose
from .render.framing import Leash
from .stream.messages import SourceChoice

MAX_CLIPS = 32
HOLD_SECONDS = 0.5          # how long the last pose of a client is the live one, after it stopped sending
_MAX_NAME = 60
_PATH_STEPS = 20_000        # a longer clip's path on the ground is thinned out


class Sources:
    """The live source and the recorded clips of one avatar. Not thread-safe: belongs to the thread that renders.

    own: what the live source shows while no client drives, with pose_at(seconds) and duration; None = nothing of its own.
    clips: what viewers may choose and wind. clock: seconds.
    """

    def __init__(self, rig: Rig, own=None, clips: Sequence[Motion] = (), clock: Callable[[], float] = time.monotonic):
        if len(clips) > MAX_CLIPS:
            raise DinarError(f"{len(clips)} motions, at most {MAX_CLIPS} can be offered; leave some out")
        self.own = own
        self._clips = [_Clip(m.for_avatar(rig.joints, rig.expression_names), rig.joints[0]) for m in clips]
        self._clock, self._began = clock, clock()
        self._pelvis = np.asarray(rig.joints[0], np.float64)
        self._leash = Leash()
        self._driven: tuple[Pose, float] | None = None

    def describe(self) -> list[dict]:
        """For the capabilities: name and kind ("live" or "clip") of each, seconds of a clip; SourceChoice.index points into it."""
        return [{"name": "live", "kind": "live"}, *(clip.describe() for clip in self._clips)]

    def drive(self, pose: Pose) -> None:
        """Takes note of a client's pose: the live source shows it until HOLD_SECONDS after the last one."""
        self._driven = pose, self._clock()

    def now(self) -> float:
        """Seconds since the start, which is the time of the live source."""
        return self._clock() - self._began

    def pose(self, choice: SourceChoice | None) -> tuple[Pose, np.ndarray | None]:
        """The pose of what was chosen (None = the live source as of now) and, where cameras are to follow, the spot on the ground f64[2]
        (x, z) that they follow. Raises DinarError with what to tell the client."""
        choice = choice or SourceChoice()
        if choice.index == 0:
            pose = self._live()
            x, _, z = self._pelvis + pose.transl
            spot = self._leash.at(x, z)
        elif choice.index <= len(self._clips):
            pose, spot = self._clips[choice.index - 1].at(choice.time)
        else:
            raise DinarError(f"source {choice.index}: this server has sources 0 to {len(self._clips)}")
        return pose, spot if choice.follow else None

    def _live(self) -> Pose:
        if self._driven is not None and self._clock() - self._driven[1] <= HOLD_SECONDS:
            return self._driven[0]
        if self.own is None:
            raise DinarError("the request has no pose and this server has no motion of its own; send a pose, or start it with --motion")
        return self.own.pose_at(self.now())


class _Clip:
    """A motion fitted to the avatar, and the spots that a camera follows. The same for every viewer, wherever it winds to."""

    def __init__(self, motion: AvatarMotion, pelvis):
        self._motion = motion
        self._pelvis = np.asarray(pelvis, np.float64)
        self._spots: np.ndarray | None = None

    def describe(self) -> dict:
        return {"name": self._motion.motion.name[:_MAX_NAME] or "motion", "kind": "clip", "duration": round(self._motion.duration, 3)}

    def at(self, t: float) -> tuple[Pose, np.ndarray]:
        if self._spots is None:
            self._spots = self._path()
        part = t / self._motion.duration % 1.0
        return self._motion.pose_at(t), self._spots[min(int(part * len(self._spots)), len(self._spots) - 1)]

    def _path(self) -> np.ndarray:
        """f64[n,2]: the spots over one period, the first one where the clip starts."""
        places = self._motion.ground_path()
        leash = Leash()
        return np.array([leash.at(x, z) for x, z in places[::-(-len(places) // _PATH_STEPS)]])
