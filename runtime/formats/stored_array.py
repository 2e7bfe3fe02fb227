"""StoredArray: numbers that still lie in a file, and are read when somebody wants them."""

from __future__ import annotations

import math
import pathlib
from abc import ABC, abstractmethod

import numpy as np

MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 48


class StoredArrayError(ValueError):
    """The numbers of an array cannot be had from its file."""


class StoredArray(ABC):
    """An array in a file. dtype, shape: as `load` gives it."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that `load` needs."""
        return math.prod(self.shape) * self.dtype.itemsize

    @abstractmethod
    def load(self) -> np.ndarray:
        """The array in fresh, contiguous memory. Raises StoredArrayError."""


def is_shape(value: object) -> bool:
    """Whether `value` is a tuple of sizes that an array may have."""
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_DIMENSIONS
        and all(type(n) is int and n >= 0 for n in value)
        and math.prod(value) < MAX_ELEMENTS
    )


def numbers_at(path: pathlib.Path, offset: int, dtype: np.dtype, count: int) -> np.ndarray:
    """`count` numbers that begin at byte `offset`, as [count]. Raises StoredArrayError."""
    try:
        if offset + count * dtype.itemsize > path.stat().st_size:
            raise StoredArrayError("the file is cut short or damaged")
        values = np.fromfile(path, dtype, count, offset=offset)
    except (OSError, MemoryError, OverflowError) as e:
        raise StoredArrayError(f"{type(e).__name__}: {e}") from e
    if len(values) != count:
        raise StoredArrayError("the file is cut short or damaged")
    return values
