"""What every scenario renders: a motion, the whole body in view at 85 % of the picture's height."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import kernels
from ..avatar import Avatar
from ..avatar.avatar import RendererSpec
from ..motion.motion import Motion
from ..render import Camera, Pose
from ..render.framing import body_extent, whole_body_camera
from ..render.window import fit_window

Shot = tuple[Pose, Camera]


def shots(avatar: Avatar, motion: Motion, size: tuple[int, int], count: int, rate: float) -> list[Shot]:
    """Up to `count` frames of `motion` at `rate` Hz for a picture of `size` (height, width): one pass of the motion, to be looped.

    The camera follows a travelling body over the ground and stays at the height of a standing one.
    """
    rig = avatar.rig
    fitted = motion.for_avatar(rig.joints, rig.expression_names)
    standing = -body_extent(rig)[0]
    result = []
    for i in range(max(1, min(count, round(fitted.duration * rate)))):
        pose = fitted.pose_at(i / rate)
        x, _, z = rig.joints[0] + pose.transl
        result.append((pose, whole_body_camera(rig, (x, standing, z), size)))
    return result


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
