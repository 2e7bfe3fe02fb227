"""glTF 2.0 files (.gltf, .glb and what is built on them: .vrm, .vrma), read strictly: JSON and numbers, no
pictures, no network, no files outside the file's own folder.

Nothing is taken on trust: every index, offset, stride and length is checked before memory is taken, and only the
parts of a buffer that somebody asks for are read. Source: Khronos glTF 2.0 specification, 3.6 (accessors) and
4 (GLB).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

MAX_FILE_BYTES = 1 << 30
MAX_JSON_BYTES = 32 << 20
MAX_DATA_URI_BYTES = 256 << 20
MAX_VALUES = 50_000_000  # of one accessor
MAX_ITEMS = 100_000  # of one array in the JSON
_MAGIC = b"glTF"
_JSON_CHUNK = 0x4E4F534A
_BINARY_CHUNK = 0x004E4942
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_TYPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
# What would have to be understood to find the numbers.
_REFUSED = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class GltfError(ValueError):
    """Not a glTF file, or one that is damaged, hostile or of a kind that is not read."""


@dataclass(frozen=True)
class _Bytes:
    """A buffer: a part of a file, or bytes at hand."""

    length: int
    path: Path | None = None
    offset: int = 0
    content: bytes = b""

    def read(self, offset: int, count: int) -> bytes:
        if self.path is None:
            return self.content[offset : offset + count]
        with self.path.open("rb") as file:
            file.seek(self.offset + offset)
            return file.read(count)


class Gltf:
    """An open file. json: its top object. Raises GltfError and OSError."""

    def __init__(self, path):
        self.path = Path(path)
        size = self.path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise GltfError(f"{size} bytes, expected at most {MAX_FILE_BYTES}")
        with self.path.open("rb") as file:
            start = file.read(4)
        self._binary: _Bytes | None = None
        text = (
            self._chunks(size)
            if start == _MAGIC
            else self.path.read_bytes()
            if size <= MAX_JSON_BYTES
            else None
        )
        if text is None:
            raise GltfError(f"{size} bytes of JSON, expected at most {MAX_JSON_BYTES}")
        self.json = self._parsed(text)
        self._buffers: dict[int, _Bytes] = {}

    def _chunks(self, size: int) -> bytes:
        """The JSON of a .glb, and where its binary chunk lies."""
        with self.path.open("rb") as file:
            head = file.read(20)
            if len(head) < 20:
                raise GltfError("ends inside the header of a .glb")
            _, version, length, json_length, kind = struct.unpack("<4sIIII", head)
            if version != 2:
                raise GltfError(f"glTF version {version}, expected 2")
            if length > size or kind != _JSON_CHUNK or 20 + json_length > length:
                raise GltfError(
                    f"its header says {length} bytes with {json_length} of JSON; the file has {size}"
                )
            if json_length > MAX_JSON_BYTES:
                raise GltfError(f"{json_length} bytes of JSON, expected at most {MAX_JSON_BYTES}")
            text = file.read(json_length)
            at = 20 + json_length
            more = file.read(8)
        if len(more) == 8 and at + 8 <= length:
            count, kind = struct.unpack("<II", more)
            if kind == _BINARY_CHUNK:
                if at + 8 + count > length:
                    raise GltfError(f"its binary chunk says {count} bytes, {length - at - 8} are there")
                self._binary = _Bytes(count, self.path, at + 8)
        return text

    @staticmethod
    def _parsed(text: bytes) -> dict[str, Any]:
        try:
            top = json.loads(text.decode("utf-8-sig"))
        except (ValueError, RecursionError) as e:
            raise GltfError(f"no readable glTF JSON ({type(e).__name__}: {str(e)[:100]})") from None
        if not isinstance(top, dict) or not isinstance(top.get("asset"), dict):
            raise GltfError("no glTF: there is no 'asset' at its top")
        version = top["asset"].get("version")
        if not isinstance(version, str) or not version.startswith("2."):
            raise GltfError(f"asset.version: got {str(version)[:20]!r}, expected 2.0")
        required = top.get("extensionsRequired", [])
        bad = [e for e in required if e in _REFUSED] if isinstance(required, list) else []
        if bad:
            raise GltfError(f"{bad[0]}: compressed buffers are not read; save it without compression")
        return top

    def items(self, key: str) -> list[dict[str, Any]]:
        """A top-level array of objects; empty if there is none."""
        value = self.json.get(key, [])
        if (
            not isinstance(value, list)
            or len(value) > MAX_ITEMS
            or not all(isinstance(v, dict) for v in value)
        ):
            raise GltfError(f"{key}: expected an array of at most {MAX_ITEMS} objects")
        return value

    def item(self, key: str, index: object, where: str = "") -> dict[str, Any]:
        """One object of a top-level array. where: what refers to it, for the error."""
        values = self.items(key)
        if type(index) is not int or not 0 <= index < len(values):
            raise GltfError(
                f"{where or key}: got {str(index)[:30]}, expected an index of {len(values)} {key}"
            )
        return values[index]

    def accessor(self, index: object, kind: str, where: str) -> np.ndarray:
        """The numbers of an accessor as f64[count, components], integers divided where they are normalised.

        kind: "SCALAR", "VEC3", ...; where: what refers to it, for errors.
        """
        a = self.item("accessors", index, where)
        name = f"{where}: accessor {index}"
        if a.get("type") != kind:
            raise GltfError(f"{name}: got type {str(a.get('type'))[:20]!r}, expected {kind!r}")
        if a.get("componentType") not in _COMPONENTS:
            raise GltfError(
                f"{name}: got componentType {str(a.get('componentType'))[:20]}, expected 5120 to 5126"
            )
        dtype, width = np.dtype(_COMPONENTS[a["componentType"]]), _TYPES[kind]
        count = whole(a.get("count"), f"{name}: count", 1)
        if count * width > MAX_VALUES:
            raise GltfError(f"{name}: {count * width} numbers, expected at most {MAX_VALUES}")
        if "bufferView" in a:
            values = self._viewed(a, dtype, width, count, name).astype(np.float64)
        else:
            values = np.zeros((count, width))
        if "sparse" in a:
            self._replace(values, a["sparse"], dtype, f"{name}: sparse")
        if a.get("normalized") is True and dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(dtype).max, -1.0)
        if not np.isfinite(values).all():
            raise GltfError(f"{name}: holds NaN or infinite values")
        return values

    def _replace(self, values: np.ndarray, sparse: object, dtype: np.dtype, name: str) -> None:
        """Puts the values of a sparse accessor in their places."""
        parts = [sparse.get(key) for key in ("indices", "values")] if isinstance(sparse, dict) else [None]
        if not isinstance(sparse, dict) or not all(isinstance(p, dict) and "bufferView" in p for p in parts):
            raise GltfError(f"{name}: expected count, and indices and values with a bufferView each")
        where, what = (p for p in parts if isinstance(p, dict))
        if where.get("componentType") not in (5121, 5123, 5125):
            raise GltfError(
                f"{name}.indices: got componentType {str(where.get('componentType'))[:20]}, expected 5121, 5123 or 5125"
            )
        count, width = whole(sparse.get("count"), f"{name}.count", 1), values.shape[1]
        if count > len(values):
            raise GltfError(f"{name}.count: got {count}, expected at most {len(values)}")
        kind = np.dtype(_COMPONENTS[where["componentType"]])
        rows = self._viewed(where, kind, 1, count, f"{name}.indices")[:, 0].astype(np.int64)
        if rows.max() >= len(values) or (np.diff(rows) <= 0).any():
            raise GltfError(f"{name}.indices: expected growing numbers below {len(values)}")
        values[rows] = self._viewed(what, dtype, width, count, f"{name}.values")

    def _viewed(self, a: dict, dtype: np.dtype, width: int, count: int, name: str) -> np.ndarray:
        view = self.item("bufferViews", a["bufferView"], f"{name}: bufferView")
        buffer = self._buffer(view.get("buffer"), name)
        start = whole(view.get("byteOffset", 0), f"{name}: bufferView.byteOffset")
        length = whole(view.get("byteLength"), f"{name}: bufferView.byteLength", 1)
        if start + length > buffer.length:
            raise GltfError(f"{name}: its view ends at byte {start + length} of a buffer of {buffer.length}")
        size = dtype.itemsize * width
        stride = whole(view.get("byteStride", size), f"{name}: bufferView.byteStride", 1)
        offset = whole(a.get("byteOffset", 0), f"{name}: byteOffset")
        if stride < size or stride > 252 + size:
            raise GltfError(f"{name}: byteStride {stride}, expected {size} to 252")
        needed = stride * (count - 1) + size
        if offset + needed > length:
            raise GltfError(f"{name}: {count} elements end at byte {offset + needed} of a view of {length}")
        data = buffer.read(start + offset, needed)
        if len(data) != needed:
            raise GltfError(f"{name}: the file is cut short")
        steps = (stride, dtype.itemsize)
        return np.ndarray((count, width), dtype, data, strides=steps)

    def _buffer(self, index: object, name: str) -> _Bytes:
        spec = self.item("buffers", index, f"{name}: buffer")
        assert isinstance(index, int)
        if index not in self._buffers:
            self._buffers[index] = self._opened(spec, index)
        found = self._buffers[index]
        said = whole(spec.get("byteLength"), f"buffers[{index}].byteLength", 1)
        if said > found.length:
            raise GltfError(f"buffers[{index}]: says {said} bytes, {found.length} are there")
        return found

    def _opened(self, spec: dict, index: int) -> _Bytes:
        uri = spec.get("uri")
        if uri is None:
            if index != 0 or self._binary is None:
                raise GltfError(f"buffers[{index}]: has no uri, and the file has no binary chunk")
            return self._binary
        if not isinstance(uri, str):
            raise GltfError(f"buffers[{index}].uri: got {type(uri).__name__}, expected text")
        if uri.startswith("data:"):
            return self._data_uri(uri, index)
        return self._beside(uri, index)

    @staticmethod
    def _data_uri(uri: str, index: int) -> _Bytes:
        kind, comma, text = uri.partition(",")
        if not comma or not kind.endswith(";base64") or len(text) > MAX_DATA_URI_BYTES:
            raise GltfError(
                f"buffers[{index}].uri: expected data:...;base64 of at most {MAX_DATA_URI_BYTES} characters"
            )
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise GltfError(f"buffers[{index}].uri: no base64") from None
        return _Bytes(len(content), content=content)

    def _beside(self, uri: str, index: int) -> _Bytes:
        """A file in the folder of this one, or in a folder below it."""
        name = unquote(uri)
        folder = self.path.parent.resolve()
        parts = name.split("/")
        if ":" in name or "\\" in name or "\0" in name or name.startswith("/") or ".." in parts:
            raise GltfError(
                f"buffers[{index}].uri: got {uri[:80]!r}, expected a file beside the glTF, or data:"
            )
        file = (folder / name).resolve()
        if not file.is_relative_to(folder) or not file.is_file():
            raise GltfError(f"buffers[{index}].uri: {uri[:80]!r} is not a file in the folder of the glTF")
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise GltfError(
                f"buffers[{index}].uri: {uri[:80]!r} has {size} bytes, expected at most {MAX_FILE_BYTES}"
            )
        return _Bytes(size, file)


def whole(value: object, name: str, low: int = 0) -> int:
    """A whole number from `low` to 2^40. Raises GltfError."""
    if type(value) is float and value.is_integer() and abs(value) < 2**40:
        value = int(value)
    if type(value) is not int or not low <= value < 2**40:
        raise GltfError(f"{name}: got {str(value)[:30]}, expected a whole number of at least {low}")
    return value


def floats(value: object, count: int, name: str) -> np.ndarray:
    """f64[count] of a JSON array. Raises GltfError."""
    if (
        not isinstance(value, list)
        or len(value) != count
        or not all(type(v) in (int, float) and math.isfinite(v) and abs(v) < 1e12 for v in value)
    ):
        raise GltfError(f"{name}: got {str(value)[:60]}, expected {count} finite numbers")
    return np.array(value, np.float64)
