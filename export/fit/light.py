"""The light renderer network: its layers, its cost, and its ONNX file from weights. No torch; `network.py`
has the same in torch.

A half-resolution U-Net that corrects what the mesh shows: features [N, C+3, H, W] -> rgb [N, 3, H, W], alpha
[N, 1, H, W]; N, H, W symbolic, H and W multiples of STRIDE.

    4x4 conv /2 -> 3x3 -> 2x2 conv /2 -> 3x3 -> 2x2 conv /2 -> 3x3, 3x3 -> up, + skip, 3x3 -> up, + skip, 3x3
    -> 3x3 to 16 -> depth-to-space alpha = clip(mean of the mask over 3x3 + correction)
    rgb = clip(the texture's first three channels, off the mask their mean over the seen ones of 3x3, +
    correction)

The first three channels of the texture are the colour itself and pass by at full resolution, so the network
starts from the textured mesh with softened outlines and only learns what that lacks: hair beyond the mesh,
colours that depend on neighbours.

Background stays exactly zero: the stem ignores u and v (a texture made for one avatar knows where it is) and
convolutions have no bias (on the body the mask channel stands in for it). So zero padding at the border of a
crop is what the full frame has there: a crop whose border lies `reach()` pixels or more from the mask, at
    multiples of STRIDE, gives the same pixels, and alpha is 0 everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .layer import Layer

STRIDE = 8
WIDTH = 32
MAX_WIDTH = 256


# name, channels in and out (numbers are multiples of the width), kernel, stride, divisor
_LAYERS = (
    ("stem", "C", 1, 4, 2, 1),
    ("encode2", 1, 1, 3, 1, 2),
    ("down4", 1, 1.5, 2, 2, 2),
    ("encode4", 1.5, 1.5, 3, 1, 4),
    ("down8", 1.5, 2, 2, 2, 4),
    ("bottom_a", 2, 2, 3, 1, 8),
    ("bottom_b", 2, 2, 3, 1, 8),
    ("up4", 2, 1.5, 1, 1, 8),
    ("decode4", 1.5, 1.5, 3, 1, 4),
    ("up2", 1.5, 1, 1, 1, 4),
    ("decode2", 1, 1, 3, 1, 2),
    ("head", 1, "rgba", 3, 1, 2),
)


def layers(channels: int, width: int = WIDTH) -> Iterator[Layer]:
    """The convolutions in order; `channels` are the texture's, `width` the channels at half resolution."""
    if not (16 <= width <= MAX_WIDTH and width % 16 == 0):  # OpenVINO works in blocks of 16
        raise ValueError(f"width is {width}; expected a multiple of 16 in 16..{MAX_WIDTH}")
    if channels < 3:
        raise ValueError(f"channels is {channels}; expected at least 3, the first three are the colour")
    count = {"C": channels + 3, "rgba": 16}
    for name, n_in, n_out, *rest in _LAYERS:
        yield Layer(name, *(count[n] if isinstance(n, str) else int(n * width) for n in (n_in, n_out)), *rest)


def gflop(channels: int = 16, width: int = WIDTH, size: tuple[int, int] = (512, 512)) -> float:
    """Arithmetic of one frame of (height, width) pixels in GFLOP, a multiply-add counted as two."""
    pixels = size[0] * size[1]
    means = 4 * 9 * pixels  # colour and mask, 3x3
    return 2e-9 * (
        means
        + sum(
            x.n_in * x.n_out * x.kernel**2 * pixels / (x.divisor * x.stride) ** 2
            for x in layers(channels, width)
        )
    )


def reach() -> int:
    """How many pixels away from the mask the output can still be non-zero, at most (the margin at which a
    crop is exact)."""
    farthest = 0
    for pixel in range(STRIDE):
        low = high = pixel  # the interval that depends on this pixel, in samples of the present resolution
        for layer in layers(3):
            if layer.name.startswith("up"):
                low, high = 2 * low, 2 * high + 1
                continue
            before = layer.padding[0]
            low, high = -((layer.kernel - 1 - before - low) // layer.stride), (high + before) // layer.stride
        low, high = 2 * low, 2 * high + 1  # depth to space
        farthest = max(farthest, pixel - low, high - pixel)
    return farthest


def random_weights(channels: int = 16, width: int = WIDTH, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights f32[out,in,k,k] by layer, of a scale that keeps activations of order 1 (arXiv 1502.01852)."""
    rng = np.random.default_rng(seed)
    weights = {}
    for layer in layers(channels, width):
        gain = 1 if layer.name in ("up4", "up2", "head") else 2  # those without a ReLU
        scale = np.float32(np.sqrt(gain / (layer.n_in * layer.kernel**2)))
        weights[layer.name] = (
            rng.standard_normal((layer.n_out, layer.n_in, layer.kernel, layer.kernel), np.float32) * scale
        )
    weights["stem"][:, channels : channels + 2] = 0  # u and v: -10 in the background
    return weights


def build_onnx(weights: Mapping[str, np.ndarray]) -> bytes:
    """ONNX file (opset 17, float32, self-contained) with these weights (see `random_weights`). ValueError for
    wrong shapes."""
    from .light_onnx import light_onnx  # needs the onnx package, which the other functions here do not

    channels, width = weights["stem"].shape[1] - 3, weights["stem"].shape[0]
    table = {layer.name: layer for layer in layers(channels, width)}
    for name, layer in table.items():
        expected = (layer.n_out, layer.n_in, layer.kernel, layer.kernel)
        if name not in weights or weights[name].shape != expected:
            raise ValueError(
                f"weights of {name}: got {weights[name].shape if name in weights else 'none'}, expected {expected}"
            )
    if np.any(weights["stem"][:, channels : channels + 2]):
        raise ValueError(
            "weights of stem: u and v have weights that are not zero, which would colour the background"
        )
    return light_onnx(table, weights, channels)
