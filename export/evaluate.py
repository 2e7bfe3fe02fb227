"""`dinar evaluate`: an avatar against the true pictures of a capture (definitions: docs/evaluate.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from dinar_live.export.metrics.flicker import flicker
from dinar_live.export.metrics.pictures import Comparison, Scores, Truth
from dinar_live.runtime.avatar import Avatar, RendererSpec, Rig
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.motion import Motion, demo_motion
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.framing import FollowingCamera, body_extent, whole_body_camera
from dinar_live.runtime.render.sinks import contact_sheet

from .capture import FRAMINGS, Capture
from .inputs import View
from .projection import project_photos
from .sheets import captioned, fitted

FLICKER_FPS = 30.0
STATIC_TEXTURE = 512  # texels a side of the static texture that stands beside a network's flicker
WORST = 6  # frames in the sheet
CELL = 300
LABELS = {
    "psnr": "PSNR dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "flip": "FLIP", "alpha_iou": "alpha IoU", "lpips": "LPIPS", "dists": "DISTS",
}  # fmt: skip
DECIMALS = {"psnr": 2}

Progress = Callable[[Iterable], Iterable]
Perceptual = Callable[[np.ndarray, np.ndarray], float]  # of two pictures f32[H,W,3] in [0,1]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How one renderer did: `scores` f64[n] by name for the frames `frames` i64[n] with framing `close_up`
    u8[n]; flicker by renderer name (the static texture's beside it), in steps of 0..255; the worst frames by
    PSNR, worst first, with what they are made of."""

    renderer: str
    description: str
    frames: np.ndarray
    close_up: np.ndarray
    scores: dict[str, np.ndarray]
    worst: list[tuple[int, Comparison]] = field(repr=False)
    flicker: dict[str, float] = field(default_factory=dict)

    def groups(self) -> dict[str, np.ndarray]:
        """Which frames (bool[n]) are in which line of the table; lines without frames are left out."""
        groups = {
            "all": np.ones(len(self.frames), bool),
            "full body": self.close_up == 0,
            "close-up": self.close_up > 0,
        }
        return {name: rows for name, rows in groups.items() if rows.any()}


def true_picture(capture: Capture, i: int) -> Truth:
    """Frame i to compare with. InputError naming the file where it cannot be read or shows nobody."""
    image = capture.image(i)
    try:
        return Truth(image)
    except ValueError as e:
        raise InputError(f"{capture.image_path(i)}: {e}") from None


def evaluate(
    avatar: Avatar,
    capture: Capture,
    frames: Sequence[int] | np.ndarray,
    renderer: str,
    *,
    options: dict[str, Any] | None = None,
    perceptual: dict[str, Perceptual] | None = None,
    progress: Progress = iter,
) -> Evaluation:
    """Render `frames` of the capture with one renderer and score them. options: keyword arguments of Renderer
    (engine, precision, ...);
    perceptual: more scores by name (lpips, dists), which need weights.

    The whole picture is rendered, not the body's box: one instance of the network is compiled. Raises
    InputError, DinarError.
    """
    capture.check_body(avatar.rig)
    rows, worst, more = [], [], perceptual or {}
    with Renderer(avatar, capture.size, renderer=renderer, crop=False, **dict[str, Any](options or {})) as r:
        description = r.describe()
        for i in progress(frames):
            c = true_picture(capture, i).compare(r.render(capture.pose(i), capture.camera(i)).rgba)
            rows.append([*c.scores, *(distance(c.truth, c.picture) for distance in more.values())])
            worst = sorted([*worst, (int(i), c)], key=lambda w: w[1].scores.psnr)[:WORST]
    names = [*Scores._fields, *more]
    columns = np.array(rows, np.float64).reshape(-1, len(names)).T
    return Evaluation(
        renderer=renderer,
        description=description,
        frames=np.asarray(frames),
        close_up=capture.close_up[frames],
        scores=dict(zip(names, columns, strict=True)),
        worst=worst,
    )


def measure_flicker(
    avatar: Avatar,
    renderer: str,
    count: int,
    size: tuple[int, int],
    *,
    motion: Motion | None = None,
    options: dict[str, Any] | None = None,
    progress: Progress = iter,
) -> dict[str, float]:
    """Flicker over `count` consecutive frames of a motion at 30 fps (None = the built-in one) seen from the
    front, by renderer name: of `renderer`, and for scale of a static texture: the avatar's own `texture`
        renderer, else one baked from two renders (`static`)."""
    avatar, names = _with_static(avatar, renderer, options)
    fitted_motion = (motion or demo_motion()).for_avatar(avatar.rig.joints, avatar.rig.expression_names)
    out = {}
    for name in names:
        follow = FollowingCamera(avatar.rig.joints[0], body_extent(avatar.rig), size)
        poses = (fitted_motion.pose_at(i / FLICKER_FPS) for i in range(count))
        with Renderer(avatar, size, renderer=name, crop=False, **dict[str, Any](options or {})) as r:
            out[name] = flicker(r, progress([(p, follow.at(p.transl, 0.3, 0.1)) for p in poses]))
    return out


class _Body:
    """Stands in for a Body whose shape is already in the rig."""

    def __init__(self, rig: Rig, kind: str):
        self._rig = rig
        self.kind = kind

    def rig(self, betas) -> Rig:
        return self._rig


def _with_static(avatar: Avatar, renderer: str, options: dict[str, Any] | None) -> tuple[Avatar, list[str]]:
    """The avatar with a static texture to compare with, and the names of the two renderers."""
    static = next((name for name, spec in avatar.renderers.items() if not spec.type.needs_network), None)
    if static is not None:
        return avatar, list(dict.fromkeys([renderer, static]))
    size = (STATIC_TEXTURE, STATIC_TEXTURE)
    body = np.zeros((55, 3), np.float32)
    body[16, 2], body[17, 2] = -0.6, 0.6  # arms down, off the body
    pose, views = Pose(body), []
    with Renderer(
        avatar, size, renderer=renderer, crop=False, straight=True, **dict[str, Any](options or {})
    ) as r:
        for name, azimuth in (("front", 0.0), ("back", np.pi)):
            camera = whole_body_camera(avatar.rig, avatar.rig.joints[0], size, azimuth=azimuth)
            rgba = r.render(pose, camera).rgba
            mask = rgba[..., 3].astype(np.float32) / 255
            views.append(View(name, rgba[..., :3].copy(), mask, pose, camera, np.zeros(0, np.float32)))
    baked, _ = project_photos(
        views, _Body(avatar.rig, avatar.body_kind), name=avatar.name, texture_size=STATIC_TEXTURE
    )
    spec: RendererSpec = baked.renderers["texture"]
    return replace(avatar, renderers={**avatar.renderers, "static": spec}, checks=None), [renderer, "static"]


def table(e: Evaluation) -> list[str]:
    """The scores as lines of text."""
    head = f"{'':<10} {'frames':>6}" + "".join(f"{LABELS[name]:>11}" for name in e.scores)
    lines = [e.description, head]
    for group, rows in e.groups().items():
        values = "".join(f"{v[rows].mean():>11.{DECIMALS.get(name, 4)}f}" for name, v in e.scores.items())
        lines.append(f"{group:<10} {rows.sum():>6}{values}")
    if e.flicker:
        lines.append(
            "flicker    "
            + ", ".join(f"{name} {v:.2f}" for name, v in e.flicker.items())
            + "  (mean change in steps of 0..255)"
        )
    return lines


def summary(e: Evaluation) -> dict:
    """What `--json` writes for one renderer: means by group, every frame's scores, flicker."""
    return {
        "renderer": e.renderer,
        "description": e.description,
        "mean": {
            g: {"frames": int(r.sum()), **{n: float(v[r].mean()) for n, v in e.scores.items()}}
            for g, r in e.groups().items()
        },
        "flicker": {name: v if np.isfinite(v) else None for name, v in e.flicker.items()},
        "frames": [
            {"frame": int(i), "framing": FRAMINGS[c], **{n: float(v[k]) for n, v in e.scores.items()}}
            for k, (i, c) in enumerate(zip(e.frames, e.close_up, strict=True))
        ],
    }


def sheet(evaluations: Sequence[Evaluation]) -> np.ndarray:
    """The worst frames of each renderer as one RGB picture: render, truth, FLIP (black = equal, white = as
    different as can be)."""
    cells = []
    for e in evaluations:
        for i, c in e.worst:
            s = c.scores
            heat = cv2.applyColorMap((c.flip * 255 + 0.5).astype(np.uint8), cv2.COLORMAP_MAGMA)[..., ::-1]
            texts = (
                f"{e.renderer[:12]}, frame {i}: {s.psnr:.1f} dB",
                f"truth; MS-SSIM {s.ms_ssim:.3f}, IoU {s.alpha_iou:.3f}",
                f"FLIP {s.flip:.3f}",
            )
            images = [(x * 255 + 0.5).astype(np.uint8) for x in (c.picture, c.truth)]
            for text, image, background in zip(texts, [*images, heat], (255, 255, 0), strict=True):
                cells.append(captioned(text, fitted(np.ascontiguousarray(image), CELL, background)))
    return contact_sheet(cells, columns=6)
