"""Reads what every engine must know of an ONNX file before it opens it: input and output names and that it is
self-contained.

A walk over the protobuf wire format (onnx.proto; field numbers below are its), so that it needs no onnx
package.
A model that names other files is refused: an engine would open any path written in it.
"""

import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass

from dinar_live.engines.base import EngineError, Shape

MAX_BYTES = 2**31 - 1  # protobuf's own limit
_MAX_NESTING = 16  # graphs within graphs; real models have none or two levels


@dataclass(frozen=True)
class OnnxFile:
    """A self-contained model: its bytes and the shapes of its inputs and outputs (None = symbolic)."""

    data: bytes
    source: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]


def load_onnx(onnx: bytes | str | os.PathLike) -> OnnxFile:
    """Model from bytes or a path; EngineError if it cannot be read, is not ONNX or needs other files."""
    if isinstance(onnx, (bytes, bytearray, memoryview)):
        data, source = bytes(onnx), f"the given {len(onnx)} bytes"
    elif isinstance(onnx, (str, os.PathLike)):
        source = os.fspath(onnx)
        try:
            data = pathlib.Path(onnx).read_bytes()
        except OSError as error:
            raise EngineError(f"cannot read the model {source}: {error.strerror or error}") from error
    else:
        raise EngineError(
            f"the model is a {type(onnx).__name__}; expected the bytes of an ONNX file or its path"
        )
    if len(data) > MAX_BYTES:
        raise EngineError(f"{source} has {len(data)} bytes; an ONNX file has at most {MAX_BYTES}")
    try:
        return _scan(data, source)
    except (IndexError, UnicodeDecodeError, _Malformed) as error:
        raise EngineError(f"{source} is not a valid ONNX model ({error}); export it again") from error


class _Malformed(Exception):
    pass


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise _Malformed("a number is too long")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            if size > len(data) - at:
                raise _Malformed("it ends too early")
            value, at = data[at : at + size], at + size
        else:
            raise _Malformed(f"unknown wire type {kind}")
        yield key >> 3, value


def _messages(data: memoryview, *numbers: int) -> Iterator[tuple[int, memoryview]]:
    for number, value in _fields(data):
        if number in numbers:
            if not isinstance(value, memoryview):
                raise _Malformed(f"field {number} is not a message")
            yield number, value


def _text(value: memoryview) -> str:
    return bytes(value).decode()


def _check_tensor(tensor: memoryview, where: str) -> None:
    name = ""
    external = False
    for number, value in _fields(tensor):
        if number == 8 and isinstance(value, memoryview):  # name
            name = _text(value)
        external |= number == 13 or (number == 14 and value == 1)  # external_data, data_location = EXTERNAL
    if external:
        raise EngineError(
            f"{where}: tensor {name!r} keeps its data in another file; only self-contained models are accepted: "
            "save it without external data"
        )


def _check_sparse(sparse: memoryview, where: str) -> None:
    for _, tensor in _messages(sparse, 1, 2):  # values, indices
        _check_tensor(tensor, where)


def _check_nodes(graph: memoryview, node_field: int, where: str, nesting: int) -> None:
    if nesting > _MAX_NESTING:
        raise EngineError(f"{where}: graphs are nested more than {_MAX_NESTING} deep; refused")
    for _, node in _messages(graph, node_field):
        for _, attribute in _messages(node, 5):
            for number, value in _messages(
                attribute, 5, 10, 6, 11, 22, 23
            ):  # t, tensors, g, graphs, sparse_tensor(s)
                if number in (5, 10):
                    _check_tensor(value, where)
                elif number in (6, 11):
                    _check_graph(value, where, nesting + 1)
                else:
                    _check_sparse(value, where)


def _check_graph(graph: memoryview, where: str, nesting: int = 0) -> None:
    for number, value in _messages(graph, 5, 15):  # initializer, sparse_initializer
        (_check_tensor if number == 5 else _check_sparse)(value, where)
    _check_nodes(graph, 1, where, nesting)


def _value_info(value: memoryview, where: str) -> tuple[str, Shape]:
    name, shape, element = "", None, 0
    for number, field in _messages(value, 1, 2):  # name, type
        if number == 1:
            name = _text(field)
            continue
        for _, tensor_type in _messages(field, 1):
            for key, part in _fields(tensor_type):
                if key == 1:
                    element = part
                elif key == 2 and isinstance(part, memoryview):
                    shape = tuple(_dimension(dim) for _, dim in _messages(part, 1))
    if element != 1 or shape is None:
        raise EngineError(f"{where}: {name!r} must be a float32 tensor with a known number of dimensions")
    return name, shape


def _dimension(dim: memoryview) -> int | None:
    value = None
    for number, field in _fields(dim):
        if number == 1 and isinstance(field, int):
            value = field if 0 < field < 2**63 else None  # 0 and negative are used for "unknown"
    return value


def _scan(data: bytes, source: str) -> OnnxFile:
    inputs, outputs, initializers = {}, {}, set()
    graphs = 0
    for number, message in _messages(memoryview(data), 7, 25):  # graph, functions
        if number == 25:
            _check_nodes(message, 7, source, 0)
            continue
        graphs += 1
        _check_graph(message, source)
        for field, value in _messages(message, 11, 12, 5):  # input, output, initializer
            if field == 5:
                initializers.update(_text(name) for _, name in _messages(value, 8))
            else:
                name, shape = _value_info(value, source)
                (inputs if field == 11 else outputs)[name] = shape
    inputs = {
        name: shape for name, shape in inputs.items() if name not in initializers
    }  # IR < 4 lists weights as inputs
    if graphs != 1 or not outputs:
        raise _Malformed("it has no graph with outputs")
    return OnnxFile(data, source, inputs, outputs)
