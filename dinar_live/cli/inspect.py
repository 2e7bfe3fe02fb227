"""dinar inspect AVATAR [--sheet out.png]"""

from __future__ import annotations

import argparse
import math
import pathlib
import re

import numpy as np

from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.framing import body_extent, whole_body_camera
from dinar_live.runtime.render.sinks import contact_sheet, write_png

from . import common

SIDES = 8
CELL = 384


def arguments(parser: argparse.ArgumentParser) -> None:
    common.avatar_argument(parser, optional=True)
    parser.add_argument(
        "--sheet", help="where to draw the sheet (default: its file name + .png, in this folder)"
    )


def printable(text: str) -> str:
    """A bundle's own text without control characters, which could rewrite the terminal, and not longer than a
    paragraph."""
    return re.sub(r"[^ -~\u00a0-\ud7ff]", "?", text)[:500]


def table(avatar: Avatar) -> list[tuple[str, str]]:
    """What is in an avatar, as rows of (what, value)."""
    rig = avatar.rig
    low, high = body_extent(rig)
    rows = [
        ("name", avatar.name),
        (
            "body",
            f"{avatar.body_kind}, {len(rig.model.vertices)} vertices, {len(rig.faces)} faces, {high - low:.2f} m tall",
        ),
        (
            "expressions",
            f"{rig.expressions}"
            + (f" ({', '.join(rig.expression_names[:4])}, ...)" if rig.expression_names else ""),
        ),
        ("pose directions", "yes" if rig.model.pose_dirs is not None else "no"),
    ]
    for name, r in avatar.renderers.items():
        h, w, c = r.texture.shape
        network = (
            "no network"
            if r.model is None
            else f"model.onnx {len(r.model) / 1e6:.1f} MB, margin {r.margin} px"
        )
        rows.append(
            (
                f"renderer {name}",
                f"texture {w}x{h}x{c} {r.texture.dtype}, {network}"
                + (f", {r.samples}x{r.samples} samples" if r.samples > 1 else ""),
            )
        )
    rows += [
        ("checks", "none" if avatar.checks is None else f"{len(avatar.checks.body)} poses"),
        ("licence", avatar.licence or "not stated"),
    ]
    return rows + [(k, str(v)) for k, v in avatar.provenance.items()]


def sheet(avatar: Avatar, renderer: str = "auto") -> np.ndarray:
    """Eight sides of a relaxed A-pose, a face, hands, and the texture's colours, as one RGB picture."""
    body = np.zeros((55, 3), np.float32)
    body[16, 2], body[17, 2] = -0.9, 0.9  # arms down
    body[25:40], body[40:] = avatar.rig.hands_mean_l.reshape(15, 3), avatar.rig.hands_mean_r.reshape(15, 3)
    pose, rig = Pose(body), avatar.rig
    spec = avatar.renderers[next(iter(avatar.renderers)) if renderer == "auto" else renderer]
    with Renderer(
        avatar, (CELL, CELL), renderer=renderer, background=(0.92, 0.92, 0.92), background_compile=False
    ) as r:

        def view(**camera) -> np.ndarray:
            return (
                r.render(pose, whole_body_camera(rig, rig.joints[0], (CELL, CELL), **camera))
                .rgba[..., :3]
                .copy()
            )

        images = [view(azimuth=2 * math.pi * k / SIDES) for k in range(SIDES)]
        for azimuth in (0.0, math.pi / 4, math.pi):
            camera = Camera.orbit(
                rig.joints[15] + np.array([0, 0.07, 0], np.float32),
                (CELL, CELL),
                azimuth=azimuth,
                distance=1.4,
                fov_y=0.3,
            )
            images.append(r.render(pose, camera).rgba[..., :3].copy())
    texture = spec.float_texture()
    colour = texture[..., -3:] if spec.model is None else texture[..., :3]
    low, high = (0, 1) if spec.model is None else (colour.min(), colour.max())
    step = max(1, -(-max(texture.shape[:2]) // CELL))
    images.append(
        np.clip((colour[::step, ::step] - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    )
    return contact_sheet(images, columns=4)


def run(args: argparse.Namespace) -> int:
    avatar = common.open_avatar(args.avatar)
    rows = [(printable(key), value) for key, value in table(avatar)]
    width = max(len(k) for k, _ in rows)
    for key, value in rows:
        print(f"{key:<{width}}  {printable(value)}")
    # Named after what the user typed: a name inside the bundle could lead anywhere.
    out = pathlib.Path(args.sheet or f"{pathlib.Path(args.avatar).resolve().stem}.png")
    write_png(out, sheet(avatar))
    print(f"sheet: {out}")
    return 0
