"""Reading pickled fits without running anything: plain containers and numeric arrays, no other name is ever
resolved."""

from __future__ import annotations

import io
import math
import pathlib
import pickle
import pickletools
import re
from typing import Any

import numpy as np

from dinar_live.runtime.core.errors import InputError

MAX_BYTES = 64 << 20
DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])\Z")
OPCODES = {op.code.encode("latin1"): op for op in pickletools.opcodes}
MODULES = re.compile(r"numpy\.(core|_core)\.(multiarray|numeric)\Z")


class _Unreadable(Exception):
    """A part of the pickle that is neither a plain container nor a numeric array."""


def load_pickle(path) -> Any:
    """What a pickle of dicts, lists, strings, numbers and numpy arrays holds (Python 2 and 3, numpy 1 and 2).

    Instead of importing the names in the file, each of the few that numpy writes stands for an inert record,
    which becomes an array only after its dtype, shape and size were checked. Raises InputError naming the
    file, and any other name that it asks for.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected a fit of at most {MAX_BYTES}")
    data = path.read_bytes()
    try:
        _scan(data)
        return _plain(_reader(data).load(), {}, 0)
    except _Unreadable as e:
        raise InputError(
            f"{path}: {e}; expected a pickle of plain containers and numeric numpy arrays"
        ) from None
    except Exception as e:  # a damaged pickle can fail anywhere in the unpickler
        raise InputError(f"{path}: not a readable pickle ({type(e).__name__}: {e})") from e


def _scan(data: bytes) -> None:
    """Refuse what would make the unpickler claim memory beyond the size of the file, and instructions that no
    fit needs."""
    stream = io.BytesIO(data)
    op = None
    while op is None or op.name != "STOP":
        op = OPCODES.get(stream.read(1))
        if op is None:
            raise _Unreadable("it ends or breaks off in the middle")
        if op.name == "STRING":  # pickletools wants ASCII, but Python 2 wrote arrays this way
            stream.readline()
            continue
        value = op.arg.reader(stream) if op.arg else None
        if op.name in ("PUT", "LONG_BINPUT") and value > len(data):
            raise _Unreadable(f"the memo index {value} is out of range")
        if op.name in ("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "INST", "OBJ"):
            raise _Unreadable(f"the instruction {op.name} is not allowed")


def _reader(data: bytes) -> pickle.Unpickler:
    # Made anew for each file: a hostile file may set attributes on these classes, but on no one else's.
    class Record:
        """An array, dtype or scalar that is not built yet."""

        kind: str = ""

        def __init__(self, kind: str, *arguments):
            self.kind, self.arguments, self.state = kind, arguments, None

        def __setstate__(self, state):
            self.state = state

    def record(kind):
        return lambda *arguments: Record(kind, *arguments)

    known = {"_reconstruct": record("array"), "scalar": record("scalar"), "_frombuffer": record("frombuffer")}

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if MODULES.match(module) and name in known:
                return known[name]
            if module == "numpy" and name in ("dtype", "ndarray"):
                return record(name)
            if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in old protocols
                return record("bytes")
            if name == "bytes" and module in ("builtins", "__builtin__"):  # and how it writes empty ones
                return lambda: b""
            if (module, name) == ("collections", "OrderedDict"):
                return lambda *items: dict(*items)
            raise _Unreadable(f"it asks for {module}.{name}")

    return Reader(io.BytesIO(data), encoding="latin1")


def _plain(value: Any, done: dict[int, Any], depth: int) -> Any:
    """Containers with their records turned into arrays; shared parts stay shared."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if depth > 32:
        raise _Unreadable("it is nested deeper than 32 levels")
    key = id(value)
    if key in done:
        if done[key] is _Unreadable:
            raise _Unreadable("it contains itself")
        return done[key][0]
    done[key] = _Unreadable
    if isinstance(value, dict):
        out = {_plain(k, done, depth + 1): _plain(v, done, depth + 1) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        out = type(value)(_plain(v, done, depth + 1) for v in value)
    elif type(value).__name__ == "Record" and hasattr(value, "arguments"):
        out = _built(value)
    else:
        raise _Unreadable(f"it holds a {type(value).__name__}")
    done[key] = (out, value)  # the value too, so that its id is not given to another object
    return out


def _bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):  # Python 2
        return value.encode("latin1")
    if getattr(value, "kind", None) == "bytes":
        text, encoding = value.arguments
        if isinstance(text, str) and encoding in ("latin1", "latin-1"):
            return text.encode("latin1")
    raise _Unreadable("an array has no bytes (arrays of objects are not read)")


def _dtype(value: Any) -> np.dtype:
    if getattr(value, "kind", None) != "dtype":
        raise _Unreadable("an array has no dtype")
    name = value.arguments[0]
    if isinstance(name, bytes):
        name = name.decode("latin1")
    if not (isinstance(name, str) and DTYPE.match(name)):
        raise _Unreadable(f"it holds an array of dtype {name!r}")
    order = "" if value.state is None else value.state[1]
    order = order.decode("latin1") if isinstance(order, bytes) else order
    return np.dtype(name).newbyteorder(order) if order in ("<", ">") else np.dtype(name)


def _built(record: Any) -> Any:
    """The array, scalar or bytes of a record."""
    if record.kind == "bytes":
        return _bytes(record)
    if record.kind == "scalar":
        dtype, data = record.arguments
        return _array(_bytes(data), _dtype(dtype), (), "C")[()]
    if record.kind == "frombuffer":
        data, dtype, shape, order = record.arguments
        return _array(_bytes(data), _dtype(dtype), shape, order)
    if record.kind == "array":
        _, shape, dtype, fortran, data = record.state
        return _array(_bytes(data), _dtype(dtype), shape, "F" if fortran else "C")
    raise _Unreadable(f"it holds a {record.kind} on its own")


def _array(data: bytes, dtype: np.dtype, shape: Any, order: str) -> np.ndarray:
    shape = (shape,) if isinstance(shape, int) else shape
    if not (
        isinstance(shape, tuple) and len(shape) <= 8 and all(isinstance(s, int) and s >= 0 for s in shape)
    ):
        raise _Unreadable(f"it holds an array of shape {shape!r}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise _Unreadable(f"an array of {dtype}{list(shape)} comes with {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))
