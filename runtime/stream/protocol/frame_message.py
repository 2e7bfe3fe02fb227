"""FRAME: the blocks of an answer."""

from __future__ import annotations

import math
import struct

from .fields import camera_block, expect, name_bytes, read_camera, read_name
from .messages import (
    DEFLATE_PLANE,
    HALF_DEFLATE,
    HALF_RAW,
    INVERSE_DEFLATE,
    INVERSE_RAW,
    JPEG,
    MAX_CAMERAS,
    MAX_TIMINGS,
    RAW,
    RAW_PLANE,
    CameraView,
    EncodedView,
    FrameMessage,
    Plane,
    Rect,
    Rendered,
)
from .wire import ONLY_FORMAT, STRAIGHT, Block, BlockParts, BlockType, ErrorCode, Header, WireError

NEAR_FAR = struct.Struct("<ff")  # at the start of inverse depth
RECT_LAYOUT = struct.Struct("<HHHH")
TIMING_NAME_SIZE = 12
TIMING_LAYOUT = struct.Struct(f"<{TIMING_NAME_SIZE}sf")
BACKGROUND_LAYOUT = struct.Struct("<BBBx")
SOURCE_TIME_LAYOUT = struct.Struct("<Q")
SCALE_LAYOUT = struct.Struct("<f")  # at the start of RENDERED


def frame_blocks(frame: FrameMessage) -> list[BlockParts]:
    """The blocks of `frame`."""
    blocks: list[BlockParts] = []
    if frame.background is not None:
        blocks.append((BlockType.BACKGROUND, ONLY_FORMAT, BACKGROUND_LAYOUT.pack(*frame.background)))
    if frame.source_time_ns is not None:
        blocks.append((BlockType.SOURCE_TIME, ONLY_FORMAT, SOURCE_TIME_LAYOUT.pack(frame.source_time_ns)))
    if frame.rendered is not None:
        name = name_bytes("rendered", frame.rendered.renderer)
        blocks.append((BlockType.RENDERED, ONLY_FORMAT, SCALE_LAYOUT.pack(frame.rendered.scale) + name))
    for view in frame.views:
        blocks += [
            camera_block(view.camera),
            (BlockType.RECT, ONLY_FORMAT, RECT_LAYOUT.pack(*view.rect)),
            (BlockType.COLOR, view.color.encoding, view.color.data),
        ]
        if view.alpha is not None:
            blocks.append((BlockType.ALPHA, view.alpha.encoding, view.alpha.data))
        if view.depth is not None:
            blocks.append((BlockType.DEPTH, view.depth.encoding, view.depth.data))
    timings = list(frame.timings.items())[:MAX_TIMINGS]
    blocks.append(
        (
            BlockType.TIMING,
            ONLY_FORMAT,
            b"".join(
                TIMING_LAYOUT.pack(name.encode("ascii", "replace")[:TIMING_NAME_SIZE], ms)
                for name, ms in timings
            ),
        )
    )
    return blocks


def decode_frame(data, header: Header, blocks: list[Block]) -> FrameMessage:
    """The frames in a FRAME message, still encoded. Raises WireError."""
    views, timings, background, source_time, rendered = [], {}, None, None, None
    for block in blocks:
        match block.type:
            case BlockType.CAMERA:
                if len(views) == MAX_CAMERAS:
                    raise WireError(f"FRAME: more than {MAX_CAMERAS} views")
                views.append({"camera": read_camera(data, block)})
            case BlockType.RECT | BlockType.COLOR | BlockType.ALPHA | BlockType.DEPTH:
                name = BlockType(block.type).name
                if not views or name.lower() in views[-1]:
                    raise WireError(f"FRAME: {name} without a CAMERA before it, twice, or after a plane")
                view = views[-1]
                if block.type == BlockType.RECT:
                    view["rect"] = _read_rect(block, view["camera"])
                else:
                    view.setdefault("rect", Rect(0, 0, view["camera"].width, view["camera"].height))
                    view[name.lower()] = _read_plane(name, block, view["rect"])
            case BlockType.BACKGROUND:
                expect(block, BACKGROUND_LAYOUT.size)
                background = BACKGROUND_LAYOUT.unpack(block.data)
            case BlockType.SOURCE_TIME:
                expect(block, SOURCE_TIME_LAYOUT.size)
                (source_time,) = SOURCE_TIME_LAYOUT.unpack(block.data)
            case BlockType.RENDERED:
                rendered = _read_rendered(block)
            case BlockType.TIMING:
                expect(block)
                timings = _read_timings(block)
    if not views or any("color" not in v for v in views):
        raise WireError("FRAME: a view without CAMERA or COLOR")
    if background is not None and any("alpha" in v for v in views):
        raise WireError("FRAME: BACKGROUND and ALPHA, expected one of them")
    return FrameMessage(
        header.id,
        tuple(EncodedView(**v) for v in views),
        timings,
        header.client_time_ns,
        header.server_recv_ns,
        header.server_send_ns,
        bool(header.flags & STRAIGHT),
        header.session,
        background,
        source_time,
        rendered,
    )


def _read_rect(block: Block, camera: CameraView) -> Rect:
    expect(block, RECT_LAYOUT.size)
    rect = Rect(*RECT_LAYOUT.unpack(block.data))
    if not (
        rect.width
        and rect.height
        and rect.x + rect.width <= camera.width
        and rect.y + rect.height <= camera.height
    ):
        raise WireError(
            f"RECT: {tuple(rect)} is empty or reaches out of the frame of {camera.width}x{camera.height}"
        )
    return rect


def _read_rendered(block: Block) -> Rendered:
    expect(block)
    if len(block.data) < SCALE_LAYOUT.size:
        raise WireError(f"RENDERED: {len(block.data)} bytes, expected at least {SCALE_LAYOUT.size}")
    (scale,) = SCALE_LAYOUT.unpack_from(block.data)
    if not 0 < scale <= 1:  # NaN fails this as well
        raise WireError(f"RENDERED: a scale of {scale:g}, expected more than 0 and at most 1")
    return Rendered(read_name("RENDERED", block.data[SCALE_LAYOUT.size :]), scale)


def half(side: int) -> int:
    """Pixels of a side at half resolution."""
    return (side + 1) // 2


# format -> bytes that a plane of w x h pixels has, None where it is compressed
_SIZES = {
    "COLOR": {JPEG: None, RAW: lambda w, h: 4 * w * h},
    "ALPHA": {
        RAW_PLANE: lambda w, h: w * h,
        DEFLATE_PLANE: None,
        HALF_RAW: lambda w, h: half(w) * half(h),
        HALF_DEFLATE: None,
    },
    "DEPTH": {
        RAW_PLANE: lambda w, h: 4 * w * h,
        DEFLATE_PLANE: None,
        INVERSE_RAW: lambda w, h: NEAR_FAR.size + 2 * w * h,
        INVERSE_DEFLATE: None,
    },
}


def _read_plane(name: str, block: Block, rect: Rect) -> Plane:
    sizes = _SIZES[name]
    if block.format not in sizes:
        raise WireError(
            f"{name}: encoding {block.format} is not known, expected {min(sizes)}..{max(sizes)}",
            ErrorCode.ENCODING,
        )
    size = sizes[block.format]
    if size is not None and len(block.data) != size(rect.width, rect.height):
        raise WireError(
            f"{name}: {len(block.data)} bytes, expected {size(rect.width, rect.height)} for {rect.width}x{rect.height}"
        )
    return Plane(block.format, block.data)


def _read_timings(block: Block) -> dict[str, float]:
    if len(block.data) % TIMING_LAYOUT.size or len(block.data) > MAX_TIMINGS * TIMING_LAYOUT.size:
        raise WireError(
            f"TIMING: {len(block.data)} bytes, expected a multiple of {TIMING_LAYOUT.size} up to {MAX_TIMINGS * TIMING_LAYOUT.size}"
        )
    timings = {}
    for name, ms in TIMING_LAYOUT.iter_unpack(block.data):
        name = name.rstrip(b"\0")
        if not (name.isascii() and name.decode("latin-1").isprintable() and 0 <= ms < math.inf):
            raise WireError(f"TIMING: {name!r} {ms}, expected printable ASCII and a finite time")
        timings[name.decode("ascii")] = ms
    return timings
