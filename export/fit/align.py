"""Fair scores where poses are estimates: each frame's pose and translation are aligned to the picture before it is
scored, the avatar held (docs/evaluate.md#alignment)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from dinar_live.export.capture import Capture
from dinar_live.runtime.avatar import Avatar, Rig
from dinar_live.runtime.core.errors import InputError

from .colours import mean_texture
from .contours import Edges
from .frames import Frame, read_frames
from .offsets import Solver
from .poses import Poses

METHODS = ("outlines", "both")
OUTLINE_STEPS = 6
BLUR, COLOUR_STEPS = (3.0, 2.0, 1.2), 2  # pixels; steps at each
BLUR_OF_OUTLINES = 2.0


def edges_of(rig: Rig) -> Edges:
    """The edges of the rig's skin, without eyes, teeth and tongue."""
    return Edges(rig.faces[Solver(rig).skin[rig.faces].all(1)])


def texture_of(avatar: Avatar, frames: Iterable[Frame]) -> np.ndarray:
    """f32[T,T,3] in 0..1: the avatar's own texture, else what these frames show."""
    for spec in avatar.renderers.values():
        if not spec.type.needs_network:
            return spec.texture[..., :3].astype(np.float32) / 255
    return mean_texture(avatar.rig, list(frames), 512)[0]


def aligned(
    avatar: Avatar, capture: Capture, frames: np.ndarray, method: str = "both", seed: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Capture:  # fmt: skip
    """The capture with the poses and translations of `frames` moved so that the avatar's outline (and, "both", its
    colours) lie on the pictures. Raises InputError."""
    if method not in METHODS:
        raise InputError(f"align: got {method!r}, expected {' or '.join(METHODS)}")
    capture.check_body(avatar.rig)
    edges, rng = edges_of(avatar.rig), np.random.default_rng(seed)
    poses, transl = capture.poses.copy(), capture.transl.copy()
    texture = texture_of(avatar, read_frames(capture, frames[:8])) if method == "both" else None
    for i in progress(frames):
        one = Poses(read_frames(capture, [int(i)]))
        one.refine(avatar.rig, edges, None, BLUR_OF_OUTLINES, rng, OUTLINE_STEPS)
        for blur in BLUR if texture is not None else ():
            one.refine(avatar.rig, edges, texture, blur, rng, COLOUR_STEPS)
        poses[i], transl[i] = one.axis_angles[0], one.transl[0]
    return replace(capture, poses=poses, transl=transl)
