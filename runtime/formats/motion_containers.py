"""The numbers in files that researchers save with torch.save, joblib.dump or pickle, read without running
anything in them.

What a file asks for by name is never looked up: `restricted_unpickle` interprets the pickle over plain
containers, and the few names that stand for arrays become descriptions, whose numbers are read from the file
when somebody wants them.
"""

from __future__ import annotations

import math
import pathlib
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dinar_live.runtime.core.errors import InputError, MotionError

from .pickles import load_pickle
from .restricted_unpickle import Inert, UnpickleError, pairs, read_pickle

# A clip's dict has some 5 to 50 kB of pickle besides its numbers; the limits keep a hostile file from taking
# long.
MAX_PICKLE_BYTES = 512 << 10
MAX_STEPS = 500_000
MAX_ARRAY_BYTES = 1 << 30
_LOCAL_HEADER = struct.Struct(
    "<4s22xHH"
)  # of a zip member: signature, then the lengths of name and extra field
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")


@dataclass(frozen=True)
class Stored:
    """An array that still lies in its file. `load()` reads it."""

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]


def read_container(path) -> object:
    """What a .pt/.pth (torch.save), joblib.dump or plain pickle file holds: containers, numbers, text and
    `Stored` arrays or arrays.

    Nothing in the file is executed or imported. Raises MotionError naming the file.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if zipfile.is_zipfile(path) and start[:2] == b"PK":
            return _torch(path)
        if b"joblib.numpy_pickle" in start or b"joblib" in start:
            return _joblib(path)
        if start[:1] in (b"x", b"\x1f", b"B"):
            raise MotionError(f"{path}: compressed; save it without compression")
        try:
            return load_pickle(path)
        except InputError as e:
            if "joblib" in str(e):
                return _joblib(path)
            raise MotionError(str(e)) from None
    except UnpickleError as e:
        raise MotionError(f"{path}: not a readable file of numbers ({e})") from None
    except (
        OSError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        struct.error,
        ValueError,
        OverflowError,
        MemoryError,
    ) as e:
        raise MotionError(f"{path}: cannot be read ({type(e).__name__}: {str(e)[:200]})") from None


def _stored(
    path: pathlib.Path,
    offset: int,
    dtype: np.dtype,
    shape: tuple[int, ...],
    order="C",
    stride=None,
    span: int = 0,
) -> Stored:
    """An array at `offset` bytes in the file; stride in elements, over `span` of them, where it is a view."""
    count = span if stride is not None else math.prod(shape)
    if count * dtype.itemsize > MAX_ARRAY_BYTES:

        def load():
            raise MotionError(
                f"{path}: an array of {count * dtype.itemsize} bytes, expected at most {MAX_ARRAY_BYTES}"
            )
    else:

        def load():
            flat = np.fromfile(path, dtype, count, offset=offset)
            if len(flat) != count:
                raise MotionError(f"{path}: ends inside an array, the file is cut short")
            if stride is None:
                return flat.reshape(shape, order=order)
            return np.lib.stride_tricks.as_strided(flat, shape, [s * dtype.itemsize for s in stride]).copy()

    return Stored(shape, load)


def _sizes(value) -> tuple[int, ...]:
    """A shape that may be believed."""
    if (
        not isinstance(value, tuple)
        or len(value) > 8
        or any(type(n) is not int or n < 0 for n in value)
        or math.prod(value) >= 1 << 48
    ):
        raise UnpickleError(f"an array of impossible shape {str(value)[:60]}")
    return value


_PLAIN = {
    ("collections", "OrderedDict"): lambda items=(): pairs(items),
    ("collections", "defaultdict"): lambda *_: {},
    ("builtins", "dict"): lambda items=(): pairs(items),
}


# torch.save since 1.6: a zip whose data.pkl refers to storages, which are members of the zip


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype
    key: str
    numel: int


def _torch(path: pathlib.Path) -> object:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        roots = [name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise MotionError(
                f"{path}: a zip file with {len(roots)} data.pkl, expected the one of torch.save"
            )
        content = members[roots[0] + "data.pkl"]
        if content.file_size > MAX_PICKLE_BYTES or content.compress_type != zipfile.ZIP_STORED:
            raise MotionError(
                f"{path}: data.pkl is compressed or larger than {MAX_PICKLE_BYTES} bytes, expected a clip"
            )
        data = archive.read(content)

    def persistent(pid):
        if (
            isinstance(pid, tuple)
            and len(pid) == 5
            and isinstance(pid[1], np.dtype)
            and isinstance(pid[2], str)
            and type(pid[4]) is int
        ):
            return _Storage(pid[1], pid[2], pid[4])
        return Inert("persistent id")

    def tensor(storage, offset, size, stride, *_):
        if not isinstance(storage, _Storage):
            return Inert("tensor of an unknown storage")
        shape, stride = _sizes(size), _sizes(stride)
        span = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
        if (
            type(offset) is not int
            or offset < 0
            or math.prod(shape) > storage.numel
            or offset + span > storage.numel
        ):
            raise UnpickleError("a tensor that reaches beyond its storage")
        member = members.get(f"{roots[0]}data/{storage.key}")
        if (
            member is None
            or member.compress_type != zipfile.ZIP_STORED
            or member.file_size < storage.numel * storage.dtype.itemsize
        ):
            raise UnpickleError("the numbers of a tensor are missing, compressed or too short")
        with path.open("rb") as file:
            file.seek(member.header_offset)
            signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        if signature != b"PK\x03\x04":
            raise UnpickleError("damaged zip member")
        begin = member.header_offset + _LOCAL_HEADER.size + name + extra + offset * storage.dtype.itemsize
        return _stored(path, begin, storage.dtype, shape, stride=stride, span=span)

    constructors = _PLAIN | {("torch._utils", "_rebuild_tensor_v2"): tensor}
    constructors |= {("torch", name): np.dtype(code) for name, code in _STORAGES.items()}
    return read_pickle(data, constructors, persistent)


# joblib.dump: a pickle with the bytes of each array in between, behind the NumpyArrayWrapper that describes
# it


class _Wrapper:
    """Stands for a NumpyArrayWrapper."""


@dataclass(frozen=True)
class _Described:
    """A pickled numpy dtype; its byte order comes in a state that is only seen in passing."""

    code: str


def _dtype(code, *_) -> _Described:
    if not isinstance(code, str) or len(code) > 3 or code[:1] not in "biuf" or not code[1:].isdigit():
        return _Described("")
    return _Described(code)


def _scalar(dtype, data=None, *_):
    if not isinstance(dtype, _Described) or not dtype.code or not isinstance(data, bytes):
        return Inert("numpy scalar")
    kind = np.dtype(dtype.code)
    return np.frombuffer(data, kind)[0].item() if len(data) == kind.itemsize else Inert("numpy scalar")


def _joblib(path: pathlib.Path) -> object:
    wrapper = ("joblib.numpy_pickle", "NumpyArrayWrapper")
    names = _PLAIN | {("numpy", "dtype"): _dtype, wrapper: lambda *_: _Wrapper()}
    names |= {(module, "scalar"): _scalar for module in _NUMPY}
    size = path.stat().st_size
    pickle, arrays, steps = bytearray(), [], 0
    with path.open("rb") as file:
        operations = pickletools.genops(file)
        start = 0
        for count, (operation, _, position) in enumerate(operations):
            end = file.tell()
            if len(pickle) + end - start > MAX_PICKLE_BYTES:
                raise UnpickleError(f"more than {MAX_PICKLE_BYTES} bytes besides its arrays")
            if operation.name == "BUILD":
                steps += count
                if steps > MAX_STEPS:
                    raise UnpickleError("too many arrays for a clip")
                # the pickle so far, ended so that it yields the object and the state that it is about to get
                built, state = read_pickle(bytes(pickle) + b"\x86.", names)
                if (
                    isinstance(built, _Described)
                    and isinstance(state, tuple)
                    and len(state) > 1
                    and state[1] == ">"
                ):
                    raise UnpickleError("saved on a big-endian machine")
                if isinstance(built, _Wrapper):
                    arrays.append(_wrapped(path, file, state, size))
            pickle += _between(file, position, end)
            start = file.tell()
    waiting = iter(arrays)
    return read_pickle(bytes(pickle), names | {wrapper: lambda *_: next(waiting, None)})


def _between(file, begin: int, end: int) -> bytes:
    """Bytes begin..end of the file, which stays where it is."""
    here = file.tell()
    file.seek(begin)
    data = file.read(end - begin)
    file.seek(here)
    return data


def _wrapped(path: pathlib.Path, file, state, size: int) -> object:
    """The array behind a wrapper; the file goes on behind it."""
    if not isinstance(state, dict):
        raise UnpickleError("an array without a description")
    shape, dtype, order = _sizes(state.get("shape")), state.get("dtype"), state.get("order")
    if not isinstance(dtype, _Described) or not dtype.code or order not in ("C", "F"):
        raise UnpickleError("an array of objects, which holds no numbers")
    dtype = np.dtype(dtype.code)
    if (
        "numpy_array_alignment_bytes" in state
    ):  # joblib >= 1.2: one byte says how many bytes of padding follow
        padding = file.read(1)
        file.seek(padding[0] if padding else 0, 1)
    offset = file.tell()
    if offset + math.prod(shape) * dtype.itemsize > size:
        raise UnpickleError("ends inside an array, the file is cut short")
    file.seek(offset + math.prod(shape) * dtype.itemsize)
    return _stored(path, offset, dtype, shape, order)
