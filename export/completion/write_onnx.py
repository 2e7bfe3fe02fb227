"""Write trained weights as the ONNX file that ships: weights in float16, read by OpenVINO without torch.

python -m dinar_live.export.completion.write_onnx OUT/average.safetensors completion.onnx
"""

from __future__ import annotations

import argparse
import io
import pathlib

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from dinar_live.runtime.core.errors import InputError

from .features import planes_of
from .network import PATCH, CompletionNetwork
from .predict import SIZE

SMALL = 256  # values; smaller tensors stay in float32
OUTPUTS = ("weights", "free", "offset", "error", "drape")


class _Outputs(torch.nn.Module):
    def __init__(self, network: CompletionNetwork):
        super().__init__()
        self.network = network

    def forward(self, planes):
        out = self.network(planes)
        return tuple(out[k] for k in OUTPUTS)


def load_network(weights) -> CompletionNetwork:
    """The network of a file of averaged weights. Raises InputError."""
    try:
        tensors = safetensors.torch.load_file(weights)
        photos = 1 if tensors["enter.weight"].shape[1] == planes_of(1) * PATCH * PATCH else 2
        network = CompletionNetwork(len(tensors["enter.bias"]), photos)
        network.load_state_dict(tensors)
    except (OSError, safetensors.SafetensorError, KeyError, RuntimeError) as e:
        raise InputError(f"{weights}: not the weights of a completion network ({e})") from e
    return network.eval()


def onnx_bytes(network: CompletionNetwork) -> bytes:
    """The ONNX file: input `planes` f32[1,planes_of(photos),SIZE,SIZE], outputs as CompletionNetwork."""
    file = io.BytesIO()
    torch.onnx.export(
        _Outputs(network), (torch.zeros(1, planes_of(network.photos), SIZE, SIZE),),
        file,  # pyright: ignore[reportArgumentType]  # this exporter takes open files too
        input_names=["planes"],
        output_names=list(OUTPUTS),
        opset_version=17, dynamo=False,
    )  # fmt: skip
    return _halved(onnx.load_model_from_string(file.getvalue())).SerializeToString()


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large float32 initializers stored as float16 with a Cast behind each."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        name = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.f16")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [f"{name}.f16"], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("weights")
    parser.add_argument("out")
    a = parser.parse_args(arguments)
    data = onnx_bytes(load_network(a.weights))
    pathlib.Path(a.out).write_bytes(data)
    print(f"{a.out}: {len(data) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
