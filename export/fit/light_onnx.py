"""The ONNX file of the light renderer network, operator by operator (`light.build_onnx` checks the weights)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dinar_live.export.onnx_graph import Graph

if TYPE_CHECKING:
    from .layer import Layer

OPSET = 17


class _Light(Graph):
    """With the layers that this network is made of."""

    def __init__(self, layers: Mapping[str, Layer], weights: Mapping[str, np.ndarray]):
        super().__init__()
        self._layers = layers
        self._values = weights
        self.constant("scale2", np.array([1, 1, 2, 2], np.float32))
        self.constant("axis", np.array([1]))

    def conv(self, name: str, x: str, *, relu: bool = True) -> str:
        layer = self._layers[name]
        k, s, (before, after) = layer.kernel, layer.stride, layer.padding
        weight = self.constant(f"{name}.weight", np.asarray(self._values[name], np.float32))
        pads = [before, before, after, after]
        y = self.node("Conv", [x, weight], f"{name}.conv", kernel_shape=[k, k], strides=[s, s], pads=pads)
        return self.node("Relu", [y], name) if relu else y

    def up(self, name: str, x: str, skip: str) -> str:
        """To twice the size, added to what was kept from the way down."""
        x = self.node(
            "Resize",
            [self.conv(name, x, relu=False), "", "scale2"],
            f"{name}.resize",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return self.node("Relu", [self.node("Add", [x, skip], f"{name}.add")], name)

    def channel_slice(self, name: str, start: int, stop: int) -> str:
        """Channels start..stop of the features."""
        ends = [
            self.constant(f"{name}.from", np.array([start])),
            self.constant(f"{name}.to", np.array([stop])),
        ]
        return self.node("Slice", ["features", *ends, "axis"], name)

    def mean(self, x: str, count: int) -> str:
        """3x3 means; as a convolution, which OpenVINO runs 2 ms faster than AveragePool (512x512, two
        cores)."""
        kernel = self.constant(f"{x}.ninth", np.full((count, 1, 3, 3), 1 / 9, np.float32))
        return self.node("Conv", [x, kernel], f"{x}.mean", kernel_shape=[3, 3], pads=[1] * 4, group=count)


def light_onnx(layers: Mapping[str, Layer], weights: Mapping[str, np.ndarray], channels: int) -> bytes:
    """The file of the network of `layers` (by name) with `weights`, for a texture of so many channels."""
    g = _Light(layers, weights)
    clamp = [g.constant("zero", np.float32(0)), g.constant("one", np.float32(1))]
    skip2 = g.conv("encode2", g.conv("stem", "features"))
    skip4 = g.conv("encode4", g.conv("down4", skip2))
    x = g.conv("bottom_b", g.conv("bottom_a", g.conv("down8", skip4)))
    x = g.conv("decode4", g.up("up4", x, skip4))
    x = g.conv("decode2", g.up("up2", x, skip2))
    head = g.conv("head", x, relu=False)
    # split at half resolution, where it is small, rather than at full resolution
    g.split(head, "split", ["rgb.half", "alpha.half"], g.constant("parts", np.array([12, 4])))
    colour, mask = g.channel_slice("colour", 0, 3), g.channel_slice("mask", channels + 2, channels + 3)
    around = {x: g.mean(x, count) for x, count in ((colour, 3), (mask, 1))}
    share = g.node("Max", [around[mask], g.constant("least", np.float32(1 / 9))], "share")
    # on one channel, where it is cheap
    factor = g.node("Div", [g.node("Sub", ["one", mask], "off"), share], "off.factor")
    base = {
        "rgb": g.node("Add", [colour, g.node("Mul", [around[colour], factor], "beside")], "rgb.base"),
        "alpha": around[mask],
    }
    for name in ("rgb", "alpha"):
        correction = g.node("DepthToSpace", [f"{name}.half"], f"{name}.correction", blocksize=2, mode="CRD")
        g.node("Clip", [g.node("Add", [base[name], correction], f"{name}.sum"), *clamp], name)
    return g.save("light_renderer", {"features": channels + 3}, {"rgb": 3, "alpha": 1}, OPSET, ir_version=8)
