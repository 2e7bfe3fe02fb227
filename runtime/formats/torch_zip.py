"""What torch.save stores (the zip format of torch >= 1.6), read without torch and without running anything.

The zip holds a pickle, `data.pkl`, that refers to storages; each is a member of its own, not compressed. A
tensor is a view of a storage.
"""

from __future__ import annotations

import math
import pathlib
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from .restricted_unpickle import Inert, UnpickleError, pairs, read_pickle
from .stored_array import StoredArray, StoredArrayError, is_shape, numbers_at

_LITTLE = b"little"
# of a zip member: signature, then the lengths of name and extra field
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_SIGNATURE = b"PK\x03\x04"
_BFLOAT16 = "BFloat16Storage"  # the upper half of a float32
_STORED_TYPES = {
    name: np.dtype(code)
    for name, code in {
        "DoubleStorage": "<f8",
        "FloatStorage": "<f4",
        "HalfStorage": "<f2",
        _BFLOAT16: "<u2",
        "LongStorage": "<i8",
        "IntStorage": "<i4",
        "ShortStorage": "<i2",
        "CharStorage": "i1",
        "ByteStorage": "u1",
        "BoolStorage": "?",
    }.items()
}


class TorchZipError(ValueError):
    """Not a file of torch.save, or one that is damaged or hostile."""


@dataclass(frozen=True)
class _StorageType:
    name: str


@dataclass(frozen=True)
class _Storage:
    type: _StorageType
    key: str
    numel: int


class _Archive:
    """The zip file: path, members by name, and the name of the folder that all of them are in."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.root = ""

    def pickle(self, max_bytes: int) -> bytes:
        """The content of data.pkl. Raises TorchZipError and what zipfile raises."""
        with zipfile.ZipFile(self.path) as archive:
            self.members = {info.filename: info for info in archive.infolist()}
            roots = [name[: -len("data.pkl")] for name in self.members if name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise TorchZipError(
                    f"a zip file with {len(roots)} data.pkl, expected the one of a torch checkpoint"
                )
            self.root = roots[0]
            content = self.members[self.root + "data.pkl"]
            if content.file_size > max_bytes or content.compress_type != zipfile.ZIP_STORED:
                raise TorchZipError(f"data.pkl is compressed or larger than {max_bytes} bytes")
            order = self.members.get(self.root + "byteorder")
            if order is not None and (order.file_size != len(_LITTLE) or archive.read(order) != _LITTLE):
                raise TorchZipError("saved on a big-endian machine, expected little-endian")
            return archive.read(content)

    def numbers(self, storage: _Storage, offset: int, count: int) -> np.ndarray:
        """Elements offset..offset+count of a storage, as they are stored. Raises StoredArrayError."""
        dtype = _STORED_TYPES[storage.type.name]
        member = self.members.get(f"{self.root}data/{storage.key}")
        if (
            member is None
            or member.compress_type != zipfile.ZIP_STORED
            or member.file_size < storage.numel * dtype.itemsize
        ):
            raise StoredArrayError("its numbers are missing, compressed or too short")
        try:
            with self.path.open("rb") as file:
                file.seek(member.header_offset)
                signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        except struct.error:
            raise StoredArrayError("the file is cut short or damaged") from None
        except (OSError, ValueError, OverflowError) as e:
            raise StoredArrayError(str(e)) from e
        if signature != _SIGNATURE:
            raise StoredArrayError("the file is cut short or damaged")
        begin = member.header_offset + _LOCAL_HEADER.size + name + extra
        return numbers_at(self.path, begin + offset * dtype.itemsize, dtype, count)


class _Tensor(StoredArray):
    """A view of a storage; offset and strides in elements."""

    def __init__(
        self,
        archive: _Archive,
        storage: _Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ):
        self._archive = archive
        self._storage = storage
        self._offset = offset
        self._strides = strides
        self.shape = shape
        self._widened = storage.type.name == _BFLOAT16
        self.dtype = np.dtype("<f4") if self._widened else _STORED_TYPES[storage.type.name]

    @property
    def span(self) -> int:
        """Elements of the storage from the first to the last one used."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self._strides, strict=True))

    def load(self) -> np.ndarray:
        flat = self._archive.numbers(self._storage, self._offset, self.span)
        if self._widened:
            flat = (flat.astype("<u4") << 16).view("<f4")
        steps = [s * flat.itemsize for s in self._strides]
        array = np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps))
        return array.reshape(self.shape)  # ascontiguousarray makes a single number an array of one


def read_torch_zip(path: pathlib.Path, max_pickle_bytes: int) -> Any:
    """What a file of torch.save holds: containers, numbers and text, with a `StoredArray` for each tensor and
    `Inert` for all else. bfloat16 becomes float32, which holds the same numbers.

    max_pickle_bytes: of what is not numbers of tensors. Nothing in the file is executed or imported. Raises
    TorchZipError, without the file's name.
    """
    archive = _Archive(path)

    def tensor(storage, offset, size, strides, *_) -> object:
        if not isinstance(storage, _Storage):
            return Inert("tensor of an unknown storage")
        if not (
            is_shape(size)
            and isinstance(strides, tuple)
            and len(strides) == len(size)
            and all(type(n) is int and n >= 0 for n in (offset, *strides))
        ):
            raise UnpickleError("a tensor of impossible shape")
        view = _Tensor(archive, storage, offset, size, strides)
        if math.prod(size) > storage.numel or offset + view.span > storage.numel:
            raise UnpickleError("a tensor that reaches beyond its storage")
        return view

    constructors = _CONSTRUCTORS | {("torch._utils", "_rebuild_tensor_v2"): tensor}
    try:
        return read_pickle(archive.pickle(max_pickle_bytes), constructors, _persistent)
    except TorchZipError:
        raise
    except UnpickleError as e:
        raise TorchZipError(f"not a readable torch checkpoint ({e})") from e
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError) as e:
        raise TorchZipError(f"not a readable torch checkpoint ({e}); is the download complete?") from e


def _persistent(pid: object) -> object:
    if isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage":
        _, type_, key, _, numel = pid
        if isinstance(type_, _StorageType) and isinstance(key, str) and type(numel) is int:
            return _Storage(type_, key, numel)
    return Inert("persistent id")


def _parameter(data, *_) -> object:
    return data


def _dict(items=()) -> dict:
    return pairs(items)


_CONSTRUCTORS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("builtins", "dict"): _dict,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    **{("torch", name): _StorageType(name) for name in _STORED_TYPES},
}
