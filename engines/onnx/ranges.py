"""How large the values get that the convolutions of a network read, measured with torch on the CPU."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from dinar_live.engines.base import EngineError

from . import quantize
from .file import load_onnx
from .fold import fold
from .graph import at_least_opset, load_proto

SHARE = 0.9999
"""Of the magnitudes that are within the range; the rest is cut."""


def measured_ranges(model: bytes, inputs: Iterable[np.ndarray]) -> dict[str, float]:
    """Tensor -> magnitude that SHARE of its values stay below, the largest of all inputs f32[N,C,H,W]. Tensors are
    those that `quantize.convolutions` read in the folded graph. EngineError without torch."""
    try:
        import torch

        from dinar_live.engines.torch.graph import TorchGraph
    except ImportError as error:
        raise EngineError(f"int8 is calibrated with torch, which is not installed ({error})") from error
    proto = fold(at_least_opset(load_proto(load_onnx(model))))
    names = list(dict.fromkeys(node.input[0] for node in quantize.convolutions(proto)))
    if not names:
        raise EngineError("no convolution of this network is wide enough for int8")
    del proto.graph.output[:]
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names
    )
    graph = TorchGraph(proto, "the network", torch.device("cpu"), 0)
    found = dict.fromkeys(names, 0.0)
    (name,) = (value.name for value in proto.graph.input)
    for x in inputs:
        for tensor, values in graph.run({name: torch.from_numpy(np.array(x, np.float32))}).items():
            flat = values.abs().flatten()
            place = max(1, int(np.ceil(SHARE * flat.numel())))
            found[tensor] = max(found[tensor], float(flat.kthvalue(place).values))
    return {tensor: max(value, 1e-4) for tensor, value in found.items()}
