"""What runs a network that is called again and again with the same shapes: torch as it is, torch.compile, or TensorRT
through torch-tensorrt."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch

from dinar_live.runtime.core.errors import InputError

BACKENDS = ("eager", "inductor", "torch-tensorrt")
_TORCH_TENSORRT = "torch_tensorrt"


def check_backend(name: str) -> None:
    """InputError where the backend cannot be had here, in one sentence."""
    if name not in BACKENDS:
        raise InputError(f"backend: got {name!r}, expected {', '.join(BACKENDS)}")
    if name == "torch-tensorrt":
        if importlib.util.find_spec(_TORCH_TENSORRT) is None:
            raise InputError(
                "backend: torch-tensorrt is not installed: pip install torch-tensorrt, of the version that goes with "
                "your torch; or use inductor"
            )
        if not torch.cuda.is_available():
            raise InputError("backend: torch-tensorrt needs a GPU that torch sees; use inductor or eager")


def compiled(network: Callable, name: str) -> Callable:
    """The network as the backend runs it; the first call compiles, which takes some minutes. Raises InputError."""
    check_backend(name)
    if name == "eager":
        return network
    if name == "inductor":
        return torch.compile(network)
    import torch_tensorrt  # noqa: F401  # pyright: ignore[reportMissingImports]  (registers itself with torch.compile)

    return torch.compile(network, backend="torch_tensorrt")
