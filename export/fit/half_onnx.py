"""The ONNX file of a network of `half.py`, operator by operator (`half.build_onnx` checks the weights)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dinar_live.export.onnx_graph import Graph

if TYPE_CHECKING:
    from .layer import Layer

OPSET = 17


class _Half(Graph):
    """With the layers that this network is made of."""

    def __init__(self, layers: Mapping[str, Layer], weights: Mapping[str, np.ndarray]):
        super().__init__()
        self._layers = layers
        self._values = weights
        self.constant("scale2", np.array([1, 1, 2, 2], np.float32))

    def conv(self, name: str, x: str, output: str = "", *, relu: bool = True) -> str:
        layer = self._layers[name]
        k, s, (before, after) = layer.kernel, layer.stride, layer.padding
        weight = self.constant(f"{name}.weight", np.asarray(self._values[name], np.float32))
        pads = [before, before, after, after]
        y = output or f"{name}.conv"
        y = self.node("Conv", [x, weight], y, kernel_shape=[k, k], strides=[s, s], pads=pads)
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


def half_onnx(layers: Mapping[str, Layer], weights: Mapping[str, np.ndarray]) -> bytes:
    """The file of the network of `layers` (by name) with `weights`."""
    g = _Half(layers, weights)
    skip2 = g.conv("encode2", g.conv("stem", "features"))
    skip4 = g.conv("encode4", g.conv("down4", skip2))
    x = g.conv("bottom_b", g.conv("bottom_a", g.conv("down8", skip4)))
    x = g.conv("decode4", g.up("up4", x, skip4))
    x = g.conv("decode2", g.up("up2", x, skip2))
    g.conv("head", x, "correction", relu=False)
    inputs, outputs = {"features": layers["stem"].n_in}, {"correction": layers["head"].n_out}
    return g.save("half_renderer", inputs, outputs, OPSET, ir_version=8)
