"""Baking (DINAR's renderer for streaming): the texture preprocessed once, the per-frame network folded
exactly and written as ONNX.

Folded into plain convolutions: equalized scales, batch norms, the sqrt(2) of activations, (tanh + 1) / 2 =
sigmoid(2x). Merged: the uv and mask preprocessors (block-diagonal). Pruned: the two unused channels of the
alpha head. All exact up to rounding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dinar_live.engines import create_engine
from dinar_live.export.networks.blocks import SQRT2, EqualConv2d, FrozenBatchNorm2d, FusedLeakyReLU
from dinar_live.export.networks.renderer import Renderer
from dinar_live.export.networks.vq import TEXTURE_CHANNELS
from dinar_live.export.onnx_graph import Graph

OPSET = 18
SLOPE = 0.2
# The network's receptive radius is 89 pixels by layer sums (preprocessing 2, stem 3, downs 7, six 3x3 at 1/8
# 48, ups with their bilinear taps 21, tail 3, heads 5); a window that leaves this much around the body
# differs only where its own borders are reflected.
MARGIN = 96


def bake_texture(renderer: Renderer, texture: torch.Tensor) -> np.ndarray:
    """Neural texture [1,21,T,T] -> what the runtime samples, f32[T,T,21]."""
    with torch.inference_mode():
        return np.ascontiguousarray(renderer.bake_texture(texture)[0].permute(1, 2, 0).cpu().numpy())


def _norm(bn: FrozenBatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift per channel, f64."""
    assert bn.running_mean is not None and bn.running_var is not None  # it keeps statistics
    weight, bias, mean, var = (
        t.detach().double().cpu().numpy() for t in (bn.weight, bn.bias, bn.running_mean, bn.running_var)
    )
    scale = weight / np.sqrt(var + bn.eps)
    return scale, bias - mean * scale


def fold(
    conv: EqualConv2d, bn: FrozenBatchNorm2d | None = None, act: FusedLeakyReLU | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weight f64[out,in,k,k] and bias f64[out] of the one convolution that conv -> bn -> act is, but for the
    leaky ReLU itself."""
    weight, bias = conv.effective()
    weight = weight.detach().double().cpu().numpy()
    bias = np.zeros(len(weight)) if bias is None else bias.detach().double().cpu().numpy()
    if bn is not None:
        scale, shift = _norm(bn)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    if act is not None:  # leaky ReLU is positively homogeneous
        weight, bias = weight * SQRT2, (bias + act.bias.detach().double().cpu().numpy()) * SQRT2
    return weight, bias


def _fold(layers: nn.Module | torch.Tensor, first: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """`fold` of `count` layers of a Sequential from `first` on: a convolution, its norm, its activation."""
    assert isinstance(layers, nn.Sequential)
    conv, bn, act = [*list(layers)[first : first + count], None, None][:3]
    assert isinstance(conv, EqualConv2d)
    assert isinstance(bn, FrozenBatchNorm2d | None)
    assert isinstance(act, FusedLeakyReLU | None)
    return fold(conv, bn, act)


class _Graph(Graph):
    """With the layers that this network is made of."""

    def conv(
        self,
        x: str,
        name: str,
        folded: tuple[np.ndarray, np.ndarray],
        *,
        stride: int = 1,
        pad: int = 0,
        leaky: bool = True,
    ) -> str:
        weight, bias = folded
        k = weight.shape[2]
        inputs = [
            x,
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        y = self.node(
            "Conv", inputs, f"{name}.conv", kernel_shape=[k, k], strides=[stride] * 2, pads=[pad] * 4
        )
        return self.node("LeakyRelu", [y], name, alpha=SLOPE) if leaky else y

    def reflect(self, x: str, name: str, width: int) -> str:
        pads = self.constant(f"{name}.pads", np.array([0, 0, width, width] * 2, np.int64))
        return self.node("Pad", [x, pads], name, mode="reflect")


def _block_diagonal(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    (wa, ba), (wb, bb) = a, b
    out = np.zeros((len(wa) + len(wb), wa.shape[1] + wb.shape[1], *wa.shape[2:]))
    out[: len(wa), : wa.shape[1]], out[len(wa) :, wa.shape[1] :] = wa, wb
    return out, np.concatenate([ba, bb])


def _head(g: _Graph, x: str, name: str, layers: nn.Sequential, outputs: int, gain: float) -> str:
    """A head: norm and activation per channel, 3x3 convolutions, sigmoid; the last one cut to `outputs`
    channels and times `gain`."""
    norm, act = layers[0], layers[1]
    assert isinstance(norm, FrozenBatchNorm2d) and isinstance(act, FusedLeakyReLU)
    scale, shift = _norm(norm)
    shift = (shift + act.bias.detach().double().cpu().numpy()) * SQRT2
    x = g.node(
        "Mul",
        [x, g.constant(f"{name}.scale", (scale * SQRT2).astype(np.float32).reshape(1, -1, 1, 1))],
        f"{name}.scaled",
    )
    x = g.node(
        "Add",
        [x, g.constant(f"{name}.shift", shift.astype(np.float32).reshape(1, -1, 1, 1))],
        f"{name}.shifted",
    )
    x = g.node("LeakyRelu", [x], f"{name}.act", alpha=SLOPE)
    last = len(layers) - 2
    for i in range(2, last, 3):
        x = g.conv(x, f"{name}.{i}", _fold(layers, i), pad=1)
    weight, bias = _fold(layers, last, 1)
    x = g.conv(x, f"{name}.{last}", (weight[:outputs] * gain, bias[:outputs] * gain), pad=1, leaky=False)
    return g.node("Sigmoid", [x], name)


def renderer_onnx(renderer: Renderer) -> bytes:
    """The per-frame network as one self-contained fp32 ONNX file (opset 18): features [N,24,H,W] = baked
    texture 21, u, v, mask -> rgb [N,3,H,W] and alpha [N,1,H,W] in [0,1]; N, H, W symbolic, H and W multiples
    of 8. Deterministic."""
    g, c = _Graph(), TEXTURE_CHANNELS
    split = g.constant("split", np.array([c, 3], np.int64))
    g.split("features", "split_features", ["sampled", "uv_mask"], split)
    x = "uv_mask"
    for i in (0, 3):
        folded = [_fold(p, i) for p in (renderer.uv_preproc, renderer.uv_mask_preproc)]
        x = g.conv(x, f"preproc.{i}", _block_diagonal(*folded), pad=1)
    x = g.node("Concat", ["sampled", x], "input", axis=1)
    unet = renderer.model
    x = g.conv(g.reflect(x, "start.pad", 3), "start", _fold(unet.start, 1))
    kept = []
    for i, down in enumerate(unet.downsamples):
        x = g.conv(x, f"down{i}", _fold(down, 0), stride=2, pad=1)
        kept.append(x)
    for i, block in enumerate(unet.resblocks):
        b = block.conv_block
        y = g.conv(g.reflect(x, f"res{i}.a.pad", 1), f"res{i}.a", _fold(b, 1))
        y = g.conv(g.reflect(y, f"res{i}.b.pad", 1), f"res{i}.b", _fold(b, 5, 2), leaky=False)
        x = g.node("Add", [x, y], f"res{i}")
    scales = g.constant("scales", np.array([1, 1, 2, 2], np.float32))
    for i, up in enumerate(unet.upsamples):
        x = g.node("Concat", [x, kept.pop()], f"up{i}.cat", axis=1)
        x = g.node(
            "Resize",
            [x, "", scales],
            f"up{i}.resize",
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
        x = g.conv(x, f"up{i}", _fold(up, 1), pad=1)
    x = g.conv(g.reflect(x, "final.pad", 3), "final", _fold(unet.final, 1, 1), leaky=False)
    _head(g, x, "rgb", renderer.rgb_head, 3, 2.0)
    _head(g, x, "alpha", renderer.segm_head, 1, 1.0)

    return g.save("dinar_renderer", {"features": c + 3}, {"rgb": 3, "alpha": 1}, OPSET, ir_version=9)


def parity(renderer: Renderer, model: bytes, features: np.ndarray, engine: str = "auto") -> dict[str, float]:
    """Largest difference of rgb and alpha between the torch renderer and `model` in an engine in f32, on
    features f32[1,24,H,W]."""
    height, width = features.shape[2:]
    with torch.inference_mode():
        want = dict(zip(("rgb", "alpha"), renderer.render_sampled(torch.from_numpy(features)), strict=True))
    with create_engine(model, engine, precision="f32") as net:
        session = net.compile((1, height, width))
        session.inputs["features"][...] = features
        session.enqueue()
        session.synchronize()
        return {
            name: float(np.abs(session.outputs[name] - value.numpy()).max()) for name, value in want.items()
        }
