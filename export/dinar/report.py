"""The report beside an exported avatar: a sheet of every step, and figures."""

from __future__ import annotations

import json
import os
import pathlib

import cv2
import numpy as np

from dinar_live.export.sheets import captioned, report_paths
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.core.pose import Pose
from dinar_live.runtime.render import Renderer
from dinar_live.runtime.render.framing import whole_body_camera
from dinar_live.runtime.render.sinks import contact_sheet, write_png

from .crop import Sample
from .masks import CLOSED, INPAINT, RGB
from .pipeline import Result

CELL = 256
SIDES = 8


def write_report(out, result: Result) -> tuple[pathlib.Path, pathlib.Path]:
    """Draw the sheet (per photo: crop, fit on it, partial texture; then masks, inpainted and final texture,
    eight sides) and write the figures."""
    sheet_path, json_path = report_paths(out)
    a = result.arrays
    cells = []
    for i, (s, uv) in enumerate(zip(result.samples, result.rasters, strict=True)):
        cells += [(f"photo {i + 1}", _picture((s.real_rgb + 1) / 2)), (f"fit {i + 1}", _overlay(s, uv))]
    sampled = a["partial"][CLOSED : CLOSED + 1] - a["partial"][INPAINT:]
    cells += [
        ("sampled", _picture(a["partial"][RGB])),
        (
            "r sampled, g filled, b copied",
            _picture(np.concatenate([sampled, a["partial"][INPAINT:], a["copy_mask"][None]])),
        ),
        ("viewing angle", _picture(np.repeat(a["normal_angles"], 3, 0))),
        ("inpainted", _picture(a["inpainted"][RGB])),
        ("final texture", _picture(a["final"][RGB])),
    ]
    checks = result.avatar.checks
    assert checks is not None  # `make_avatar` made them
    sides = _sides(result.avatar, Pose(checks.body[0], expression=checks.expression[0]))
    cells += [(f"render {360 * k // SIDES}", image) for k, image in enumerate(sides)]
    images = [captioned(text, image) for text, image in cells]
    write_png(sheet_path, contact_sheet(images, columns=5))
    part = json_path.with_name(f".{json_path.name}.part")
    part.write_text(json.dumps(result.figures, indent=1) + "\n", encoding="utf-8")
    os.replace(part, json_path)
    return sheet_path, json_path


def _picture(image: np.ndarray) -> np.ndarray:
    """f32[3,H,W] in [0,1] as u8[CELL,CELL,3]."""
    rgb = np.ascontiguousarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
    return rgb if rgb.shape[0] == CELL else cv2.resize(rgb, (CELL, CELL), interpolation=cv2.INTER_AREA)


def _overlay(s: Sample, uv: np.ndarray) -> np.ndarray:
    """The fit on the photo: texture coordinates as colours, half transparent."""
    on = (uv > -1.5).all(0)
    colour = np.concatenate([(uv + 1) / 2, np.zeros_like(uv[:1])])
    return _picture(np.where(on, 0.5 * colour, 0) + np.where(on, 0.5, 1.0) * (s.real_rgb + 1) / 2)


def _sides(avatar: Avatar, pose: Pose) -> list[np.ndarray]:
    with Renderer(
        avatar, (CELL, CELL), background=(1, 1, 1), background_compile=False, crop=False
    ) as renderer:
        cameras = (
            whole_body_camera(avatar.rig, avatar.rig.joints[0], (CELL, CELL), azimuth=2 * np.pi * k / SIDES)
            for k in range(SIDES)
        )
        return [renderer.render(pose, c).rgba[..., :3].copy() for c in cameras]
