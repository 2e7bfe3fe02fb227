"""The check/ part of a bundle: a few frames with reference pictures, made when the avatar is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dinar_live.runtime.avatar import Avatar, Checks
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer

SIZE = (256, 256)


def make_checks(avatar: Avatar, poses: Sequence[Pose]) -> Avatar:
    """`avatar` with checks: each pose seen from its front and from the right, by every renderer, networks in
    f32 and edges as they are seen: what smooths them may change without making old bundles wrong."""
    frames = []
    for i, pose in enumerate(poses):
        target = avatar.rig.joints[0] + pose.transl
        camera = Camera.orbit(target, SIZE, azimuth=(0.0, -np.pi / 2)[i % 2], distance=5.0)
        expression = np.zeros(avatar.rig.expressions, np.float32)
        expression[: len(pose.expression)] = pose.expression
        frames.append((Pose(pose.body, pose.transl, expression), camera))
    rgba = {}
    for name in avatar.renderers:
        with Renderer(
            avatar, SIZE, renderer=name, precision="f32", smooth_edges=False, background_compile=False
        ) as renderer:
            rgba[name] = np.stack([renderer.render(*f).rgba.copy() for f in frames])
    return replace(
        avatar,
        checks=Checks(
            body=np.stack([p.body for p, _ in frames]),
            transl=np.stack([p.transl for p, _ in frames]),
            expression=np.stack([p.expression for p, _ in frames]),
            K=np.stack([c.K for _, c in frames]),
            world_to_camera=np.stack([c.world_to_camera for _, c in frames]),
            rgba=rgba,
        ),
    )
