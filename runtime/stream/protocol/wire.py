"""Wire layout: the 64-byte header and the blocks after it. docs/protocol.md is the specification."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple, TypeAlias

import numpy as np

from dinar_live.runtime.core.errors import ProtocolError

MAGIC = int.from_bytes(b"DNRL", "little")
VERSION = 1
HEADER = struct.Struct("<IHHIHHQQQQIIQ")
BLOCK = struct.Struct("<HHI")
HEADER_SIZE = HEADER.size
TYPE_OFFSET = 6
ID_OFFSET = 16
SEND_TIME_OFFSET = 40
MAX_BLOCKS = 32
ONLY_FORMAT = 1  # of a block that has one format
MATRIX_CAMERA = 1  # formats of CAMERA
OPENXR_CAMERA = 2
SHORT_FORMAT = 1  # formats of FORMAT
LONG_FORMAT = 2
STRAIGHT = 1  # flag of FRAME and FORMAT: colour is not multiplied by alpha
HAS_BACKGROUND = 2  # flag of FORMAT
FOLLOW = 1  # flag of SOURCE


class MessageType(IntEnum):
    HELLO = 1
    CAPS = 2
    RENDER = 3
    FRAME = 4
    SUPERSEDED = 5
    ERROR = 6
    BYE = 7
    TIME = 8
    DESCRIBE = 9


class BlockType(IntEnum):
    JSON = 1
    CAMERA = 2
    POSE = 3
    TRANSL = 4
    EXPRESSION = 5
    FORMAT = 6
    SOURCE = 7
    AVATAR = 8
    RENDERER = 9
    COLOR = 16
    ALPHA = 17
    DEPTH = 18
    TIMING = 19
    ERROR = 20
    RECT = 21
    BACKGROUND = 22
    SOURCE_TIME = 23
    RENDERED = 24


class ErrorCode(IntEnum):
    MALFORMED = 1
    VERSION = 2
    UNEXPECTED = 3
    HELLO_REQUIRED = 4
    ENCODING = 5
    LIMIT = 6
    BAD_ID = 7
    CLIENTS = 8
    REFUSED = 9
    RENDER_FAILED = 10
    CLOSING = 11
    UNKNOWN_AVATAR = 12
    RATE = 13


class WireError(ProtocolError):
    """A ProtocolError that knows its ErrorCode."""

    def __init__(self, text: str, code: ErrorCode = ErrorCode.MALFORMED):
        super().__init__(text)
        self.code = code


class Header(NamedTuple):
    """The fields of a message header that carry information; times in nanoseconds of the writer's monotonic
    clock."""

    type: int
    flags: int
    blocks: int
    id: int
    client_time_ns: int
    server_recv_ns: int
    server_send_ns: int
    session: int
    body_offset: int


class Block(NamedTuple):
    """One block of a decoded message; `data` is a view into it and `offset` its place there, in bytes."""

    type: int
    format: int
    offset: int
    data: memoryview


BlockParts: TypeAlias = tuple[int, int, bytes | bytearray | memoryview | np.ndarray]
"""A block to be written: its type, its format and its data."""


def pack(
    type: int,
    blocks: Iterable[BlockParts],
    *,
    flags=0,
    id=0,
    client_time_ns=0,
    server_recv_ns=0,
    server_send_ns=0,
    session=0,
) -> bytearray:
    """One message from `blocks` = [(type, format, bytes-like or array, strided ones too)]; every payload is
    copied exactly once."""
    blocks = list(blocks)
    sizes = [v.nbytes if isinstance(v, np.ndarray) else len(v) for _, _, v in blocks]
    body = sum(BLOCK.size + (n + 7 & ~7) for n in sizes)
    out = bytearray(HEADER_SIZE + body)  # zeroed, so is the padding
    HEADER.pack_into(
        out,
        0,
        MAGIC,
        VERSION,
        type,
        flags,
        HEADER_SIZE,
        len(sizes),
        id,
        client_time_ns,
        server_recv_ns,
        server_send_ns,
        body,
        session,
        0,
    )
    at = HEADER_SIZE
    for (t, f, v), n in zip(blocks, sizes, strict=True):
        BLOCK.pack_into(out, at, t, f, n)
        at += BLOCK.size
        if isinstance(v, np.ndarray):
            np.ndarray(v.shape, v.dtype, out, at)[...] = v
        else:
            out[at : at + n] = v
        at += n + 7 & ~7
    return out


def unpack_header(data) -> Header:
    """The header of a message, checked against the message's length. Raises WireError."""
    size = len(data)
    if size < HEADER_SIZE:
        raise WireError(f"message of {size} bytes, expected at least the {HEADER_SIZE} of the header")
    magic, version, type, flags, header_len, blocks, id, client, recv, send, body, session, _ = (
        HEADER.unpack_from(data)
    )
    if magic != MAGIC:
        raise WireError(
            f"magic number {magic:#010x}, expected {MAGIC:#010x}: this is not a dinar-live message"
        )
    if version != VERSION:
        raise WireError(
            f"protocol version {version}, expected {VERSION}: update the older side", ErrorCode.VERSION
        )
    if header_len < HEADER_SIZE or header_len % 8 or header_len + body != size:
        raise WireError(f"header says {header_len} + {body} bytes, the message has {size}")
    if blocks > MAX_BLOCKS:
        raise WireError(f"{blocks} blocks, at most {MAX_BLOCKS} are allowed")
    return Header(type, flags, blocks, id, client, recv, send, session, header_len)


def peek(data) -> tuple[int, int, int]:
    """Type, id and client_time_ns of a message that was refused, each 0 where it cannot be known: the message
    is cut off before it, is none of ours, or is of another version, which may have them elsewhere. Only the
    type is read whatever the version is. Never raises."""
    if len(data) < TYPE_OFFSET + 2 or int.from_bytes(data[:4], "little") != MAGIC:
        return 0, 0, 0
    version, type = struct.unpack_from("<HH", data, 4)
    if version != VERSION or len(data) < HEADER_SIZE:
        return type, 0, 0
    _, _, _, _, _, _, id, client_time_ns, *_ = HEADER.unpack_from(data)
    return type, id, client_time_ns


def unpack_blocks(data, header: Header) -> list[Block]:
    """The blocks of a message whose header was checked; lengths must sum up exactly. Raises WireError."""
    view = memoryview(data)
    at, end, blocks = header.body_offset, len(view), []
    for number in range(header.blocks):
        if at + BLOCK.size > end:
            raise WireError(
                f"block {number} of {header.blocks} starts at byte {at}, the message ends at {end}"
            )
        type, format, length = BLOCK.unpack_from(view, at)
        at += BLOCK.size
        padded = length + 7 & ~7
        if padded > end - at:
            raise WireError(f"block {number} (type {type}) says {length} bytes, {end - at} are left")
        if padded != length and any(view[at + length : at + padded]):
            raise WireError(f"block {number} (type {type}): the padding is not zero")
        blocks.append(Block(type, format, at, view[at : at + length]))
        at += padded
    if at != end:
        raise WireError(f"{end - at} bytes after the last block")
    return blocks
