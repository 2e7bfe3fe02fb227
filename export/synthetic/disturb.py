"""What goes wrong between a person and the fit, mask and picture that one photo gives: drawn anew
whenever a photo is used."""

from __future__ import annotations

import cv2
import numpy as np

from dinar_live.runtime.core.skeleton import JOINT_INDEX as J

BODY_JOINTS = 22  # the others are face and hands
CLEAN = 0.35  # share of photos with the true fit and mask
POSE_SIGMA = 0.07  # radians per axis at full strength, about 7 degrees in all
LIMB_SIGMA = 0.1
SHIFT_SIGMA = 0.006  # of the picture's side
SCALE_SIGMA = 0.012
BETAS_SIGMA = 0.25
LIMBS = [J[f"{s}_{n}"] for s in ("left", "right") for n in ("shoulder", "elbow", "hip", "knee")]


def colours(rng: np.random.Generator) -> np.ndarray:
    """A look-up table u8[256,3] for exposure, white balance and contrast: for the photo and the truth
    alike."""
    value = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.3)
    gain = rng.uniform(0.75, 1.15) * rng.uniform(0.87, 1.13, 3)
    return (np.clip(value * gain, 0, 1) * 255 + 0.5).astype(np.uint8)


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A picture u8[H,W,3] to stand before: plain, a gradient, or blurred blotches and edges."""
    h, w = size
    base = rng.uniform(20, 240, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(20, 245))
    out = np.tile(np.float32(base), (h, w, 1))
    kind = rng.random()
    if kind > 0.25:
        row, column = np.mgrid[0:h, 0:w] / max(h, w)
        out += (
            (row * rng.normal(0, 60) + column * rng.normal(0, 60))[..., None] * rng.uniform(0.7, 1.3, 3)
        ).astype(np.float32)
    if kind > 0.5:
        cells = rng.normal(0, 1, (int(rng.integers(3, 24)), int(rng.integers(3, 24)), 3)).astype(np.float32)
        how = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_CUBIC
        out += cv2.resize(cells, (w, h), interpolation=how) * rng.uniform(10, 60)
    return np.clip(out, 0, 255).astype(np.uint8)


def mask(rng: np.random.Generator, alpha: np.ndarray, strength: float) -> np.ndarray:
    """A segmentation's version f32[H,W] of the true alpha f32[H,W]: smoother, wrong by a pixel or two
    here and there."""
    h, w = alpha.shape
    unit = max(h, w) / 256
    blurred = cv2.GaussianBlur(alpha, (0, 0), (0.5 + 1.3 * strength * rng.random()) * unit)
    cells = rng.normal(0, 1, (int(rng.integers(6, 30)),) * 2).astype(np.float32)
    wrong = (
        cv2.resize(cells, (w, h), interpolation=cv2.INTER_CUBIC) * 0.12 * strength
        + rng.normal(0, 0.06) * strength
    )
    return np.clip((blurred - 0.5 + wrong) * rng.uniform(1.5, 4) + 0.5, 0, 1).astype(np.float32)


def picture(rng: np.random.Generator, rgba: np.ndarray, table: np.ndarray, strength: float) -> np.ndarray:
    """The photo u8[H,W,4] (straight alpha) as the export gets it: premultiplied f32[H,W,4] in [0,1]
    with a segmented mask.

    table: of `colours`. strength 0: true mask, no noise.
    """
    alpha = rgba[..., 3:].astype(np.float32) / 255
    scene = (rgba[..., :3] * alpha + background(rng, rgba.shape[:2]) * (1 - alpha)).astype(np.uint8)
    if strength:
        if (sigma := 0.9 * strength * rng.random()) > 0.15:
            scene = cv2.GaussianBlur(scene, (0, 0), sigma)
        grain = rng.normal(0, 9 * strength * rng.random(), scene.shape).astype(np.float32)
        scene = np.clip(scene + grain, 0, 255).astype(np.uint8)
        if rng.random() < 0.6:
            scene = _as_jpeg(scene, int(rng.uniform(40, 95)))
        alpha = mask(rng, alpha[..., 0], strength)[..., None]
    for c in range(3):
        scene[..., c] = table[:, c][scene[..., c]]
    return np.concatenate([scene.astype(np.float32) / 255 * alpha, alpha], 2)


def _as_jpeg(scene: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def fit(
    rng: np.random.Generator,
    pose: np.ndarray,
    matrix: np.ndarray,
    betas: np.ndarray,
    size: int,
    strength: float,
):
    """A fit as an estimator gives it: pose f32[55,3], matrix f64[3,4] (moved and scaled in the
    picture), betas f32[B]."""
    pose, betas = pose.copy(), betas.copy()
    pose[:BODY_JOINTS] += rng.normal(0, POSE_SIGMA * strength, (BODY_JOINTS, 3)) * rng.random()
    pose[LIMBS] += rng.normal(0, LIMB_SIGMA * strength, (len(LIMBS), 3)) * rng.random()
    scale = 1 + rng.normal(0, SCALE_SIGMA * strength)
    move = rng.normal(0, SHIFT_SIGMA * strength, 2) * size + (1 - scale) * size / 2
    change = np.array([[scale, 0, move[0]], [0, scale, move[1]], [0, 0, 1]])
    betas[:10] += rng.normal(0, BETAS_SIGMA * strength, 10) * rng.random()
    return pose.astype(np.float32), change @ matrix, betas.astype(np.float32)


def strength(rng: np.random.Generator) -> float:
    """How badly a photo was fitted and cut out: 0 (truth) to 1."""
    return 0.0 if rng.random() < CLEAN else float(rng.random())
