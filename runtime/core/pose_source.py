"""PoseSource: what moves on an avatar by itself, a clip or a performer."""

from __future__ import annotations

from typing import Protocol

from .pose import Pose


class PoseSource(Protocol):
    """Poses of one avatar by time. `AvatarMotion` and `Follower` are two."""

    @property
    def duration(self) -> float:
        """Seconds after which it begins again; of a live source, those of what it shows without a performer."""
        ...

    @property
    def taken_s(self) -> float | None:
        """When the pose that is shown now was taken, time.monotonic() seconds; None for a recorded one."""
        ...

    @property
    def has_place(self) -> bool:
        """Whether its poses stand where somebody stands, as those of a performer do. Others may be moved to
        where the avatar was before."""
        ...

    def pose_at(self, t: float, /) -> Pose:
        """The pose at t seconds; a live source shows its newest."""
        ...
