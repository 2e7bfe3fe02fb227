"""Messages to bytes and back: `encode(message)`, `decode(data)`. docs/protocol.md is the specification."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

from dinar_live.runtime.core.errors import InputError

from .fields import expect, name_bytes, read_name
from .frame_message import decode_frame, frame_blocks
from .messages import (
    MAX_ERROR_TEXT,
    MAX_JSON,
    Bye,
    Caps,
    Describe,
    ErrorMessage,
    FrameMessage,
    Hello,
    Message,
    RenderRequest,
    Superseded,
    Time,
)
from .render_message import decode_render, render_blocks
from .wire import (
    ONLY_FORMAT,
    STRAIGHT,
    Block,
    BlockType,
    ErrorCode,
    Header,
    MessageType,
    WireError,
    pack,
    unpack_blocks,
    unpack_header,
)


def encode(message: Message) -> bytearray:
    """The bytes of `message`. Raises InputError for values that no receiver would accept."""
    match message:
        case RenderRequest():
            return pack(
                MessageType.RENDER,
                render_blocks(message),
                id=message.id,
                client_time_ns=message.pose_time_ns,
                session=message.session,
            )
        case FrameMessage():
            return pack(
                MessageType.FRAME,
                frame_blocks(message),
                flags=STRAIGHT if message.straight else 0,
                id=message.id,
                client_time_ns=message.pose_time_ns,
                server_recv_ns=message.server_recv_ns,
                server_send_ns=message.server_send_ns,
                session=message.session,
            )
        case Superseded():
            return pack(
                MessageType.SUPERSEDED,
                (),
                id=message.id,
                client_time_ns=message.pose_time_ns,
                session=message.session,
            )
        case ErrorMessage():
            text = message.text.encode("utf-8", "replace")[:MAX_ERROR_TEXT].decode("utf-8", "ignore").encode()
            return pack(
                MessageType.ERROR,
                [(BlockType.ERROR, ONLY_FORMAT, struct.pack("<I", message.code) + text)],
                id=message.id,
                client_time_ns=message.pose_time_ns,
                session=message.session,
            )
        case Time():
            return pack(
                MessageType.TIME,
                (),
                id=message.id,
                client_time_ns=message.client_ns,
                server_recv_ns=message.server_recv_ns,
                server_send_ns=message.server_send_ns,
                session=message.session,
            )
        case Hello():
            return pack(
                MessageType.HELLO,
                [(BlockType.JSON, ONLY_FORMAT, _json_bytes(message.info))],
                session=message.session,
            )
        case Caps():
            return pack(
                MessageType.CAPS,
                [(BlockType.JSON, ONLY_FORMAT, _json_bytes(message.info))],
                id=message.id,
                session=message.session,
            )
        case Describe():
            blocks = (
                [(BlockType.AVATAR, ONLY_FORMAT, name_bytes("avatar", message.avatar))]
                if message.avatar
                else []
            )
            return pack(MessageType.DESCRIBE, blocks, id=message.id, session=message.session)
        case Bye():
            return pack(MessageType.BYE, (), session=message.session)
    raise TypeError(
        f"got a {type(message).__name__}, expected a message of dinar_live.runtime.stream.protocol.messages"
    )


def decode(data) -> Message:
    """The message in `data` (bytes-like); its arrays and planes are views into `data`. Raises ProtocolError
    and nothing else."""
    header = unpack_header(data)
    decoder = _DECODERS.get(header.type)
    if decoder is None:
        raise WireError(f"message type {header.type} is not known", ErrorCode.UNEXPECTED)
    return decoder(data, header, unpack_blocks(data, header))


def _json_bytes(info: dict) -> bytes:
    try:
        data = json.dumps(info, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise InputError(f"capabilities: not plain finite JSON ({e})") from None
    if len(data) > MAX_JSON:
        raise InputError(
            f"capabilities: {len(data)} bytes of JSON, at most {MAX_JSON} are allowed; offer less"
        )
    return data


def _refuse_constant(text: str):
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


def _decode_json(header: Header, blocks: list[Block]) -> dict:
    block = next((b for b in blocks if b.type == BlockType.JSON), None)
    if block is None:
        raise WireError(f"{MessageType(header.type).name}: no JSON block")
    expect(block)
    if len(block.data) > MAX_JSON:
        raise WireError(f"JSON: {len(block.data)} bytes, at most {MAX_JSON} are allowed", ErrorCode.LIMIT)
    try:
        info = json.loads(
            bytes(block.data).decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as e:
        raise WireError(f"JSON: {type(e).__name__}, expected a UTF-8 JSON object") from None
    if not isinstance(info, dict):
        raise WireError(f"JSON: got a {type(info).__name__}, expected an object")
    return info


def _decode_error(data, header: Header, blocks: list[Block]) -> ErrorMessage:
    block = next((b for b in blocks if b.type == BlockType.ERROR), None)
    if block is None:
        raise WireError("ERROR: no ERROR block")
    expect(block)
    if not 4 <= len(block.data) <= 4 + MAX_ERROR_TEXT:
        raise WireError(f"ERROR: {len(block.data)} bytes, expected 4..{4 + MAX_ERROR_TEXT}")
    (code,) = struct.unpack_from("<I", block.data)
    return ErrorMessage(
        header.id,
        code,
        bytes(block.data[4:]).decode("utf-8", "replace"),
        header.client_time_ns,
        header.session,
    )


def _decode_describe(header: Header, blocks: list[Block]) -> Describe:
    block = next((b for b in blocks if b.type == BlockType.AVATAR), None)
    if block is None:
        return Describe(header.id, "", header.session)
    expect(block)
    return Describe(header.id, read_name("AVATAR", block.data), header.session)


_DECODERS: dict[int, Callable[[Any, Header, list[Block]], Message]] = {
    MessageType.HELLO: lambda data, h, blocks: Hello(_decode_json(h, blocks), h.session),
    MessageType.CAPS: lambda data, h, blocks: Caps(_decode_json(h, blocks), h.session, h.id),
    MessageType.RENDER: decode_render,
    MessageType.FRAME: decode_frame,
    MessageType.SUPERSEDED: lambda data, h, blocks: Superseded(h.id, h.client_time_ns, h.session),
    MessageType.ERROR: _decode_error,
    MessageType.BYE: lambda data, h, blocks: Bye(h.session),
    MessageType.TIME: lambda data, h, blocks: Time(
        h.id, h.client_time_ns, h.server_recv_ns, h.server_send_ns, h.session
    ),
    MessageType.DESCRIBE: lambda data, h, blocks: _decode_describe(h, blocks),
}
