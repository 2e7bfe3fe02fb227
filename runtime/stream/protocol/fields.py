"""Blocks and values that several messages share: cameras, names, arrays of floats."""

from __future__ import annotations

import math
import struct

import numpy as np

from dinar_live.runtime.core.errors import InputError

from .messages import MAX_NAME, CameraView, OpenXRView
from .wire import (
    MATRIX_CAMERA,
    ONLY_FORMAT,
    OPENXR_CAMERA,
    Block,
    BlockParts,
    BlockType,
    ErrorCode,
    WireError,
)

MAX_CAMERA = 1e6
_SIZE = struct.Struct("<HH")
MATRIX_CAMERA_FLOATS = 9 + 16  # K, world_to_camera
OPENXR_CAMERA_FLOATS = 3 + 4 + 4  # position, orientation, fov


def floats(name: str, value, shape: tuple[int, ...]) -> bytes:
    """`value` as little-endian float32 bytes. Raises InputError where it has another shape."""
    try:
        array = np.ascontiguousarray(value, "<f4")
    except (TypeError, ValueError) as e:
        raise InputError(f"{name}: not an array of numbers ({e})") from None
    if array.shape != shape:
        raise InputError(f"{name}: got shape {list(array.shape)}, expected {list(shape)}")
    return array.tobytes()


def read_floats(data, block: Block, shape: tuple[int, ...], limit: float) -> np.ndarray:
    """A read-only view of the little-endian floats at the start of a block, all finite and within +-limit."""
    array = np.frombuffer(data, "<f4", math.prod(shape), block.offset)
    # NaN and infinity fail these comparisons as well.
    if array.size and not (array.max() <= limit and array.min() >= -limit):
        raise WireError(
            f"{BlockType(block.type).name}: a value is NaN, infinite or beyond {limit:g} in magnitude"
        )
    array.flags.writeable = False
    return array.reshape(shape)


def expect(block: Block, length: int | None = None, format: int = ONLY_FORMAT) -> None:
    """Refuses a block of another format or length."""
    name = BlockType(block.type).name
    if block.format != format:
        raise WireError(
            f"{name}: encoding {block.format} is not known, expected {format}", ErrorCode.ENCODING
        )
    if length is not None and len(block.data) != length:
        raise WireError(f"{name}: {len(block.data)} bytes, expected {length}")


def camera_block(camera: CameraView | OpenXRView) -> BlockParts:
    """The CAMERA block of either kind of camera."""
    try:
        size = _SIZE.pack(camera.width, camera.height)
    except struct.error:
        raise InputError(
            f"size: got {camera.width}x{camera.height}, expected 1..65535 pixels a side"
        ) from None
    if isinstance(camera, OpenXRView):
        values = (
            ("position", camera.position, (3,)),
            ("orientation", camera.orientation, (4,)),
            ("fov", camera.fov, (4,)),
        )
        return (
            BlockType.CAMERA,
            OPENXR_CAMERA,
            b"".join(floats(f"camera.{name}", value, shape) for name, value, shape in values) + size,
        )
    matrices = floats("camera.K", camera.K, (3, 3)) + floats(
        "camera.world_to_camera", camera.world_to_camera, (4, 4)
    )
    return BlockType.CAMERA, MATRIX_CAMERA, matrices + size


def read_camera(data, block: Block) -> CameraView | OpenXRView:
    """The camera in a CAMERA block; its arrays are views."""
    if block.format not in (MATRIX_CAMERA, OPENXR_CAMERA):
        raise WireError(f"CAMERA: encoding {block.format} is not known, expected 1 or 2", ErrorCode.ENCODING)
    count = MATRIX_CAMERA_FLOATS if block.format == MATRIX_CAMERA else OPENXR_CAMERA_FLOATS
    expect(block, 4 * count + _SIZE.size, block.format)
    values = read_floats(data, block, (count,), MAX_CAMERA)
    width, height = _SIZE.unpack_from(block.data, 4 * count)
    if not (width and height):
        raise WireError(f"CAMERA: size {width}x{height}, expected at least 1 pixel a side")
    if block.format == MATRIX_CAMERA:
        return CameraView(values[:9].reshape(3, 3), values[9:].reshape(4, 4), width, height)
    return OpenXRView(values[:3], values[3:7], values[7:], width, height)


def name_bytes(field: str, name: str) -> bytes:
    """A name as UTF-8. Raises InputError."""
    data = name.encode("utf-8", "replace")
    if len(data) > MAX_NAME or not (name.isprintable() or not name):
        raise InputError(f"{field}: got {name!r}, expected printable text of at most {MAX_NAME} bytes")
    return data


def read_name(field: str, data: memoryview) -> str:
    """The name in `data`. Raises WireError."""
    if len(data) > MAX_NAME:
        raise WireError(f"{field}: a name of {len(data)} bytes, at most {MAX_NAME} are allowed")
    try:
        name = bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        raise WireError(f"{field}: the name is not UTF-8") from None
    if name and not name.isprintable():
        raise WireError(f"{field}: the name has characters that cannot be printed")
    return name
