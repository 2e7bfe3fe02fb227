"""What every scenario renders: a motion, the whole body in view at 85 % of the picture's height."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import kernels
from ..avatar import Avatar
from ..avatar.avatar import RendererSpec
from ..motion.motion import Motion
from ..render import Camera, Pose
from ..render.framing import FollowingCamera, body_extent
from ..render.window import fit_window

Shot = tuple[Pose, Camera]


def shots(avatar: Avatar, motion: Motion, size: tuple[int, int], count: int, rate: float) -> list[Shot]:
    """Up to `count` frames of `motion` at `rate` Hz for a picture of `size` (height, width): one pass of the motion, to be looped.

    The camera keeps still while the body moves about a spot and goes along when it leaves it.
    """
    rig = avatar.rig
    fitted = motion.for_avatar(rig.joints, rig.expression_names)
    follow = FollowingCamera(rig.joints[0], body_extent(rig), size)
    poses = [fitted.pose_at(i / rate) for i in range(max(1, min(count, round(fitted.duration * rate))))]
    return [(pose, follow.at(pose.transl)) for pose in poses]


def window_examples(avatar: Avatar, spec: RendererSpec, size: tuple[int, int], shots: Sequence[Shot]) -> dict[tuple[int, int], int]:
    """(height, width) of each window that the network is compiled for in `shots` -> the first shot that has it. Empty without a network."""
    if spec.model is None:
        return {}
    vertices = np.empty_like(avatar.rig.model.vertices)
    projective = np.empty_like(vertices)
    found: dict[tuple[int, int], int] = {}
    for i, (pose, camera) in enumerate(shots):
        kernels.lbs(avatar.rig.model, pose.body, pose.transl, pose.expression, out=vertices)
        _, bounds = kernels.project(vertices, camera.matrix, out=projective)
        window = fit_window(bounds, size, margin=spec.margin, stride=spec.stride)
        if window is not None:
            found.setdefault((window.height, window.width), i)
    return found
