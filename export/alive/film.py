"""The frames of a photo that comes alive."""

from __future__ import annotations

from collections.abc import Generator

import cv2
import numpy as np

from dinar_live import kernels
from dinar_live.export.inputs import View
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.motion import Motion
from dinar_live.runtime.render import Renderer

from .placing import EASE, PlacedMotion
from .scene import empty_scene
from .shadow import GroundShadow


def scaled(view: View, longest: int) -> View:
    """The view shrunk so that its longer side has at most `longest` pixels, with even sides, as videos need."""
    height, width = view.mask.shape
    scale = min(1.0, longest / max(height, width))
    h, w = (max(2, 2 * round(s * scale / 2)) for s in (height, width))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    rgb, mask = (cv2.resize(a, (w, h), interpolation=how) for a in (view.rgb, view.mask))
    K = np.diag([w / width, h / height, 1.0]) @ view.camera.K.astype(np.float64)
    return View(view.name, rgb, mask, view.pose, Camera(K, view.camera.world_to_camera), view.betas)


class Film:
    """An avatar that moves where the person of `view` stands. lama: as of `empty_scene`."""

    def __init__(
        self,
        avatar: Avatar,
        view: View,
        motion: Motion,
        *,
        travel: bool = True,
        ease: float = EASE,
        shadow: bool = True,
        lama=None,
    ):
        self.avatar = avatar
        self.view = view
        self.size = (view.rgb.shape[0], view.rgb.shape[1])
        self.scene = empty_scene(view.rgb, view.mask, lama)
        self.placed = PlacedMotion(motion, avatar.rig, view.pose, travel=travel, ease=ease)
        self._shadow = None
        if shadow:
            p = self.placed
            self._shadow = GroundShadow(view.camera.matrix, self.size, p.up, p.ground)

    def frames(self, count: int, fps: float, **options) -> Generator[np.ndarray, None, None]:
        """`count` opaque pictures u8[H,W,4]. options: of Renderer (renderer, engine, ...)."""
        with Renderer(self.avatar, self.size, background_compile=False, **options) as renderer:
            for i in range(count):
                pose = self.placed.pose_at(i / fps)
                rgba = renderer.render(pose, self.view.camera).rgba
                scene = self.scene
                if self._shadow is not None:
                    rig = self.avatar.rig
                    v = kernels.lbs(rig.model, pose.body, pose.transl, pose.expression)
                    light = self._shadow.at(v, rig.faces)
                    scene = (scene * light[..., None] + 0.5).astype(np.uint8)
                rest = 255 - rgba[..., 3:].astype(np.uint16)
                out = np.full_like(rgba, 255)
                out[..., :3] = rgba[..., :3] + ((scene * rest + 127) // 255).astype(np.uint8)
                yield out
