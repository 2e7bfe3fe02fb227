"""The light renderer network used for measuring, with random weights: python benchmarks/light_network.py -o light.onnx

A half-resolution U-Net, features [N, C+3, H, W] -> rgb [N, 3, H, W], alpha [N, 1, H, W]; N, H, W symbolic, H and W multiples of STRIDE.

    4x4 conv /2 -> 3x3 -> 2x2 conv /2 -> 3x3 -> 2x2 conv /2 -> 3x3, 3x3 -> up, + skip, 3x3 -> up, + skip, 3x3 -> 3x3 to 16 -> depth-to-space

Background stays exactly zero: the stem ignores u and v (a texture made for one avatar knows where it is), convolutions have no bias (on the
body the mask channel stands in for it), alpha is clamped instead of passed through a sigmoid. So zero padding at the border of a crop is
what the full frame has there: a crop whose border lies `reach()` pixels or more from the mask, at multiples of STRIDE, gives the same
pixels, and alpha is 0 everywhere else.
"""
import argparse
import pathlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

STRIDE = 8
# name, channels in and out (numbers are multiples of the width), kernel, stride, the frame's resolution divided by its input's
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


def _layers(channels: int, width: int):
    count = {"C": channels + 3, "rgba": 16}
    for name, n_in, n_out, kernel, stride, divisor in _LAYERS:
        yield name, *(count[n] if isinstance(n, str) else int(n * width) for n in (n_in, n_out)), kernel, stride, divisor


def gflop(channels: int = 16, width: int = 32, size: tuple[int, int] = (512, 512)) -> float:
    """Arithmetic of one frame of (height, width) pixels in GFLOP, a multiply-add counted as two; `channels` are the texture's."""
    pixels = size[0] * size[1]
    layers = _layers(channels, width)
    return 2e-9 * sum(n_in * n_out * k * k * pixels / (divisor * stride) ** 2 for _, n_in, n_out, k, stride, divisor in layers)


def reach() -> int:
    """How many pixels away from the mask the output can still be non-zero, at most (the margin at which a crop is exact)."""
    farthest = 0
    for pixel in range(STRIDE):
        low = high = pixel   # the interval that depends on this pixel, in samples of the present resolution
        for name, _, _, kernel, stride, _ in _layers(1, 32):
            if name.startswith("up"):
                low, high = 2 * low, 2 * high + 1
                continue
            before = (kernel - 1) // 2   # padding
            low, high = -((kernel - 1 - before - low) // stride), (high + before) // stride
        low, high = 2 * low, 2 * high + 1   # depth to space
        farthest = max(farthest, pixel - low, high - pixel)
    return farthest


def build(channels: int = 16, width: int = 32, seed: int = 0) -> bytes:
    """ONNX file (opset 17, float32, self-contained) with random weights of a scale that keeps activations of order 1 (arXiv 1502.01852).

    channels: of the texture. width: channels at half resolution, a multiple of 16 (OpenVINO works in blocks of 16); deeper levels have 1.5
    and 2 times as many.
    """
    if width < 16 or width % 16:
        raise ValueError(f"width is {width}; expected a multiple of 16")
    rng = np.random.default_rng(seed)
    nodes, weights = [], []

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    layers = {name: rest for name, *rest in _layers(channels, width)}

    def conv(name: str, x: str, *, relu: bool = True, bias: np.ndarray | None = None) -> str:
        n_in, n_out, k, stride, _ = layers[name]
        w = rng.standard_normal((n_out, n_in, k, k), np.float32) * np.float32(np.sqrt((2 if relu else 1) / (n_in * k * k)))
        if name == "stem":
            w[:, channels:channels + 2] = 0   # u and v: -10 in the background
        inputs = [x, constant(f"{name}.weight", w)]
        if bias is not None:
            inputs.append(constant(f"{name}.bias", bias))
        before, after = (k - 1) // 2, k - stride - (k - 1) // 2
        y = node("Conv", inputs, f"{name}.conv", kernel_shape=[k, k], strides=[stride, stride], pads=[before, before, after, after])
        return node("Relu", [y], name) if relu else y

    def up(name: str, x: str, skip: str) -> str:
        x = node("Resize", [conv(name, x, relu=False), "", "scale2"], f"{name}.resize", mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        return node("Relu", [node("Add", [x, skip], f"{name}.add")], name)

    constant("scale2", np.array([1, 1, 2, 2], np.float32))
    skip2 = conv("encode2", conv("stem", "features"))
    skip4 = conv("encode4", conv("down4", skip2))
    x = conv("bottom_b", conv("bottom_a", conv("down8", skip4)))
    x = conv("decode4", up("up4", x, skip4))
    x = conv("decode2", up("up2", x, skip2))
    # the bias of rgb is free: where alpha is 0 nobody sees it
    bias = np.concatenate([rng.standard_normal(12, np.float32) * np.float32(0.1), np.zeros(4, np.float32)])
    head = conv("head", x, relu=False, bias=bias)
    # split at half resolution, where it is small, rather than the finished picture
    nodes.append(helper.make_node("Split", [head, constant("parts", np.array([12, 4]))], ["rgb.half", "alpha.half"], axis=1, name="split"))
    node("DepthToSpace", [node("Sigmoid", ["rgb.half"], "rgb.sigmoid")], "rgb", blocksize=2, mode="CRD")
    clamp = ["alpha.half", constant("zero", np.float32(0)), constant("one", np.float32(1))]
    node("DepthToSpace", [node("Clip", clamp, "alpha.clip")], "alpha", blocksize=2, mode="CRD")

    def info(name: str, count: int):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, "H", "W"])

    graph = helper.make_graph(nodes, "light_renderer", [info("features", channels + 3)], [info("rgb", 3), info("alpha", 1)], weights)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="dinar-live").SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--channels", type=int, default=16, help="channels of the texture")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output.write_bytes(build(args.channels, args.width, args.seed))
    print(f"{args.output}: {gflop(args.channels, args.width):.2f} GFLOP at 512x512, a crop is exact from a margin of {reach()} px")


if __name__ == "__main__":
    main()
