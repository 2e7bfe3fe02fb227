"""The networks of the renderers `light` and `lite`: their layers, their cost, and their ONNX file from weights.
No torch; `network.py` has the same in torch.

A U-Net at half resolution that corrects what the mesh shows: features [N, 16 + C, H/2, W/2] -> correction
[N, 16, H/2, W/2]; N and the sides symbolic, H and W multiples of STRIDE. The first 16 channels of both are the
four pixels of a 2x2 block, row by row, each with four: red, green, blue and mask of what the mesh shows, and
what is added to colour and alpha. The other C of the features are the neural texture, sampled once a block. See
kernels/gather_half.py and kernels/compose_half.py, which make the one and take the other:

    1x1 -> 3x3 -> 2x2 conv /2 -> 3x3 -> 2x2 conv /2 -> 3x3, 3x3 -> up, + skip, 3x3 -> up, + skip, 3x3 -> head
    alpha = clip(mean of the mask over 3x3 + correction)
    rgb = clip(colour, off the mask the mean of the seen ones of 3x3, + correction)

So the network starts from the textured mesh with softened outlines and learns only what that lacks: hair beyond
the mesh, colours that depend on neighbours.

Background stays exactly zero: the features are zero there and convolutions have no bias (on the body the mask
stands in for it). So zero padding at the border of a crop is what the full frame has there: a crop whose border
lies `reach()` pixels or more from the mask, at multiples of STRIDE, gives the same pixels, and alpha is 0
everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .layer import Layer

STRIDE = 8
BLOCK = 16
"""Channels of the four pixels of a block: four each."""
MAX_WIDTH = 256
MAX_NEURAL = 48


@dataclass(frozen=True)
class Rung:
    """How large a network is. name: of its renderer; width: channels at half resolution; neural: channels of the
    texture beside the colour; head: side of the last convolution's kernel, 1 or 3. Raises ValueError."""

    name: str
    width: int
    neural: int
    head: int

    def __post_init__(self):
        if not (16 <= self.width <= MAX_WIDTH and self.width % 16 == 0):  # OpenVINO works in blocks of 16
            raise ValueError(f"width is {self.width}; expected a multiple of 16 in 16..{MAX_WIDTH}")
        if not 0 <= self.neural <= MAX_NEURAL:
            raise ValueError(f"neural is {self.neural}; expected 0..{MAX_NEURAL} channels")
        if self.head not in (1, 3):
            raise ValueError(f"head is {self.head}; expected 1 or 3")


LADDER = (Rung("light", 32, 16, 3), Rung("lite", 16, 8, 1))
"""The networks that `dinar fit` makes, best first; below them is `texture`, which has none."""

# name, channels in and out (numbers are multiples of the width), kernel, stride, divisor
_LAYERS = (
    ("stem", "features", 1, 1, 1, 2),
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
    ("head", 1, "block", "head", 1, 2),
)


def layers(rung: Rung) -> Iterator[Layer]:
    """The convolutions in order."""
    count = {"features": BLOCK + rung.neural, "block": BLOCK}
    for name, n_in, n_out, kernel, *rest in _LAYERS:
        n_in, n_out = (count[n] if isinstance(n, str) else int(n * rung.width) for n in (n_in, n_out))
        side = rung.head if isinstance(kernel, str) else kernel
        yield Layer(name, n_in, n_out, side, *rest)


def gflop(rung: Rung, size: tuple[int, int] = (512, 512)) -> float:
    """Arithmetic of one frame of (height, width) pixels in GFLOP, a multiply-add counted as two."""
    pixels = size[0] * size[1]
    return 2e-9 * sum(
        x.n_in * x.n_out * x.kernel**2 * pixels / (x.divisor * x.stride) ** 2 for x in layers(rung)
    )


def reach(rung: Rung = LADDER[0]) -> int:
    """How many pixels away from the mask the output can still be non-zero, at most (the margin at which a
    crop is exact)."""
    farthest = 1  # the means over 3x3
    for pixel in range(STRIDE):
        low = high = (
            pixel // 2
        )  # the interval that depends on this pixel, in samples of the present resolution
        for layer in layers(rung):
            if layer.name.startswith("up"):
                low, high = 2 * low, 2 * high + 1
                continue
            before = layer.padding[0]
            low, high = -((layer.kernel - 1 - before - low) // layer.stride), (high + before) // layer.stride
        low, high = 2 * low, 2 * high + 1  # blocks to pixels
        farthest = max(farthest, pixel - low, high - pixel)
    return farthest


def random_weights(rung: Rung, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights f32[out,in,k,k] by layer, of a scale that keeps activations of order 1 (arXiv 1502.01852)."""
    rng = np.random.default_rng(seed)
    weights = {}
    for layer in layers(rung):
        gain = 1 if layer.name in ("up4", "up2", "head") else 2  # those without a ReLU
        scale = np.float32(np.sqrt(gain / (layer.n_in * layer.kernel**2)))
        shape = layer.n_out, layer.n_in, layer.kernel, layer.kernel
        weights[layer.name] = rng.standard_normal(shape, np.float32) * scale
    return weights


def rung_of(weights: Mapping[str, np.ndarray], name: str = "light") -> Rung:
    """How large a network with these weights is. Raises ValueError."""
    stem, head = weights["stem"], weights["head"]
    return Rung(name, stem.shape[0], stem.shape[1] - BLOCK, head.shape[-1])


def read_onnx(model: bytes) -> dict[str, np.ndarray]:
    """The weights that `build_onnx` made the file of. ValueError for another file."""
    import onnx
    from onnx import numpy_helper

    held = {t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(model).graph.initializer}
    names = [name for name, *_ in _LAYERS]
    if missing := [n for n in names if f"{n}.weight" not in held]:
        raise ValueError(f"model: no weights of {missing[0]}; expected a network of this module")
    return {n: held[f"{n}.weight"] for n in names}


def build_onnx(weights: Mapping[str, np.ndarray]) -> bytes:
    """ONNX file (opset 17, float32, self-contained) with these weights (see `random_weights`). ValueError for
    wrong shapes."""
    from .half_onnx import half_onnx  # needs the onnx package, which the other functions here do not

    table = {layer.name: layer for layer in layers(rung_of(weights))}
    for name, layer in table.items():
        expected = (layer.n_out, layer.n_in, layer.kernel, layer.kernel)
        if name not in weights or weights[name].shape != expected:
            raise ValueError(
                f"weights of {name}: got {weights[name].shape if name in weights else 'none'}, expected {expected}"
            )
    return half_onnx(table, weights)
