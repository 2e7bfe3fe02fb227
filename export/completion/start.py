"""Weights to start a training from: averaged ones, or those of the ONNX file that ships."""

from __future__ import annotations

import pathlib

import numpy as np
import torch
from torch import Tensor, nn

from dinar_live.runtime.core.errors import InputError

from .features import PLANES, SOURCES
from .network import PATCH, CompletionNetwork


def read(file) -> dict[str, Tensor]:
    """The network's parameters f32 by name, from a .safetensors or an .onnx file of ours. Raises
    InputError."""
    import onnx
    import safetensors.torch

    path = pathlib.Path(file)
    try:
        if path.suffix != ".onnx":
            return {k: v.float() for k, v in safetensors.torch.load_file(path).items()}
        return _of_onnx(onnx.load(str(path)))
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as e:
        raise InputError(f"{path}: not the weights of a completion network ({e})") from e
    except Exception as e:  # protobuf's errors share no public base
        raise InputError(f"{path}: not an ONNX file ({e})") from e


def _of_onnx(model) -> dict[str, Tensor]:
    """Convolutions have their names in the file; of the norms only the order is left, which is that of
    the modules."""
    from onnx import numpy_helper

    held = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in model.graph.initializer}
    out = {}
    for name, value in held.items():
        if name.startswith("network."):
            out[name.removeprefix("network.").removesuffix(".f16")] = torch.from_numpy(value.copy())
    scales = {
        kind: [
            held[n.input[1]].ravel() for n in model.graph.node if n.op_type == kind and _per_channel(held, n)
        ]
        for kind in ("Mul", "Add")
    }
    blank = CompletionNetwork(len(out["enter.bias"]))
    norms = [n for n, m in blank.named_modules() if isinstance(m, nn.GroupNorm)]
    for name, weight, bias in zip(norms, scales["Mul"], scales["Add"], strict=True):
        out[f"{name}.weight"], out[f"{name}.bias"] = (torch.from_numpy(a.copy()) for a in (weight, bias))
    return out


def _per_channel(held: dict[str, np.ndarray], node) -> bool:
    value = held.get(node.input[1])
    return value is not None and value.ndim == 3 and value.shape[1:] == (1, 1) and len(value) > 1


def adapted(weights: dict[str, Tensor], network: CompletionNetwork) -> dict[str, Tensor]:
    """Weights of a network of one photo for one of two: it ignores the second photo until it is trained.
    Weights that fit are returned as they are. Raises InputError for other sizes."""
    own = network.state_dict()
    new = dict(weights)
    enter = weights["enter.weight"]
    if network.photos == 2 and enter.shape[:2] == (network.width, PLANES * PATCH * PATCH):
        wide = torch.zeros_like(own["enter.weight"])
        wide[:, : PLANES * PATCH * PATCH] = enter
        new["enter.weight"] = wide
        for name in ("leave.weight", "leave.bias"):
            old, wide = weights[name], own[name].clone()
            first, more = SOURCES * PATCH * PATCH, len(wide) - len(old)
            wide[:first], wide[first + more :] = old[:first], old[first:]
            new[name] = wide
    wrong = [k for k, v in own.items() if k not in new or new[k].shape != v.shape]
    if wrong:
        raise InputError(f"weights: {wrong[0]} does not fit a network of width {network.width}")
    return new
