"""What every scenario renders: a motion, the whole body in view at 85 % of the frame's height."""

from __future__ import annotations

from collections.abc import Sequence

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.motion.motion import Motion
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.framing import FollowingCamera, body_extent

Shot = tuple[Pose, Camera]


def shots(avatar: Avatar, motion: Motion, size: tuple[int, int], count: int, rate: float) -> list[Shot]:
    """Up to `count` frames of `motion` at `rate` Hz for `size` (height, width) pixels: one pass of the
    motion, to be looped.

    The camera keeps still while the body moves about a spot and goes along when it leaves it.
    """
    rig = avatar.rig
    fitted = motion.for_avatar(rig.joints, rig.expression_names)
    follow = FollowingCamera(rig.joints[0], body_extent(rig), size)
    poses = [fitted.pose_at(i / rate) for i in range(max(1, min(count, round(fitted.duration * rate))))]
    return [(pose, follow.at(pose.transl)) for pose in poses]


def window_examples(renderer: Renderer, shots: Sequence[Shot]) -> dict[tuple[int, int], int]:
    """(height, width) of each window that the network is compiled for in `shots` -> the first shot that has
    it. Empty without a network."""
    if renderer.engine_info is None:
        return {}
    found: dict[tuple[int, int], int] = {}
    for i, (pose, camera) in enumerate(shots):
        window = renderer.window(pose, camera)
        if window is not None:
            found.setdefault((window.height, window.width), i)
    return found
