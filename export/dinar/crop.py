"""The network's square view of a photo: where to crop, Pillow's bicubic resize, and what that does to the
camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.errors import InputError

SIZE = 512  # pixels a side that the networks were trained at (paper 4.1)
FOCAL = 5000.0  # pixels; the published fits know no other
BOX_SCALE = 1.2
SEGM_THRESHOLD = 0.2
BICUBIC_A = -0.5
FIXED_POINT_BITS = 22  # Pillow's resampling of 8-bit pictures: 32 - 8 - 2

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


@dataclass(frozen=True, eq=False)
class Sample:
    """One photo as the networks take it, f32, S = 512.

    input_rgb [3,S,S] in [-1,1], background -1; real_rgb [3,S,S] in [-1,1], background 1; segm [1,S,S] 0 or 1;
    projective [V,3] vertices in the crop's pixels before the division; K f64[3,3] of the crop; box = the
    square crop in the photo.
    """

    input_rgb: np.ndarray
    real_rgb: np.ndarray
    segm: np.ndarray
    projective: np.ndarray
    K: np.ndarray
    box: Box


def make_K(height: int, width: int) -> np.ndarray:
    """Intrinsics that the published fits assume: f64[3,3], focal 5000 pixels, centre (width//2,
    height//2)."""
    return np.array([[FOCAL, 0, width // 2], [0, FOCAL, height // 2], [0, 0, 1]], np.float64)


def square_box(box: Box) -> Box:
    """Stretch the shorter side about its middle, rounded down."""
    l, t, r, b = box
    side = max(r - l, b - t)
    if r - l < side:
        l = (l + r) // 2 - side // 2
        r = l + side
    elif b - t < side:
        t = (t + b) // 2 - side // 2
        b = t + side
    return l, t, r, b


def scale_box(box: Box, factor: float) -> Box:
    """Scale both sides about the middle; lengths and middle are rounded down."""
    l, t, r, b = box
    width, height = int(factor * (r - l)), int(factor * (b - t))
    l, t = (l + r) // 2 - width // 2, (t + b) // 2 - height // 2
    return l, t, l + width, t + height


def vertices_box(projective: np.ndarray) -> Box:
    """Bounds of projective vertices [V,3] in pixels, truncated to integers. Raises InputError for a body
    behind the camera."""
    z = projective[:, 2]
    if not np.isfinite(projective).all() or z.min() <= 0:
        raise InputError("fit: the body is not in front of the camera; do photo and fit belong together?")
    pixels = projective[:, :2] / z[:, None]
    if np.abs(pixels).max() > 1e6:
        raise InputError(
            f"fit: the body reaches to pixel {np.abs(pixels).max():.0f}; expected a body in the picture, away from the camera"
        )
    lo, hi = pixels.min(0).astype(int), pixels.max(0).astype(int)
    return int(lo[0]), int(lo[1]), int(hi[0]), int(hi[1])


def mask_box(mask: np.ndarray) -> Box:
    """First and last column and row of the non-zero pixels of mask [H,W], inclusive. Raises InputError if
    there are none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise InputError("mask: is empty, expected the person in white")
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def crop_box(projective: np.ndarray, mask: np.ndarray) -> Box:
    """The crop that the networks see: a square as wide as the union of the body's and the mask's enlarged
    bounds, at its left and top.

    projective [V,3]; mask [H,W], not zero = person. Raises InputError.
    """
    height, width = mask.shape
    v = scale_box(square_box(vertices_box(projective)), BOX_SCALE)
    s = scale_box(mask_box(mask), BOX_SCALE)
    s = max(s[0], 0), max(s[1], 0), min(s[2], width), min(s[3], height)
    l, t, r = min(v[0], s[0]), min(v[1], s[1]), max(v[2], s[2])
    side = r - l
    if side < 8 or side > 4 * max(height, width):
        raise InputError(
            f"fit: body and mask together span {side} pixels of a photo of {width}x{height}; "
            "do photo, mask and fit belong together?"
        )
    return l, t, r, t + side


def crop(image: np.ndarray, box: Box) -> np.ndarray:
    """The pixels [H,W,...] in `box`, zero outside the image."""
    l, t, r, b = box
    out = np.zeros((b - t, r - l, *image.shape[2:]), image.dtype)
    height, width = image.shape[:2]
    x0, x1, y0, y1 = max(l, 0), min(r, width), max(t, 0), min(b, height)
    if x0 < x1 and y0 < y1:
        out[y0 - t : y1 - t, x0 - l : x1 - l] = image[y0:y1, x0:x1]
    return out


def _bicubic_taps(size_in: int, size_out: int) -> np.ndarray:
    """Fixed-point weights f64[size_out,size_in] (whole numbers) of an antialiased bicubic resize."""
    scale = size_in / size_out
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    taps = np.zeros((size_out, size_in))
    for i in range(size_out):
        centre = (i + 0.5) * scale
        lo, hi = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), size_in)
        x = np.abs((np.arange(lo, hi) - centre + 0.5) / stretch)
        a = BICUBIC_A
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        w = np.where(x < 1, near, np.where(x < 2, far, 0.0))
        w = w / _running_sum(w) * (1 << FIXED_POINT_BITS)
        taps[i, lo:hi] = np.trunc(w + np.where(w < 0, -0.5, 0.5))
    return taps


def _running_sum(values: np.ndarray) -> float:
    # one after the other: numpy's pairwise sum may differ in the last bit, which can move a fixed-point
    # weight
    return float(np.add.accumulate(values)[-1])


def resize_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize u8[H,W] or u8[H,W,C] to `size` (height, width) exactly as Pillow's BICUBIC does (13.0 takes rows first
    where that is less work: when a picture gets lower and wider).

    Columns first, then rows, each pass in 22-bit fixed point and rounded to 8 bits; widened when shrinking.
    All sums are whole numbers far below 2^53, so the float64 products are exact.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image has dtype {image.dtype}; expected uint8")
    flat = image.reshape(*image.shape[:2], -1)
    height, width = size
    half = float(1 << (FIXED_POINT_BITS - 1))
    planes = []
    for c in range(flat.shape[2]):
        plane = flat[..., c].astype(np.float64)
        if width != flat.shape[1]:
            plane = _to_8_bits(plane @ _bicubic_taps(flat.shape[1], width).T, half)
        if height != flat.shape[0]:
            plane = _to_8_bits(_bicubic_taps(flat.shape[0], height) @ plane, half)
        planes.append(plane.astype(np.uint8))
    return np.stack(planes, 2).reshape(height, width, *image.shape[2:])


def _to_8_bits(sums: np.ndarray, half: float) -> np.ndarray:
    return np.clip(np.floor((sums + half) / (1 << FIXED_POINT_BITS)), 0, 255)


def make_sample(
    rgb: np.ndarray, mask: np.ndarray, projective: np.ndarray, K: np.ndarray, size: int = SIZE
) -> Sample:
    """Crop and resize one photo for the networks (the published loader).

    rgb u8[H,W,3]; mask u8[H,W], white = person; projective f32[V,3] = K @ x_camera in the photo's pixels; K
    f64[3,3]. Raises InputError when photo, mask and fit cannot belong together.
    """
    if (
        rgb.shape[:2] != mask.shape
        or rgb.ndim != 3
        or rgb.shape[2] != 3
        or rgb.dtype != np.uint8
        or mask.dtype != np.uint8
    ):
        raise InputError(
            f"photo and mask: got {rgb.dtype}{list(rgb.shape)} and {mask.dtype}{list(mask.shape)}, "
            "expected uint8 [H,W,3] and uint8 [H,W]"
        )
    box = crop_box(projective, mask)
    side = box[2] - box[0]
    small_rgb = resize_bicubic(crop(rgb, box), (size, size)).astype(np.float32) / np.float32(255)
    small_mask = resize_bicubic(crop(mask, box), (size, size)).astype(np.float32) / np.float32(255)
    segm = (small_mask > SEGM_THRESHOLD).astype(np.float32)[None]
    if not segm.any():
        raise InputError("mask: nothing of the person is left in the crop; do mask and fit belong together?")
    colour = small_rgb.transpose(2, 0, 1) * segm
    s = size / side
    shift = np.array([[s, 0, -box[0] * s], [0, s, -box[1] * s], [0, 0, 1]], np.float64)
    moved = projective.astype(np.float64) @ shift.T
    return Sample(
        input_rgb=2 * colour - 1,
        real_rgb=2 * (colour + (1 - segm)) - 1,
        segm=segm,
        projective=np.ascontiguousarray(moved, np.float32),
        K=shift @ np.asarray(K, np.float64),
        box=box,
    )
