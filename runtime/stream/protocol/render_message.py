"""RENDER: the blocks of a request."""

from __future__ import annotations

import math
import struct

import numpy as np

from dinar_live.runtime.core.errors import InputError

from .fields import camera_block, expect, floats, name_bytes, read_camera, read_floats, read_name
from .messages import (
    INVERSE_DEFLATE,
    JPEG,
    MAX_CAMERAS,
    MAX_DEPTH,
    MAX_EXPRESSION,
    MIN_DEPTH,
    NO_PLANE,
    RAW,
    Format,
    PoseValues,
    RenderRequest,
    SourceChoice,
)
from .wire import (
    FOLLOW,
    HAS_BACKGROUND,
    LONG_FORMAT,
    ONLY_FORMAT,
    SHORT_FORMAT,
    STRAIGHT,
    Block,
    BlockParts,
    BlockType,
    ErrorCode,
    Header,
    WireError,
)

JOINTS = 55
MAX_ANGLE = float(np.float32(4 * math.pi))  # as the nearest float32: what a client at the limit sends
MAX_TRANSL = 1e4
MAX_COEFFICIENT = 100.0
MAX_SOURCE_TIME = 1e7

FORMAT_LAYOUT = struct.Struct("<BBBBI")
LONG_FORMAT_LAYOUT = struct.Struct("<BBBBIBBBxHxxff")
SOURCE_LAYOUT = struct.Struct("<HHId")
_ZERO_TRANSL = np.zeros(3, np.float32)
_NO_EXPRESSION = np.zeros(0, np.float32)
for _a in (_ZERO_TRANSL, _NO_EXPRESSION):
    _a.flags.writeable = False


def render_blocks(request: RenderRequest) -> list[BlockParts]:
    """The blocks of `request`. Raises InputError."""
    blocks: list[BlockParts] = [camera_block(c) for c in request.cameras]
    if request.avatar:
        blocks.append((BlockType.AVATAR, ONLY_FORMAT, name_bytes("avatar", request.avatar)))
    if request.renderer is not None:
        blocks.append((BlockType.RENDERER, ONLY_FORMAT, name_bytes("renderer", request.renderer)))
    if request.pose is not None:
        expression = np.ravel(request.pose.expression)
        if len(expression) > MAX_EXPRESSION:
            raise InputError(
                f"pose.expression: {len(expression)} coefficients, at most {MAX_EXPRESSION} are allowed"
            )
        blocks += [
            (BlockType.POSE, ONLY_FORMAT, floats("pose.body", request.pose.body, (JOINTS, 3))),
            (BlockType.TRANSL, ONLY_FORMAT, floats("pose.transl", request.pose.transl, (3,))),
        ]
        if len(expression):
            blocks.append(
                (BlockType.EXPRESSION, ONLY_FORMAT, floats("pose.expression", expression, expression.shape))
            )
    if request.source is not None:
        blocks.append(_source_block(request.source, request.pose is not None))
    blocks.append(_format_block(request.format))
    return blocks


def _source_block(source: SourceChoice, posed: bool) -> BlockParts:
    index, time, follow = source
    if posed:
        raise InputError("source: the request has a pose too; send one of them")
    if not (0 <= index < 65536 and abs(time) <= MAX_SOURCE_TIME):
        raise InputError(
            f"source: got index {index} and time {time:g}, expected 0..65535 and at most {MAX_SOURCE_TIME:g} seconds"
        )
    return BlockType.SOURCE, ONLY_FORMAT, SOURCE_LAYOUT.pack(index, FOLLOW * follow, 0, time)


def _format_block(f: Format) -> BlockParts:
    if (f.background, f.margin, f.near, f.far) == (None, 0, 0, 0):
        return (
            BlockType.FORMAT,
            SHORT_FORMAT,
            FORMAT_LAYOUT.pack(f.color, f.quality, f.alpha, f.depth, STRAIGHT * f.straight),
        )
    flags = STRAIGHT * f.straight | HAS_BACKGROUND * (f.background is not None)
    return (
        BlockType.FORMAT,
        LONG_FORMAT,
        LONG_FORMAT_LAYOUT.pack(
            f.color, f.quality, f.alpha, f.depth, flags, *(f.background or (0, 0, 0)), f.margin, f.near, f.far
        ),
    )


def decode_render(data, header: Header, blocks: list[Block]) -> RenderRequest:
    """The request in a RENDER message. Raises WireError."""
    cameras, found = [], {}
    for block in blocks:
        match block.type:
            case BlockType.CAMERA:
                if len(cameras) == MAX_CAMERAS:
                    raise WireError(f"RENDER: more than {MAX_CAMERAS} cameras", ErrorCode.LIMIT)
                cameras.append(read_camera(data, block))
                continue
            case BlockType.POSE:
                expect(block, JOINTS * 12)
                value = read_floats(data, block, (JOINTS, 3), MAX_ANGLE)
            case BlockType.TRANSL:
                expect(block, 12)
                value = read_floats(data, block, (3,), MAX_TRANSL)
            case BlockType.EXPRESSION:
                expect(block)
                count, rest = divmod(len(block.data), 4)
                if rest or count > MAX_EXPRESSION:
                    raise WireError(
                        f"EXPRESSION: {len(block.data)} bytes, expected a multiple of 4 up to {4 * MAX_EXPRESSION}"
                    )
                value = read_floats(data, block, (count,), MAX_COEFFICIENT)
            case BlockType.AVATAR:
                expect(block)
                value = read_name("AVATAR", block.data)
            case BlockType.RENDERER:
                expect(block)
                value = read_name("RENDERER", block.data)
            case BlockType.SOURCE:
                value = _read_source(block)
            case BlockType.FORMAT:
                value = _read_format(block)
            case _:
                continue
        if block.type in found:
            raise WireError(f"RENDER: two {BlockType(block.type).name} blocks")
        found[block.type] = value
    if not cameras:
        raise WireError("RENDER: no CAMERA block")
    if not header.id:
        raise WireError("RENDER: id 0, ids start at 1", ErrorCode.BAD_ID)
    body, source = found.get(BlockType.POSE), found.get(BlockType.SOURCE)
    if body is None and (BlockType.TRANSL in found or BlockType.EXPRESSION in found):
        raise WireError("RENDER: TRANSL or EXPRESSION without POSE")
    if body is not None and source is not None:
        raise WireError("RENDER: SOURCE and POSE exclude each other")
    pose = None
    if body is not None:
        pose = PoseValues(
            body, found.get(BlockType.TRANSL, _ZERO_TRANSL), found.get(BlockType.EXPRESSION, _NO_EXPRESSION)
        )
    return RenderRequest(
        header.id,
        tuple(cameras),
        pose,
        found.get(BlockType.FORMAT) or Format(),
        header.client_time_ns,
        header.session,
        source,
        found.get(BlockType.AVATAR, ""),
        found.get(BlockType.RENDERER),
    )


def _read_source(block: Block) -> SourceChoice:
    expect(block, SOURCE_LAYOUT.size)
    index, flags, _, time = SOURCE_LAYOUT.unpack(block.data)
    if not abs(time) <= MAX_SOURCE_TIME:  # NaN fails this as well
        raise WireError(f"SOURCE: time {time}, expected at most {MAX_SOURCE_TIME:g} seconds in magnitude")
    return SourceChoice(index, time, bool(flags & FOLLOW))


def _read_format(block: Block) -> Format:
    background, margin, near, far = None, 0, 0.0, 0.0
    if block.format == LONG_FORMAT:
        expect(block, LONG_FORMAT_LAYOUT.size, LONG_FORMAT)
        color, quality, alpha, depth, flags, *rgb, margin, near, far = LONG_FORMAT_LAYOUT.unpack(block.data)
        background = tuple(rgb) if flags & HAS_BACKGROUND else None
    else:
        expect(block, FORMAT_LAYOUT.size)
        color, quality, alpha, depth, flags = FORMAT_LAYOUT.unpack(block.data)
    if color not in (JPEG, RAW) or alpha > INVERSE_DEFLATE or depth > INVERSE_DEFLATE:
        raise WireError(
            f"FORMAT: colour encoding {color}, alpha {alpha}, depth {depth}; expected colour {JPEG} (JPEG) or {RAW} (RGBA), "
            f"alpha and depth {NO_PLANE}..{INVERSE_DEFLATE}",
            ErrorCode.ENCODING,
        )
    if color == JPEG and not 1 <= quality <= 100:
        raise WireError(f"FORMAT: JPEG quality {quality}, expected 1..100", ErrorCode.ENCODING)
    if color == RAW and alpha != NO_PLANE:
        raise WireError(
            f"FORMAT: raw RGBA has its alpha in it, expected alpha plane {NO_PLANE}, got {alpha}",
            ErrorCode.ENCODING,
        )
    if background is not None and (alpha != NO_PLANE or flags & STRAIGHT):
        raise WireError(
            "FORMAT: a frame over a background is opaque, expected alpha 0 and not straight",
            ErrorCode.ENCODING,
        )
    if not (near == far == 0 or MIN_DEPTH <= near < far <= MAX_DEPTH):
        raise WireError(
            f"FORMAT: near {near:g} and far {far:g}, expected 0 and 0, or {MIN_DEPTH:g} <= near < far <= {MAX_DEPTH:g}"
        )
    return Format(color, quality, alpha, depth, bool(flags & STRAIGHT), background, margin, near, far)
