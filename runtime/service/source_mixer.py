"""SourceMixer: what moves on an avatar while a request brings no pose."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dinar_live.runtime.avatar import Rig
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.core.pose_source import PoseSource
from dinar_live.runtime.live.eased_poses import EasedPoses
from dinar_live.runtime.motion import AvatarMotion, Motion
from dinar_live.runtime.render.framing import DeadZone
from dinar_live.runtime.stream.leader_election import LeaderElection
from dinar_live.runtime.stream.protocol.messages import SourceChoice

MAX_CLIPS = 32
HOLD_SECONDS = 0.5  # how long the last pose of a client is the live one, after it stopped sending
EASE_SECONDS = 1.0  # from there to the server's own motion
_MAX_NAME = 60
_PATH_STEPS = 20_000  # a longer clip's path on the ground is thinned out


class SourcedPose(NamedTuple):
    """A pose; the spot on the ground f64[2] (x, z) that cameras follow, if they are to; and when the pose was
    taken, time.monotonic() seconds, None for a recorded one."""

    pose: Pose
    spot: np.ndarray | None
    time_s: float | None


class SourceMixer:
    """The live source and the recorded clips of one avatar. Not thread-safe: belongs to the thread that
    renders.

    The live source shows the newest pose of the client that drives: the first one that sends poses, until it
    has sent none for hold_s. That pose is held so long, then the avatar eases within ease_s to what the
    server has of its own, and back when poses come again.
    own: that (a fitted Motion goes on where the client was, a Follower where its performer is); None = nothing.
    clips: what viewers may choose and wind. clock: time.monotonic
    or, for tests, another.
    """

    def __init__(
        self,
        rig: Rig,
        own: PoseSource | None = None,
        clips: Sequence[Motion] = (),
        clock: Callable[[], float] = time.monotonic,
        *,
        hold_s: float = HOLD_SECONDS,
        ease_s: float = EASE_SECONDS,
    ):
        if len(clips) > MAX_CLIPS:
            raise DinarError(f"{len(clips)} motions, at most {MAX_CLIPS} can be offered; leave some out")
        self.own = own
        self._clips = [_Clip(m.for_avatar(rig.joints, rig.expression_names), rig.joints[0]) for m in clips]
        self._clock = clock
        self._began = clock()
        self._pelvis = np.asarray(rig.joints[0], np.float64)
        self._dead_zone = DeadZone()
        self._leader = LeaderElection(hold_s)
        self._eased = EasedPoses(own, self._pelvis, hold_s=hold_s, ease_s=ease_s)

    def describe(self) -> list[dict]:
        """For the capabilities: name and kind ("live" or "clip") of each, seconds of a clip;
        SourceChoice.index points into it."""
        return [{"name": "live", "kind": "live"}, *(clip.describe() for clip in self._clips)]

    def drive(self, pose: Pose, client: int = 0) -> None:
        """Takes note of a pose that a client sent, if it is the one that drives."""
        now = self._clock()
        if self._leader.claims(client, now):
            self._eased.take(pose, now)

    def now(self) -> float:
        """Seconds since the start, which is the time of the live source."""
        return self._clock() - self._began

    def pose(self, choice: SourceChoice | None) -> SourcedPose:
        """What was chosen (None = the live source as of now). Raises DinarError with what to tell the
        client."""
        choice = choice or SourceChoice()
        if choice.index == 0:
            pose, time_s = self._live()
            x, _, z = self._pelvis + pose.transl
            spot = self._dead_zone.at(x, z)
        elif choice.index <= len(self._clips):
            (pose, spot), time_s = self._clips[choice.index - 1].at(choice.time), None
        else:
            raise DinarError(f"source {choice.index}: this server has sources 0 to {len(self._clips)}")
        return SourcedPose(pose, spot if choice.follow else None, time_s)

    def _live(self) -> tuple[Pose, float]:
        """The pose as of now and when it was taken."""
        now = self._clock()
        pose = self._eased.pose(self.now(), now)
        if pose is None:
            raise DinarError(
                "the request has no pose and this server has no motion of its own; send a pose, or start it with --motion"
            )
        taken_s = self._eased.taken_s(now)
        if taken_s is None and self.own is not None:
            taken_s = self.own.taken_s
        return pose, now if taken_s is None else taken_s


class _Clip:
    """A motion fitted to the avatar, and the spots that a camera follows. The same for every viewer, wherever
    it winds to."""

    def __init__(self, motion: AvatarMotion, pelvis):
        self._motion = motion
        self._pelvis = np.asarray(pelvis, np.float64)
        self._spots: np.ndarray | None = None

    def describe(self) -> dict:
        return {
            "name": self._motion.motion.name[:_MAX_NAME] or "motion",
            "kind": "clip",
            "duration": round(self._motion.duration, 3),
        }

    def at(self, t: float) -> tuple[Pose, np.ndarray]:
        if self._spots is None:
            self._spots = self._path()
        part = t / self._motion.duration % 1.0
        return self._motion.pose_at(t), self._spots[min(int(part * len(self._spots)), len(self._spots) - 1)]

    def _path(self) -> np.ndarray:
        """f64[n,2]: the spots over one period, the first one where the clip starts."""
        places = self._motion.ground_path()
        dead_zone = DeadZone()
        return np.array([dead_zone.at(x, z) for x, z in places[:: -(-len(places) // _PATH_STEPS)]])
