"""How far apart two pictures are: PSNR, SSIM, MS-SSIM, FLIP, alpha IoU, flicker. No torch."""

from .flip import flip_map
from .pictures import Scores, Truth, on_white, psnr
from .structure import ms_ssim, ssim

__all__ = ["Scores", "Truth", "flip_map", "ms_ssim", "on_white", "psnr", "ssim"]
