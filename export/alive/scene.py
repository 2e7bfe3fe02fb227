"""The photo without the person."""

from __future__ import annotations

import pathlib

import cv2
import numpy as np

from dinar_live.engines import EngineError, create_engine
from dinar_live.runtime.core.errors import InputError

GROW = 0.018  # of the person's height: hair and borders that masks miss
GROW_DOWN = 0.045  # the same towards the ground, for shoes and their shadow
COARSE = 384  # pixels of the longer side at which large holes are filled
RADIUS = 5  # pixels there
SIDE_PIXELS = 5  # beside the hole, whose mean is a row's colour there
ALIKE = 30.0  # steps of 0..255 by which both sides of a hole may differ, to be joined along the row
LAMA_SIDE = 512  # pixels a side that LaMa's ONNX files take
MAX_LAMA_BYTES = 1 << 30


def grown(mask: np.ndarray) -> np.ndarray:
    """bool[H,W]: mask f32[H,W] in [0,1] grown by a share of the person's height, downwards more."""
    person = mask > 0.1
    rows = np.flatnonzero(person.any(1))
    height = rows[-1] - rows[0] + 1
    radius, down = max(2, round(GROW * height)), max(2, round(GROW_DOWN * height))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    out = cv2.dilate(person.astype(np.uint8), disc)
    feet = person.copy()
    feet[: rows[-1] + 1 - round(0.12 * height)] = False
    wide = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * radius + 1, 2 * down + 1))
    return np.maximum(out, cv2.dilate(feet.astype(np.uint8), wide)) > 0


def empty_scene(rgb: np.ndarray, mask: np.ndarray, lama=None) -> np.ndarray:
    """u8[H,W,3]: the photo with the person painted out. mask f32[H,W] in [0,1].

    lama: path of a LaMa ONNX file (`image` f32[1,3,512,512] in [0,1], `mask` f32[1,1,512,512] -> one picture
    in 0..1 or 0..255), else OpenCV's inpainting. Raises InputError where nothing of the scene is left or the
    file does not fit.
    """
    hole = grown(mask)
    if hole.all():
        raise InputError("mask: the person and what is near them fill the whole photo; no scene is left")
    filled = _by_opencv(rgb, hole) if lama is None else _by_lama(rgb, hole, pathlib.Path(lama))
    soft = cv2.GaussianBlur(cv2.dilate(hole.astype(np.float32), np.ones((3, 3))), (0, 0), 1.5)
    soft = np.maximum(soft, hole)[..., None]  # the hole itself shows nothing of the person
    return (soft * filled + (1 - soft) * rgb + 0.5).astype(np.uint8)


def _by_opencv(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """f32[H,W,3]: the hole filled at a coarse size, then enlarged, with the grain of what is around it."""
    scale = min(1.0, COARSE / max(hole.shape))
    size = tuple(max(8, round(s * scale)) for s in hole.shape[::-1])
    known = (~hole).astype(np.float32)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb * known[..., None], size, interpolation=cv2.INTER_AREA)
    small = small / np.maximum(weight, 1e-3)[..., None]
    missing = (weight < 0.05).astype(np.uint8)
    if missing.any():
        picture = np.clip(small + 0.5, 0, 255).astype(np.uint8)
        small = cv2.inpaint(picture, missing, RADIUS, cv2.INPAINT_TELEA).astype(np.float32)
    deep = cv2.distanceTransform(
        missing, cv2.DIST_L2, 3
    )  # streaks of the fill grow with the way to the border
    soft = cv2.GaussianBlur(small, (0, 0), 4)
    blend = np.clip(deep / 12, 0, 1)[..., None]
    small = blend * soft + (1 - blend) * small
    large = cv2.resize(small, hole.shape[::-1], interpolation=cv2.INTER_CUBIC)
    across, trust = _by_rows(rgb, hole)
    return np.clip(trust * across + (1 - trust) * large + _grain(rgb, hole), 0, 255)


def _by_rows(rgb: np.ndarray, hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hole filled along rows from both of its sides, f32[H,W,3], and how far to trust that, f32[H,W,1]: as
    far as the sides are alike. Skirting boards, kerbs and horizons go on behind who stands before them."""
    out, trust = rgb.astype(np.float32), np.zeros(hole.shape, np.float32)
    width = hole.shape[1]
    for row in np.flatnonzero(hole.any(1)):
        change = np.flatnonzero(np.diff(np.pad(hole[row].astype(np.int8), 1)))
        for a, b in change.reshape(-1, 2):  # the hole from column a up to b
            if a < SIDE_PIXELS or b > width - SIDE_PIXELS:
                continue
            left, right = out[row, a - SIDE_PIXELS : a].mean(0), out[row, b : b + SIDE_PIXELS].mean(0)
            t = ((np.arange(a, b) - a + 0.5) / (b - a))[:, None]
            out[row, a:b] = (1 - t) * left + t * right
            trust[row, a:b] = np.exp(-((np.abs(left - right).max() / ALIKE) ** 2))
    return out, cv2.GaussianBlur(trust, (0, 0), 3)[..., None] * hole[..., None]


def _grain(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Noise f32[H,W,3] as strong as the fine detail in the flatter half of the ring around the hole."""
    ring = (cv2.dilate(hole.astype(np.uint8), np.ones((41, 41))) > 0) & ~hole
    detail = np.abs(rgb.astype(np.float32) - cv2.GaussianBlur(rgb, (0, 0), 1.2)).mean(2)
    strength = float(np.median(detail[ring])) if ring.any() else 0.0
    noise = np.random.default_rng(0).normal(0, 1.25 * min(strength, 6.0), hole.shape).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 0.7)[..., None]


def _by_lama(rgb: np.ndarray, hole: np.ndarray, path: pathlib.Path) -> np.ndarray:
    """f32[H,W,3] by a user's LaMa in a square around the hole."""
    if not path.is_file() or not 0 < path.stat().st_size <= MAX_LAMA_BYTES:
        raise InputError(f"--lama {path}: no such file, expected LaMa as ONNX of 1..{MAX_LAMA_BYTES} bytes")
    side = max(hole.shape)
    pad = [(0, side - s) for s in hole.shape]
    square = cv2.copyMakeBorder(rgb, 0, pad[0][1], 0, pad[1][1], cv2.BORDER_REFLECT_101)
    small = cv2.resize(square, (LAMA_SIDE, LAMA_SIDE), interpolation=cv2.INTER_AREA)
    missing = cv2.resize(
        np.pad(hole, pad).astype(np.uint8), (LAMA_SIDE, LAMA_SIDE), interpolation=cv2.INTER_NEAREST
    )
    try:
        session = create_engine(str(path), name="openvino", precision="f32").compile(
            (1, LAMA_SIDE, LAMA_SIDE)
        )
        session.inputs["image"][...] = (small.astype(np.float32) / 255).transpose(2, 0, 1)[None]
        session.inputs["mask"][...] = missing[None, None]
        session.enqueue()
        session.synchronize()
        out = np.array(next(iter(session.outputs.values())), np.float32)
    except (EngineError, ValueError, KeyError) as e:
        raise InputError(
            f"--lama {path}: cannot be used ({e}); expected inputs image [1,3,512,512] and mask [1,1,512,512]"
        ) from e
    if out.shape != (1, 3, LAMA_SIDE, LAMA_SIDE) or not np.isfinite(out).all():
        raise InputError(
            f"--lama {path}: its output has shape {list(out.shape)}, expected [1,3,512,512], finite"
        )
    picture = out[0].transpose(1, 2, 0) * (255 if out.max() <= 2 else 1)
    large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(large[: hole.shape[0], : hole.shape[1]], 0, 255)
