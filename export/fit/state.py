"""The state of a training run as safetensors, so that nothing is pickled and an interrupted run goes on where
it was."""

from __future__ import annotations

import os
import pathlib

import safetensors.torch
import torch
from torch import Tensor, nn

from dinar_live.runtime.core.errors import InputError


def save_state(
    file: pathlib.Path,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    """Write parameters, their average, Adam's moments and the number of steps done; the file is replaced
    whole."""
    tensors = {f"average.{n}": t for n, t in average.items()}
    for name, p in model.named_parameters():
        tensors[f"model.{name}"] = p.detach()
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}.{name}"] = optimizer.state[p][key]
    tensors["step"] = torch.tensor(step)
    tensors = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
    part = file.with_suffix(".part")
    safetensors.torch.save_file(tensors, part)
    os.replace(part, file)


def load_state(
    file: pathlib.Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> int:
    """The reverse of `save_state`, in place; returns the steps done. InputError where the file is of another
    model."""
    try:
        tensors = safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as e:
        raise InputError(f"{file}: not a training state ({e}); delete it to start anew") from e
    step = int(tensors["step"]) if "step" in tensors else -1
    for name, p in model.named_parameters():
        got = {key: tensors.get(f"{key}.{name}") for key in ("model", "average", "exp_avg", "exp_avg_sq")}
        own = {key: t for key, t in got.items() if t is not None and t.shape == p.shape}
        if step < 0 or len(own) < len(got):
            raise InputError(f"{file}: the state of another training (at {name}); delete it to start anew")
        with torch.no_grad():
            p.copy_(own["model"])
            average[name].copy_(own["average"])
        optimizer.state[p] = {
            "step": torch.tensor(float(step)),
            "exp_avg": own["exp_avg"].to(p.device),
            "exp_avg_sq": own["exp_avg_sq"].to(p.device),
        }
    return step
