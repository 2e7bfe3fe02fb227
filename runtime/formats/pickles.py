"""Pickles of plain containers and numeric numpy arrays (Python 2 and 3, numpy 1 and 2), read without running
anything; no other name is ever resolved."""

from __future__ import annotations

import math
import pathlib
import re
from typing import Any

import numpy as np

from dinar_live.runtime.core.errors import InputError

from .restricted_unpickle import Buildable, Inert, UnpickleError, pairs, read_pickle
from .stored_array import is_shape

MAX_BYTES = 64 << 20
MAX_DEPTH = 32
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])\Z")
_NUMPY_MODULES = [
    f"numpy.{core}.{module}" for core in ("core", "_core") for module in ("multiarray", "numeric")
]


class PickledDtype(Buildable):
    """A dtype; its byte order comes in its state."""

    def __init__(self, name: object, *_):
        self._name = name.decode("latin1") if isinstance(name, bytes) else name
        self._order = ""

    def build(self, state: Any) -> None:
        order = state[1]
        self._order = order.decode("latin1") if isinstance(order, bytes) else order

    @property
    def is_number(self) -> bool:
        """Whether it is one of the dtypes that are read."""
        return isinstance(self._name, str) and _DTYPE.match(self._name) is not None

    def resolved(self) -> np.dtype:
        """The dtype, in the byte order of the file. Raises UnpickleError if it is not one of numbers."""
        if not (isinstance(self._name, str) and self.is_number):
            raise UnpickleError(f"it holds an array of dtype {str(self._name)[:60]!r}")
        dtype = np.dtype(self._name)
        return dtype.newbyteorder(self._order) if self._order in ("<", ">") else dtype


class _PickledArray(Buildable):
    """An array, once it has its state."""

    def __init__(self, *_):
        self.value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, fortran)


def load_pickle(path) -> Any:
    """What a pickle of dicts, lists, strings, numbers and numpy arrays holds; shared parts stay shared.

    Raises InputError naming the file, and any other name that it asks for.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected a fit of at most {MAX_BYTES}")
    try:
        return _plain(read_pickle(path.read_bytes(), _CONSTRUCTORS, strict=True), {}, 0)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e})") from e
    except UnpickleError as e:
        raise InputError(
            f"{path}: {e}; expected a pickle of plain containers and numeric numpy arrays"
        ) from None


_UNFINISHED = object()


def _plain(value: Any, done: dict[int, Any], depth: int) -> Any:
    """Containers with arrays in place of what stands for them. done: id -> the result, for shared parts."""
    if isinstance(value, (bool, int, float, str, bytes, np.generic, type(None))):
        return value
    if depth > MAX_DEPTH:
        raise UnpickleError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, _PickledArray):
        if value.value is None:
            raise UnpickleError("it holds an array without numbers")
        return value.value
    if isinstance(value, np.ndarray):
        return value
    key = id(value)
    if key in done:
        if done[key] is _UNFINISHED:
            raise UnpickleError("it contains itself")
        return done[key]
    done[key] = _UNFINISHED
    if isinstance(value, dict):
        out: Any = {k: _plain(v, done, depth + 1) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        out = type(value)(_plain(v, done, depth + 1) for v in value)
    else:
        raise UnpickleError(f"it holds a {type(value).__name__}")
    done[key] = out
    return out


def _bytes(value: object) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):  # Python 2
        return value.encode("latin1")
    raise UnpickleError("an array has no bytes (arrays of objects are not read)")


def _array(data: object, dtype: object, shape: object, fortran: object) -> np.ndarray:
    """The array, in this machine's byte order."""
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(dtype, PickledDtype):
        raise UnpickleError("an array has no dtype")
    resolved, content = dtype.resolved(), _bytes(data)
    if not (isinstance(shape, tuple) and is_shape(shape)):
        raise UnpickleError(f"it holds an array of shape {str(shape)[:60]}")
    if math.prod(shape) * resolved.itemsize != len(content):
        raise UnpickleError(f"an array of {resolved}{list(shape)} comes with {len(content)} bytes")
    flat = np.frombuffer(content, resolved)
    return flat.reshape(shape, order="F" if fortran else "C").astype(resolved.newbyteorder("="))


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    return _array(data, dtype, shape, order == "F")


def pickled_scalar(dtype: object, data: object = None, *_) -> object:
    """A number; `Inert` for scalars of other kinds."""
    if not isinstance(dtype, PickledDtype) or not dtype.is_number:
        return Inert("numpy scalar")
    return _array(data, dtype, (), False)[()]


def _encoded(text: object, encoding: object) -> bytes:
    """How Python 3 writes bytes in old protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnpickleError("bytes in an encoding that pickles do not use")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """And how it writes empty ones."""
    return b""


def _dict(items=()) -> dict:
    return pairs(items)


def _list(items=()) -> list:
    return list(items) if isinstance(items, (list, tuple)) else []


_BUILTINS = ("builtins", "__builtin__")
NUMBERS: dict[tuple[str, str], object] = {
    ("numpy", "dtype"): PickledDtype,
    ("_codecs", "encode"): _encoded,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    **{(module, "scalar"): pickled_scalar for module in _NUMPY_MODULES},
}
"""Constructors for dtypes, numpy's scalars and bytes."""
_CONSTRUCTORS: dict[tuple[str, str], object] = {
    **NUMBERS,
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): lambda *_: {},
    **{(module, "dict"): _dict for module in _BUILTINS},
    **{(module, "list"): _list for module in _BUILTINS},
    ("numpy", "ndarray"): object(),  # only ever an argument
    **{(module, "_reconstruct"): _PickledArray for module in _NUMPY_MODULES},
    **{(module, "_frombuffer"): _from_buffer for module in _NUMPY_MODULES},
}
