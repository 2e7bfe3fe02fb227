"""Reading .npz files from anywhere: plain arrays only, and no more memory than was agreed beforehand."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib

import numpy as np

MAX_MEMBERS = 4096
# What zipfile and NumPy's header parser raise for bytes that are not what they say, besides ValueError.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
)


class Npz:
    """An open .npz file. keys: the names of its arrays; none is touched before it is asked for, object arrays
    never.

    max_bytes: how much may be unpacked in all, so that a small file cannot fill the memory. Raises OSError
    where the file cannot be opened, ValueError where it is not what it should be.
    """

    def __init__(self, path, max_bytes: int):
        self._left = max_bytes
        self._max = max_bytes
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGED as e:
            raise ValueError(f"not an .npz file ({e})") from None
        members = self._zip.infolist()
        self._members = {m.filename.removesuffix(".npy"): m for m in members if m.filename.endswith(".npy")}
        self.keys = set(self._members)
        if len(members) > MAX_MEMBERS:
            self.close()
            raise ValueError(f"holds {len(members)} entries, expected at most {MAX_MEMBERS}")

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of an array, without its values."""
        with self._opened(key) as f:
            return _header(key, f)

    def read(self, key: str) -> np.ndarray:
        """One array."""
        with self._opened(key) as f:
            shape, dtype = _header(key, f)
        if dtype.hasobject:
            raise ValueError(f"{key}: holds Python objects, expected a plain array")
        size, needed = self._members[key].file_size, math.prod(shape) * dtype.itemsize
        if needed > size:
            raise ValueError(f"{key}: shape {list(shape)} needs {needed} bytes, the file has {size}")
        self._left -= size
        with self._opened(key) as f:
            try:
                return np.lib.format.read_array(f, allow_pickle=False)
            except _DAMAGED as e:
                raise ValueError(f"{key}: damaged ({e})") from None

    def _opened(self, key: str):
        try:
            member = self._members[key]
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{key}: packed in a way that NumPy does not write")
            if member.file_size > self._left:
                raise ValueError(
                    f"{key}: {member.file_size} bytes unpacked, expected at most {self._max} in all"
                )
            return self._zip.open(member)
        except _DAMAGED as e:
            raise ValueError(f"{key}: cannot be read ({e})") from None

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def _header(key: str, f) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = np.lib.format.read_magic(f)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(f)
    except _DAMAGED as e:
        raise ValueError(f"{key}: damaged header ({e})") from None
    return shape, dtype
