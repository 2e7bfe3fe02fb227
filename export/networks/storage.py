"""Tensors inside weight files, read one at a time straight into fresh memory: no file is held twice, none is
trusted."""

from __future__ import annotations

import json
import math
import os
import pathlib
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import safetensors
import torch
from torch import Tensor

from dinar_live.runtime.core.errors import CheckpointError
from dinar_live.runtime.formats.restricted_unpickle import Inert, UnpickleError, pairs, read_pickle

MAX_PICKLE_BYTES = 64 << 20
MAX_DIMENSIONS = 8
LITTLE = b"little"
LOCAL_HEADER = struct.Struct(
    "<4s22xHH"
)  # of a zip member: signature, then the lengths of name and extra field

STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
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


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    numel: int


@dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def span(self) -> int:
        """Elements of the storage from the first to the last one used."""
        return (
            0
            if 0 in self.shape
            else 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        )


def _persistent(pid) -> object:
    if isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage":
        _, dtype, key, _, numel = pid
        if isinstance(dtype, torch.dtype) and isinstance(key, str) and isinstance(numel, int):
            return _Storage(dtype, key, numel)
    return Inert("persistent id")


def _rebuild_tensor(storage, offset, size, stride, *_) -> object:
    if not isinstance(storage, _Storage):
        return Inert("tensor of an unknown storage")
    numbers = (offset, *size, *stride)
    if (
        len(size) != len(stride)
        or len(size) > MAX_DIMENSIONS
        or any(type(n) is not int or n < 0 for n in numbers)
    ):
        raise UnpickleError("a tensor of impossible shape")
    view = _View(storage, offset, tuple(size), tuple(stride))
    if math.prod(view.shape) > storage.numel or offset + view.span() > storage.numel:
        raise UnpickleError("a tensor that reaches beyond its storage")
    return view


def _rebuild_parameter(data, *_) -> object:
    return data


def _ordered_dict(items=()) -> dict:
    return pairs(items)


CONSTRUCTORS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in STORAGE_TYPES.items()},
}


def read_torch_file(path: pathlib.Path) -> dict[str, StoredTensor]:
    """Tensors of the state dict in a file of torch.save (zip format of torch >= 1.6), top level or under
    "state_dict"; no more.

    Nothing in the file is executed or imported. Raises CheckpointError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            roots = [name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise CheckpointError(
                    f"{path}: a zip file with {len(roots)} data.pkl, expected the one of a torch checkpoint"
                )
            root = roots[0]
            content = members[root + "data.pkl"]
            if content.file_size > MAX_PICKLE_BYTES or content.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(
                    f"{path}: data.pkl is compressed or larger than {MAX_PICKLE_BYTES} bytes"
                )
            order = members.get(root + "byteorder")
            if order is not None and (order.file_size != len(LITTLE) or archive.read(order) != LITTLE):
                raise CheckpointError(f"{path}: saved on a big-endian machine, expected little-endian")
            data = archive.read(content)
        top = read_pickle(data, CONSTRUCTORS, _persistent)
    except UnpickleError as e:
        raise CheckpointError(f"{path}: not a readable torch checkpoint ({e})") from e
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError) as e:
        raise CheckpointError(
            f"{path}: not a readable torch checkpoint ({e}); is the download complete?"
        ) from e
    state = top.get("state_dict", top) if isinstance(top, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path}: holds no dict of weights, expected one at the top or under 'state_dict'"
        )
    views = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, _View)}
    return {
        key: StoredTensor(
            view.storage.dtype,
            view.shape,
            _loader(path, members.get(f"{root}data/{view.storage.key}"), key, view),
        )
        for key, view in views.items()
    }


def _loader(
    path: pathlib.Path, member: zipfile.ZipInfo | None, key: str, view: _View
) -> Callable[[], Tensor]:
    def load() -> Tensor:
        itemsize = view.storage.dtype.itemsize
        if (
            member is None
            or member.compress_type != zipfile.ZIP_STORED
            or member.file_size < view.storage.numel * itemsize
        ):
            raise CheckpointError(f"{path}: the numbers of {key} are missing, compressed or too short")
        flat = torch.empty(view.span(), dtype=view.storage.dtype)
        try:
            with path.open("rb") as file:
                file.seek(member.header_offset)
                signature, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
                file.seek(member.header_offset + LOCAL_HEADER.size + name + extra + view.offset * itemsize)
                got = file.readinto(memoryview(flat.view(torch.uint8).numpy())) if flat.numel() else 0
        except (OSError, struct.error, ValueError, OverflowError) as e:
            raise CheckpointError(f"{path}: {key} cannot be read ({e})") from e
        if signature != b"PK\x03\x04" or got != flat.numel() * itemsize:
            raise CheckpointError(f"{path}: {key} cannot be read, the file is cut short or damaged")
        return flat.as_strided(view.shape, view.stride).contiguous()

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
                file.write(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as e:
        raise CheckpointError(
            f"{path}: cannot be written ({e}); {(8 + len(text) + end) / 1e9:.1f} GB are needed there"
        ) from e
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
