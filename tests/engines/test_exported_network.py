"""A network as torch's exporter writes it (shape arithmetic, normalization, resizing, sampling) gives torch's
result in every engine."""

import io
import warnings

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dinar_live.engines import create_engine
from dinar_live.engines.onnx.file import load_onnx
from dinar_live.engines.onnx.fold import fold
from dinar_live.engines.onnx.graph import at_least_opset, load_proto, static
from dinar_live.engines.onnx.lower import lower


class Network(nn.Module):
    """No sensible renderer, but one of everything a renderer may use."""

    def __init__(self):
        super().__init__()
        self.entry = nn.Sequential(
            nn.Conv2d(19, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.BatchNorm2d(16), nn.LeakyReLU(0.2)
        )
        self.mix = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(16, 32, 7), nn.GELU())
        self.squeeze = nn.Linear(16, 16)
        self.slope = nn.PReLU(16)
        self.refine = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.InstanceNorm2d(16, affine=True))
        self.grow = nn.ConvTranspose2d(16, 16, 2, 2)

    def forward(self, features):
        mask = features[:, -1:]
        y, gate = self.mix(self.entry(features)).chunk(2, 1)
        y = y * torch.sigmoid(gate)
        y = self.slope(y * torch.sigmoid(self.squeeze(y.mean((2, 3))))[:, :, None, None])
        small = F.avg_pool2d(y, 2) + F.max_pool2d(y, 2)
        y = y + F.interpolate(small, size=y.shape[2:], mode="bilinear", align_corners=False)
        y = y + F.interpolate(small, scale_factor=2, mode="nearest")
        y = self.refine(y + F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=True))
        sampled = F.grid_sample(self.grow(y), features[:, 16:18].permute(0, 2, 3, 1), align_corners=True)
        shuffled = F.pixel_shuffle(torch.tanh(y), 2)
        alpha = torch.where(mask > 0.5, shuffled[:, 3:4], torch.zeros_like(mask)) + mask
        return (shuffled[:, :3] + sampled[:, :3] + 1) / 2, alpha.clamp(0, 1)


def exported(opset):
    """(network, its ONNX file)."""
    torch.manual_seed(0)
    network = Network().eval()
    file = io.BytesIO()
    names = {"input_names": ["features"], "output_names": ["rgb", "alpha"]}
    axes = {key: {0: "N", 2: "H", 3: "W"} for key in ("features", "rgb", "alpha")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself
        torch.onnx.export(
            network,
            (torch.rand(1, 19, 64, 48),),
            file,
            opset_version=opset,
            dynamic_axes=axes,
            dynamo=False,
            **names,
        )
    return network, file.getvalue()


@pytest.mark.parametrize("opset", [17, 20])
def test_exported_network(opset, name, run):
    network, data = exported(opset)
    features = torch.rand(2, 19, 96, 64)
    with torch.no_grad():
        rgb, alpha = network(features)
    session = create_engine(data, name, "f32").compile((2, 96, 64))
    run(session, features.numpy())
    np.testing.assert_allclose(session.outputs["rgb"], rgb.numpy(), atol=1e-4)
    np.testing.assert_allclose(session.outputs["alpha"], alpha.numpy(), atol=1e-4)


def test_folded_and_in_float16(run, fakes):
    """What a GPU gets of it: nothing that TensorRT does not know, and the same picture up to float16."""
    network, data = exported(20)
    features = torch.rand(1, 19, 64, 48)
    with torch.no_grad():
        rgb, alpha = network(features)
    proto = fold(at_least_opset(load_proto(load_onnx(data))))
    for dtype in ("float32", "float16"):
        low = static(lower(proto, "f16", dtype), {"features": (1, 19, 64, 48)})
        onnx.checker.check_model(low, full_check=True)
        assert {node.op_type for node in low.graph.node} <= fakes.tensorrt.OPERATORS
    session = create_engine(data, "torch", "f16", device="cpu").compile((1, 64, 48))
    run(session, features.numpy())
    assert 1e-5 < np.abs(session.outputs["rgb"] - rgb.numpy()).max() < 1e-2
    np.testing.assert_allclose(session.outputs["alpha"], alpha.numpy(), atol=1e-2)
