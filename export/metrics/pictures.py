"""The scores of one rendered picture against the true one, by the definitions of docs/evaluate.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .flip import flip_map
from .structure import MIN_SIDE, ms_ssim, ssim

BORDER = 10  # pixels around the person's box that count
OPAQUE = 128  # alpha of 8 bit from which a pixel is the person: 0.5
MAX_PSNR = 99.0  # dB; what equal pictures are reported as


class Scores(NamedTuple):
    """psnr dB; ssim, ms_ssim and alpha_iou, 1 = equal; flip, 0 = no visible difference."""

    psnr: float
    ssim: float
    ms_ssim: float
    flip: float
    alpha_iou: float


def on_white(rgba: np.ndarray, premultiplied: bool) -> np.ndarray:
    """u8[H,W,4] composited on white: f32[H,W,3] in [0,1]."""
    colour, alpha = rgba[..., :3].astype(np.float32), rgba[..., 3:].astype(np.float32)
    if not premultiplied:
        colour = colour * (alpha / 255)
    return (colour + (255 - alpha)) / 255


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0,1], over all pixels and channels; at most 99."""
    mse = float(np.mean(np.square(a.astype(np.float64) - b)))
    return MAX_PSNR if mse == 0 else min(MAX_PSNR, float(-10 * np.log10(mse)))


def person_box(alpha: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the pixels with alpha u8[H,W] >= 0.5, with 10 more on each side inside the picture;
    None without such pixels."""
    person = alpha >= OPAQUE
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    if not len(rows):
        return None
    height, width = alpha.shape
    return _with_border(rows, height), _with_border(columns, width)


def _with_border(indices: np.ndarray, size: int) -> slice:
    return slice(max(0, int(indices[0]) - BORDER), min(size, int(indices[-1]) + 1 + BORDER))


def _padded(x: np.ndarray) -> np.ndarray:
    """Centred on white where a side is under 176 pixels, which five scales of SSIM need."""
    missing = [max(0, MIN_SIDE - n) for n in x.shape[:2]]
    return np.pad(x, [*((m // 2, m - m // 2) for m in missing), (0, 0)], constant_values=1.0)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores, and what they come from: truth and picture f32[h,w,3] on white in the person's box, flip
    f32[h,w]."""

    scores: Scores
    truth: np.ndarray
    picture: np.ndarray
    flip: np.ndarray


class Truth:
    """A true picture u8[H,W,4], to compare renders of it with. Raises ValueError where it shows nobody (no
    alpha of 0.5 or more).

    picture: the person's box of it on white. person bool[H,W]: where it shows them.
    """

    def __init__(self, rgba: np.ndarray, premultiplied: bool = False):
        self._box = person_box(rgba[..., 3])
        if self._box is None:
            raise ValueError("the picture shows nobody: alpha is below 0.5 everywhere")
        self.person = rgba[..., 3] >= OPAQUE
        self.picture = self.crop(rgba, premultiplied)

    def crop(self, rgba: np.ndarray, premultiplied: bool) -> np.ndarray:
        """The person's box of a picture u8[H,W,4] of the same size, on white."""
        return _padded(on_white(rgba[self._box], premultiplied))

    def compare(self, rgba: np.ndarray, premultiplied: bool = True) -> Comparison:
        """Score a render u8[H,W,4] of the same size. PSNR, SSIM, MS-SSIM and FLIP in the person's box, IoU
        over the whole picture."""
        if rgba.shape != (*self.person.shape, 4):
            raise ValueError(
                f"picture: got shape {list(rgba.shape)}, expected {[*self.person.shape, 4]} as in the true one"
            )
        a, b = self.picture, self.crop(rgba, premultiplied)
        person = rgba[..., 3] >= OPAQUE
        iou = np.count_nonzero(person & self.person) / np.count_nonzero(person | self.person)
        flip = flip_map(a, b)
        return Comparison(
            Scores(psnr(a, b), ssim(a, b), ms_ssim(a, b), float(flip.mean(dtype=np.float64)), iou), a, b, flip
        )
