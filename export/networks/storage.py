"""Tensors inside weight files, read one at a time straight into fresh memory: no file is held twice, none is
trusted."""

from __future__ import annotations

import json
import math
import os
import pathlib
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import safetensors
import torch
from torch import Tensor

from dinar_live.runtime.core.errors import CheckpointError
from dinar_live.runtime.formats.stored_array import StoredArray, StoredArrayError
from dinar_live.runtime.formats.torch_zip import TorchZipError, read_torch_zip

MAX_PICKLE_BYTES = 64 << 20
TORCH_TYPES = {
    np.dtype(code): dtype
    for code, dtype in {
        "f8": torch.float64,
        "f4": torch.float32,
        "f2": torch.float16,
        "i8": torch.int64,
        "i4": torch.int32,
        "i2": torch.int16,
        "i1": torch.int8,
        "u1": torch.uint8,
        "?": torch.bool,
    }.items()
}
SAFETENSORS_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that still lies in its file: type, shape and how to get it. `load()` returns fresh, contiguous
    CPU memory."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    load: Callable[[], Tensor]


def read_torch_file(path: pathlib.Path) -> dict[str, StoredTensor]:
    """Tensors of the state dict in a file of torch.save (zip format of torch >= 1.6), top level or under
    "state_dict"; no more.

    Nothing in the file is executed or imported. Raises CheckpointError.
    """
    try:
        top = read_torch_zip(path, MAX_PICKLE_BYTES)
    except TorchZipError as e:
        raise CheckpointError(f"{path}: {e}") from e
    state = top.get("state_dict", top) if isinstance(top, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path}: holds no dict of weights, expected one at the top or under 'state_dict'"
        )
    arrays = {
        key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, StoredArray)
    }
    return {
        key: StoredTensor(TORCH_TYPES[array.dtype], array.shape, _loader(path, key, array))
        for key, array in arrays.items()
    }


def _loader(path: pathlib.Path, key: str, array: StoredArray) -> Callable[[], Tensor]:
    def load() -> Tensor:
        try:
            return torch.from_numpy(array.load())
        except StoredArrayError as e:
            raise CheckpointError(f"{path}: {key} cannot be read, {e}") from e

    return load


def read_safetensors(path: pathlib.Path) -> dict[str, StoredTensor]:
    """Tensors of a .safetensors file. Raises CheckpointError."""
    names = {name: dtype for dtype, name in SAFETENSORS_NAMES.items()}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}
            entries = {key: (names.get(s.get_dtype()), tuple(s.get_shape())) for key, s in slices.items()}
    except (safetensors.SafetensorError, OSError, ValueError) as e:
        raise CheckpointError(f"{path}: not a readable safetensors file ({e})") from e

    def loader(key: str) -> Callable[[], Tensor]:
        def load() -> Tensor:
            with safetensors.safe_open(path, framework="pt") as file:
                return file.get_tensor(key).clone()

        return load

    return {
        key: StoredTensor(dtype, shape, loader(key))
        for key, (dtype, shape) in entries.items()
        if dtype is not None
    }


def write_safetensors(
    path: pathlib.Path,
    specs: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    tensor: Callable[[str], Tensor],
) -> None:
    """Write entries of `specs` (type and shape by name) to `path`, asking `tensor(name)` for one at a time.

    The file appears whole or not at all. The library would hold a second copy of all the numbers. Raises
    CheckpointError when the disk refuses.
    """
    # Wide types first: every offset is then a multiple of its type's size, as readers that map the file want.
    order = sorted(specs, key=lambda key: (-specs[key][0].itemsize, key))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key in order:
        dtype, shape = specs[key]
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[key] = {"dtype": SAFETENSORS_NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = pathlib.Path(file.name)
            file.write(struct.pack("<Q", len(text)) + text)
            for key in order:
                value = tensor(key).detach().to("cpu", specs[key][0]).contiguous()
                file.write(value.reshape(-1).view(torch.uint8).numpy().data)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as e:
        raise CheckpointError(
            f"{path}: cannot be written ({e}); {(8 + len(text) + end) / 1e9:.1f} GB are needed there"
        ) from e
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
