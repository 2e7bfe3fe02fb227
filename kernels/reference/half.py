"""Gathering and compositing at half resolution in float64."""

import numpy as np

from .compose import compose
from .gather import gather_uv

BLOCK = 16


def to_blocks(pixels):
    """[H,W,C] -> [H/2,W/2,4*C]: the four pixels of a block one after the other."""
    H, W, C = pixels.shape
    return pixels.reshape(H // 2, 2, W // 2, 2, C).transpose(0, 2, 1, 3, 4).reshape(H // 2, W // 2, 4 * C)


def from_blocks(blocks):
    """The reverse of `to_blocks`."""
    h, w, n = blocks.shape
    return blocks.reshape(h, w, 2, 2, n // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, n // 4)


def gather_half(triangle_id, barycentrics, uv, uv_faces, texture, neural):
    """Features [H/2,W/2,16+C]; arguments as in dinar_live.kernels.gather_half."""
    mask = triangle_id >= 0
    seen = gather_uv(triangle_id, barycentrics, uv, uv_faces, texture)[:3].transpose(1, 2, 0)
    looks = gather_uv(triangle_id, barycentrics, uv, uv_faces, neural)[: neural.shape[2]].transpose(1, 2, 0)
    covered = to_blocks(mask[..., None])
    first = covered.argmax(-1)[..., None, None]
    of_block = to_blocks(looks).reshape(*covered.shape, neural.shape[2])
    looks = np.take_along_axis(of_block, first, 2)[:, :, 0] * covered.any(-1, keepdims=True)
    return np.concatenate([to_blocks(np.concatenate([seen, mask[..., None]], -1)), looks], -1)


def compose_half(features, correction, *, hardsegm=False, **options):
    """Bytes before rounding and depth, as reference.compose; arguments as in dinar_live.kernels.compose_half."""
    seen = from_blocks(np.asarray(features[..., :BLOCK], np.float64))
    H, W, _ = seen.shape
    padded = np.pad(seen, ((1, 1), (1, 1), (0, 0)))
    near = [padded[y : y + H, x : x + W] for y in range(3) for x in range(3)]
    mean = np.mean(near, axis=0)
    colour, mask = seen[..., :3], seen[..., 3:]
    beside = (1 - mask) * mean[..., :3] / np.maximum(mean[..., 3:], 1 / 9)
    out = np.concatenate([colour + beside, mean[..., 3:]], -1) + from_blocks(
        np.asarray(correction, np.float64)
    )
    return compose(
        out[..., :3].transpose(2, 0, 1), out[..., 3], mask=mask[..., 0] if hardsegm else None, **options
    )
