"""Files of joblib.dump, read without running anything: a pickle with the bytes of each array in between,
behind the NumpyArrayWrapper that describes it."""

from __future__ import annotations

import math
import pathlib
from typing import Any, BinaryIO

import numpy as np

from .pickles import NUMBERS, PickledDtype
from .restricted_unpickle import Buildable, UnpickleError, pairs, read_pickle
from .stored_array import StoredArray, StoredArrayError, is_shape, numbers_at


class _PickleBytes:
    """The file as the pickle's reader sees it: no more than `limit` bytes, besides the arrays that are skipped
    in between."""

    def __init__(self, file: BinaryIO, limit: int):
        self._file = file
        self._limit = limit
        self._left = limit

    def read(self, count: int, /) -> bytes:
        return self._counted(self._file.read(min(count, self._left + 1)))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left + 1))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise UnpickleError(f"more than {self._limit} bytes besides its arrays")
        return data


class _Array(StoredArray, Buildable):
    """A NumpyArrayWrapper. Its array follows its state in the file."""

    def __init__(self, path: pathlib.Path, file: BinaryIO):
        self._path = path
        self._file = file
        self._offset: int | None = None
        self._fortran = False
        self.dtype = np.dtype("u1")
        self.shape = ()

    def build(self, state: Any) -> None:
        """Take the description and move the file on behind the array."""
        if not isinstance(state, dict):
            raise UnpickleError("an array without a description")
        shape, dtype, order = state.get("shape"), state.get("dtype"), state.get("order")
        if not isinstance(shape, tuple) or not is_shape(shape):
            raise UnpickleError(f"an array of impossible shape {str(shape)[:60]}")
        if not isinstance(dtype, PickledDtype) or not dtype.is_number or order not in ("C", "F"):
            raise UnpickleError("an array of objects, which holds no numbers")
        self.shape = shape
        self.dtype = dtype.resolved()
        self._fortran = order == "F"
        file = self._file
        if "numpy_array_alignment_bytes" in state:  # joblib >= 1.2: a byte says how many of padding follow
            padding = file.read(1)
            file.seek(padding[0] if padding else 0, 1)
        self._offset = file.tell()
        if self._offset + self.nbytes > self._path.stat().st_size:
            raise UnpickleError("ends inside an array, the file is cut short")
        file.seek(self._offset + self.nbytes)

    def load(self) -> np.ndarray:
        if self._offset is None:
            raise StoredArrayError("an array without a description")
        flat = numbers_at(self._path, self._offset, self.dtype, math.prod(self.shape))
        return np.ascontiguousarray(flat.reshape(self.shape, order="F" if self._fortran else "C")).reshape(
            self.shape
        )


def read_joblib(path: pathlib.Path, max_pickle_bytes: int) -> Any:
    """What a file of joblib.dump holds, if it is not compressed: containers, numbers and text, with a
    `StoredArray` for each array and `Inert` for all else.

    max_pickle_bytes: of what is not arrays. Raises UnpickleError, without the file's name, and OSError.
    """
    with path.open("rb") as file:
        constructors: dict[tuple[str, str], object] = {
            **NUMBERS,
            ("collections", "OrderedDict"): lambda items=(): pairs(items),
            ("collections", "defaultdict"): lambda *_: {},
            ("builtins", "dict"): lambda items=(): pairs(items),
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): lambda *_: _Array(path, file),
        }
        return read_pickle(_PickleBytes(file, max_pickle_bytes), constructors)
