"""Messages to bytes and back: `encode(message)`, `decode(data)`. docs/protocol.md is the specification."""
from __future__ import annotations

import json
import math
import struct

import numpy as np

from ..errors import InputError
from .messages import (
    DEFLATE_PLANE,
    JPEG,
    MAX_CAMERAS,
    MAX_ERROR_TEXT,
    MAX_EXPRESSION,
    MAX_JSON,
    MAX_TIMINGS,
    NO_PLANE,
    RAW,
    RAW_PLANE,
    Bye,
    CameraView,
    Caps,
    EncodedView,
    ErrorMessage,
    Format,
    FrameMessage,
    Hello,
    Message,
    Plane,
    PoseValues,
    Rect,
    RenderRequest,
    SourceChoice,
    Superseded,
    Time,
)
from .wire import STRAIGHT, Block, BlockType, ErrorCode, Header, MessageType, WireError, pack, unpack_blocks, unpack_header

JOINTS = 55
MAX_ANGLE = float(np.float32(4 * math.pi))     # as the nearest float32: what a client at the limit sends
MAX_CAMERA = 1e6
MAX_TRANSL = 1e4
MAX_COEFFICIENT = 100.0
MAX_SOURCE_TIME = 1e7

_FORMAT = struct.Struct("<BBBBI")
_SIZE = struct.Struct("<HH")
_RECT = struct.Struct("<HHHH")
_SOURCE = struct.Struct("<HHId")
_CAMERA_BYTES = 25 * 4 + _SIZE.size
_TIMING = struct.Struct("<12sf")
_ZERO_TRANSL = np.zeros(3, np.float32)
_NO_EXPRESSION = np.zeros(0, np.float32)
for _a in (_ZERO_TRANSL, _NO_EXPRESSION):
    _a.flags.writeable = False


def encode(message: Message) -> bytearray:
    """The bytes of `message`. Raises InputError for values that no receiver would accept."""
    match message:
        case RenderRequest():
            return pack(MessageType.RENDER, _render_blocks(message), id=message.id, client_time_ns=message.pose_time_ns,
                        session=message.session)
        case FrameMessage():
            return pack(MessageType.FRAME, _frame_blocks(message), flags=STRAIGHT if message.straight else 0, id=message.id,
                        client_time_ns=message.pose_time_ns, server_recv_ns=message.server_recv_ns,
                        server_send_ns=message.server_send_ns, session=message.session)
        case Superseded():
            return pack(MessageType.SUPERSEDED, (), id=message.id, client_time_ns=message.pose_time_ns, session=message.session)
        case ErrorMessage():
            text = message.text.encode("utf-8", "replace")[:MAX_ERROR_TEXT].decode("utf-8", "ignore").encode()
            return pack(MessageType.ERROR, [(BlockType.ERROR, 1, struct.pack("<I", message.code) + text)],
                        id=message.id, client_time_ns=message.pose_time_ns, session=message.session)
        case Time():
            return pack(MessageType.TIME, (), id=message.id, client_time_ns=message.client_ns, server_recv_ns=message.server_recv_ns,
                        server_send_ns=message.server_send_ns, session=message.session)
        case Hello() | Caps():
            type = MessageType.HELLO if isinstance(message, Hello) else MessageType.CAPS
            return pack(type, [(BlockType.JSON, 1, _json_bytes(message.info))], session=message.session)
        case Bye():
            return pack(MessageType.BYE, (), session=message.session)
    raise TypeError(f"got a {type(message).__name__}, expected a message of dinar_live.runtime.stream.messages")


def decode(data) -> Message:
    """The message in `data` (bytes-like); its arrays and planes are views into `data`. Raises ProtocolError and nothing else."""
    header = unpack_header(data)
    decoder = _DECODERS.get(header.type)
    if decoder is None:
        raise WireError(f"message type {header.type} is not known", ErrorCode.UNEXPECTED)
    return decoder(data, header, unpack_blocks(data, header))


# ---- encoding -------------------------------------------------------------------------------------------------------

def _json_bytes(info: dict) -> bytes:
    try:
        data = json.dumps(info, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise InputError(f"capabilities: not plain finite JSON ({e})") from None
    if len(data) > MAX_JSON:
        raise InputError(f"capabilities: {len(data)} bytes of JSON, at most {MAX_JSON} are allowed; offer less")
    return data


def _floats(name: str, value, shape: tuple[int, ...]) -> bytes:
    try:
        array = np.ascontiguousarray(value, "<f4")
    except (TypeError, ValueError) as e:
        raise InputError(f"{name}: not an array of numbers ({e})") from None
    if array.shape != shape:
        raise InputError(f"{name}: got shape {list(array.shape)}, expected {list(shape)}")
    return array.tobytes()


def _camera_block(camera: CameraView):
    try:
        size = _SIZE.pack(camera.width, camera.height)
    except struct.error:
        raise InputError(f"size: got {camera.width}x{camera.height}, expected 1..65535 pixels a side") from None
    matrices = _floats("camera.K", camera.K, (3, 3)) + _floats("camera.world_to_camera", camera.world_to_camera, (4, 4))
    return BlockType.CAMERA, 1, matrices + size


def _render_blocks(request: RenderRequest) -> list:
    blocks = [_camera_block(c) for c in request.cameras]
    if request.pose is not None:
        expression = np.ravel(request.pose.expression)
        if len(expression) > MAX_EXPRESSION:
            raise InputError(f"pose.expression: {len(expression)} coefficients, at most {MAX_EXPRESSION} are allowed")
        blocks += [(BlockType.POSE, 1, _floats("pose.body", request.pose.body, (JOINTS, 3))),
                   (BlockType.TRANSL, 1, _floats("pose.transl", request.pose.transl, (3,)))]
        if len(expression):
            blocks.append((BlockType.EXPRESSION, 1, _floats("pose.expression", expression, expression.shape)))
    if request.source is not None:
        blocks.append((BlockType.SOURCE, 1, _source_bytes(request)))
    f = request.format
    blocks.append((BlockType.FORMAT, 1, _FORMAT.pack(f.color, f.quality, f.alpha, f.depth, int(f.straight))))
    return blocks


def _source_bytes(request: RenderRequest) -> bytes:
    index, time, follow = request.source
    if request.pose is not None:
        raise InputError("source: the request has a pose too; send one of them")
    if not (0 <= index < 65536 and abs(time) <= MAX_SOURCE_TIME):
        raise InputError(f"source: got index {index} and time {time:g}, expected 0..65535 and at most {MAX_SOURCE_TIME:g} seconds")
    return _SOURCE.pack(index, int(follow), 0, time)


def _frame_blocks(frame: FrameMessage) -> list:
    blocks = []
    for view in frame.views:
        blocks += [_camera_block(view.camera), (BlockType.RECT, 1, _RECT.pack(*view.rect)), (BlockType.COLOR, *view.color)]
        if view.alpha is not None:
            blocks.append((BlockType.ALPHA, *view.alpha))
        if view.depth is not None:
            blocks.append((BlockType.DEPTH, *view.depth))
    timings = list(frame.timings.items())[:MAX_TIMINGS]
    blocks.append((BlockType.TIMING, 1, b"".join(_TIMING.pack(name.encode("ascii", "replace")[:12], ms) for name, ms in timings)))
    return blocks


# ---- decoding -------------------------------------------------------------------------------------------------------

def _array(data, block: Block, shape: tuple[int, ...], limit: float) -> np.ndarray:
    """A read-only view of a block of little-endian floats, all finite and within +-limit."""
    array = np.frombuffer(data, "<f4", math.prod(shape), block.offset)
    # NaN and infinity fail these comparisons as well.
    if array.size and not (array.max() <= limit and array.min() >= -limit):
        raise WireError(f"{BlockType(block.type).name}: a value is NaN, infinite or beyond {limit:g} in magnitude")
    array.flags.writeable = False
    return array.reshape(shape)


def _expect(block: Block, length: int | None = None) -> None:
    name = BlockType(block.type).name
    if block.format != 1:
        raise WireError(f"{name}: encoding {block.format} is not known, expected 1", ErrorCode.ENCODING)
    if length is not None and len(block.data) != length:
        raise WireError(f"{name}: {len(block.data)} bytes, expected {length}")


def _camera(data, block: Block) -> CameraView:
    _expect(block, _CAMERA_BYTES)
    values = _array(data, block, (25,), MAX_CAMERA)
    width, height = _SIZE.unpack_from(block.data, 100)
    if not (width and height):
        raise WireError(f"CAMERA: size {width}x{height}, expected at least 1 pixel a side")
    return CameraView(values[:9].reshape(3, 3), values[9:].reshape(4, 4), width, height)


def _decode_render(data, header: Header, blocks: list[Block]) -> RenderRequest:
    cameras, found, format = [], {}, None
    for block in blocks:
        match block.type:
            case BlockType.CAMERA:
                if len(cameras) == MAX_CAMERAS:
                    raise WireError(f"RENDER: more than {MAX_CAMERAS} cameras", ErrorCode.LIMIT)
                cameras.append(_camera(data, block))
                continue
            case BlockType.POSE:
                _expect(block, JOINTS * 12)
                value = _array(data, block, (JOINTS, 3), MAX_ANGLE)
            case BlockType.TRANSL:
                _expect(block, 12)
                value = _array(data, block, (3,), MAX_TRANSL)
            case BlockType.EXPRESSION:
                _expect(block)
                count, rest = divmod(len(block.data), 4)
                if rest or count > MAX_EXPRESSION:
                    raise WireError(f"EXPRESSION: {len(block.data)} bytes, expected a multiple of 4 up to {4 * MAX_EXPRESSION}")
                value = _array(data, block, (count,), MAX_COEFFICIENT)
            case BlockType.FORMAT:
                _expect(block, _FORMAT.size)
                value = format = _decode_format(block)
            case BlockType.SOURCE:
                _expect(block, _SOURCE.size)
                value = _decode_source(block)
            case _:
                continue
        if block.type in found:
            raise WireError(f"RENDER: two {BlockType(block.type).name} blocks")
        found[block.type] = value
    if not cameras:
        raise WireError("RENDER: no CAMERA block")
    if not header.id:
        raise WireError("RENDER: id 0, ids start at 1", ErrorCode.BAD_ID)
    body = found.get(BlockType.POSE)
    if body is None and (BlockType.TRANSL in found or BlockType.EXPRESSION in found):
        raise WireError("RENDER: TRANSL or EXPRESSION without POSE")
    if body is not None and BlockType.SOURCE in found:
        raise WireError("RENDER: SOURCE and POSE exclude each other")
    pose = None
    if body is not None:
        pose = PoseValues(body, found.get(BlockType.TRANSL, _ZERO_TRANSL), found.get(BlockType.EXPRESSION, _NO_EXPRESSION))
    return RenderRequest(header.id, tuple(cameras), pose, format or Format(), header.client_time_ns, header.session,
                         found.get(BlockType.SOURCE))


def _decode_source(block: Block) -> SourceChoice:
    index, flags, _, time = _SOURCE.unpack(block.data)
    if not abs(time) <= MAX_SOURCE_TIME:        # NaN fails this as well
        raise WireError(f"SOURCE: time {time}, expected at most {MAX_SOURCE_TIME:g} seconds in magnitude")
    return SourceChoice(index, time, bool(flags & 1))


def _decode_format(block: Block) -> Format:
    color, quality, alpha, depth, flags = _FORMAT.unpack(block.data)
    if color not in (JPEG, RAW) or alpha not in (NO_PLANE, RAW_PLANE, DEFLATE_PLANE) or depth not in (NO_PLANE, RAW_PLANE, DEFLATE_PLANE):
        raise WireError(f"FORMAT: colour encoding {color}, alpha {alpha}, depth {depth}; expected colour {JPEG} (JPEG) or {RAW} (RGBA), "
                        f"alpha and depth {NO_PLANE}..{DEFLATE_PLANE}", ErrorCode.ENCODING)
    if color == JPEG and not 1 <= quality <= 100:
        raise WireError(f"FORMAT: JPEG quality {quality}, expected 1..100", ErrorCode.ENCODING)
    if color == RAW and alpha != NO_PLANE:
        raise WireError(f"FORMAT: raw RGBA has its alpha in it, expected alpha plane {NO_PLANE}, got {alpha}", ErrorCode.ENCODING)
    return Format(color, quality, alpha, depth, bool(flags & 1))


def _decode_frame(data, header: Header, blocks: list[Block]) -> FrameMessage:
    views, timings = [], {}
    for block in blocks:
        match block.type:
            case BlockType.CAMERA:
                if len(views) == MAX_CAMERAS:
                    raise WireError(f"FRAME: more than {MAX_CAMERAS} views")
                views.append({"camera": _camera(data, block)})
            case BlockType.RECT | BlockType.COLOR | BlockType.ALPHA | BlockType.DEPTH:
                name = BlockType(block.type).name
                if not views or name.lower() in views[-1]:
                    raise WireError(f"FRAME: {name} without a CAMERA before it, twice, or after a plane")
                view = views[-1]
                if block.type == BlockType.RECT:
                    view["rect"] = _rect(block, view["camera"])
                else:
                    view.setdefault("rect", Rect(0, 0, view["camera"].width, view["camera"].height))
                    view[name.lower()] = _plane(name, block, view["rect"])
            case BlockType.TIMING:
                _expect(block)
                timings = _decode_timings(block)
    if not views or any("color" not in v for v in views):
        raise WireError("FRAME: a view without CAMERA or COLOR")
    return FrameMessage(header.id, tuple(EncodedView(**v) for v in views), timings, header.client_time_ns, header.server_recv_ns,
                        header.server_send_ns, bool(header.flags & STRAIGHT), header.session)


_BYTES_PER_PIXEL = {"COLOR": 4, "ALPHA": 1, "DEPTH": 4}


def _rect(block: Block, camera: CameraView) -> Rect:
    _expect(block, _RECT.size)
    rect = Rect(*_RECT.unpack(block.data))
    if not (rect.width and rect.height and rect.x + rect.width <= camera.width and rect.y + rect.height <= camera.height):
        raise WireError(f"RECT: {tuple(rect)} is empty or reaches out of the picture of {camera.width}x{camera.height}")
    return rect


def _plane(name: str, block: Block, rect: Rect) -> Plane:
    raw, packed = (RAW, JPEG) if name == "COLOR" else (RAW_PLANE, DEFLATE_PLANE)
    if block.format not in (raw, packed):
        raise WireError(f"{name}: encoding {block.format} is not known, expected {raw} or {packed}", ErrorCode.ENCODING)
    expected = rect.width * rect.height * _BYTES_PER_PIXEL[name]
    if block.format == raw and len(block.data) != expected:
        raise WireError(f"{name}: {len(block.data)} bytes, expected {expected} for {rect.width}x{rect.height}")
    return Plane(block.format, block.data)


def _decode_timings(block: Block) -> dict[str, float]:
    if len(block.data) % _TIMING.size or len(block.data) > MAX_TIMINGS * _TIMING.size:
        raise WireError(f"TIMING: {len(block.data)} bytes, expected a multiple of {_TIMING.size} up to {MAX_TIMINGS * _TIMING.size}")
    timings = {}
    for name, ms in _TIMING.iter_unpack(block.data):
        name = name.rstrip(b"\0")
        if not (name.isascii() and name.decode("latin-1").isprintable() and 0 <= ms < math.inf):
            raise WireError(f"TIMING: {name!r} {ms}, expected printable ASCII and a finite time")
        timings[name.decode("ascii")] = ms
    return timings


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
    _expect(block)
    if len(block.data) > MAX_JSON:
        raise WireError(f"JSON: {len(block.data)} bytes, at most {MAX_JSON} are allowed", ErrorCode.LIMIT)
    try:
        info = json.loads(bytes(block.data).decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as e:
        raise WireError(f"JSON: {type(e).__name__}, expected a UTF-8 JSON object") from None
    if not isinstance(info, dict):
        raise WireError(f"JSON: got a {type(info).__name__}, expected an object")
    return info


def _decode_error(data, header: Header, blocks: list[Block]) -> ErrorMessage:
    block = next((b for b in blocks if b.type == BlockType.ERROR), None)
    if block is None:
        raise WireError("ERROR: no ERROR block")
    _expect(block)
    if not 4 <= len(block.data) <= 4 + MAX_ERROR_TEXT:
        raise WireError(f"ERROR: {len(block.data)} bytes, expected 4..{4 + MAX_ERROR_TEXT}")
    (code,) = struct.unpack_from("<I", block.data)
    return ErrorMessage(header.id, code, bytes(block.data[4:]).decode("utf-8", "replace"), header.client_time_ns, header.session)


_DECODERS = {
    MessageType.HELLO: lambda data, h, blocks: Hello(_decode_json(h, blocks), h.session),
    MessageType.CAPS: lambda data, h, blocks: Caps(_decode_json(h, blocks), h.session),
    MessageType.RENDER: _decode_render,
    MessageType.FRAME: _decode_frame,
    MessageType.SUPERSEDED: lambda data, h, blocks: Superseded(h.id, h.client_time_ns, h.session),
    MessageType.ERROR: _decode_error,
    MessageType.BYE: lambda data, h, blocks: Bye(h.session),
    MessageType.TIME: lambda data, h, blocks: Time(h.id, h.client_time_ns, h.server_recv_ns, h.server_send_ns, h.session),
}
