"""Image planes to bytes and back: JPEG colour and deflated alpha, or raw RGBA."""
from __future__ import annotations

import zlib
from typing import NamedTuple

import cv2
import numpy as np

from .messages import DEFLATE_PLANE, JPEG, NO_PLANE, RAW, RAW_PLANE, CameraView, EncodedView, Format, Plane, Rect
from .wire import ErrorCode, WireError

# 512x512 photo of a person, one thread: deflate 1 takes 0.4 ms; run-length only is as fast and smaller, but four times slower to inflate.
_DEFLATE_LEVEL = 1
_JPEG_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class PixelView(NamedTuple):
    """One decoded picture: rgba u8[H,W,4], depth f32[H,W] metres (0 = nothing) or None."""

    rgba: np.ndarray
    depth: np.ndarray | None


class FrameEncoder:
    """Encodes pictures; keeps its scratch planes, so use one per thread."""

    def __init__(self):
        self._size = (0, 0)

    def encode(self, camera: CameraView, rgba: np.ndarray, depth: np.ndarray | None, format: Format) -> EncodedView:
        """The planes of `rgba` u8[H,W,4] and `depth` f32[H,W] in `format`, cropped to what is not empty.

        Raw planes are views of the inputs or of the encoder's scratch: use them before the next call.
        """
        height, width = rgba.shape[:2]
        if self._size != (height, width):
            self._size = height, width
            self._full, self._alpha, self._bgr = (np.empty(height * width * n, np.uint8) for n in (1, 1, 3))
        full = cv2.extractChannel(rgba, 3, dst=self._full.reshape(height, width))
        rect = _align(cv2.boundingRect(full), width, height)
        crop = _slices(rect)
        if depth is not None:
            depth = depth[crop]
        if format.color == RAW:
            return EncodedView(camera, rect, Plane(RAW, rgba[crop]), None, _pack(depth, format.depth))
        pixels = rect.width * rect.height
        bgr = cv2.cvtColor(rgba[crop], cv2.COLOR_RGBA2BGR, dst=self._bgr[:3 * pixels].reshape(rect.height, rect.width, 3))
        ok, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, format.quality))
        if not ok:
            raise RuntimeError(f"cv2.imencode refused a {rect.width}x{rect.height} picture at quality {format.quality}")
        alpha = self._alpha[:pixels].reshape(rect.height, rect.width)
        alpha[...] = full[crop]
        return EncodedView(camera, rect, Plane(JPEG, jpeg), _pack(alpha, format.alpha), _pack(depth, format.depth))


def decode_view(view: EncodedView, straight: bool = False) -> PixelView:
    """The pixels of `view`. Sizes are checked before anything of that size is allocated. Raises ProtocolError.

    Raw planes that cover the whole picture stay views of the message. Premultiplied JPEG colour is clamped to alpha, which removes
    the JPEG's ringing outside the silhouette; a picture without alpha plane is opaque.
    """
    rect, camera = view.rect, view.camera
    depth = None
    if view.depth is not None:
        plane = _unpack("DEPTH", view.depth, rect.width * rect.height * 4)
        depth = _paste(np.frombuffer(plane, "<f4").reshape(rect.height, rect.width), rect, camera)
    if view.color.encoding == RAW:
        return PixelView(_paste(np.frombuffer(view.color.data, np.uint8).reshape(rect.height, rect.width, 4), rect, camera), depth)
    bgr = _decode_jpeg(view.color.data, rect.width, rect.height)
    rgba = np.zeros((camera.height, camera.width, 4), np.uint8)
    part = rgba[_slices(rect)]
    cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA, dst=part)
    if view.alpha is None:
        rgba[..., 3] = 255
        return PixelView(rgba, depth)
    alpha = np.frombuffer(_unpack("ALPHA", view.alpha, rect.width * rect.height), np.uint8).reshape(rect.height, rect.width)
    cv2.insertChannel(alpha, part, 3)
    if not straight:
        cv2.min(part, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGBA), dst=part)
    return PixelView(rgba, depth)


def _align(box: tuple[int, int, int, int], width: int, height: int) -> Rect:
    """`box` (x, y, width, height) grown to JPEG's blocks of 16 pixels, so that chroma is averaged as without cropping; never empty."""
    x, y, w, h = box
    x0, y0 = x & ~15, y & ~15
    return Rect(x0, y0, min(max(x + w, x0 + 1) + 15 & ~15, width) - x0, min(max(y + h, y0 + 1) + 15 & ~15, height) - y0)


def _slices(rect: Rect):
    return np.s_[rect.y:rect.y + rect.height, rect.x:rect.x + rect.width]


def _paste(part: np.ndarray, rect: Rect, camera: CameraView) -> np.ndarray:
    if (rect.width, rect.height) == (camera.width, camera.height):
        return part
    whole = np.zeros((camera.height, camera.width, *part.shape[2:]), part.dtype)
    whole[_slices(rect)] = part
    return whole


def _pack(plane: np.ndarray | None, encoding: int) -> Plane | None:
    if plane is None or encoding == NO_PLANE:
        return None
    if encoding == RAW_PLANE:
        return Plane(RAW_PLANE, plane)
    return Plane(DEFLATE_PLANE, zlib.compress(np.ascontiguousarray(plane), _DEFLATE_LEVEL))


def _unpack(name: str, plane: Plane, size: int):
    if plane.encoding == RAW_PLANE:
        return plane.data
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(plane.data, size)
        # The end mark and the checksum may still be unread when exactly `size` bytes came out; one byte more is one too many.
        if len(data) == size and not inflater.eof and inflater.decompress(inflater.unconsumed_tail, 1):
            raise WireError(f"{name}: inflates to more than {size} bytes")
    except zlib.error as e:
        raise WireError(f"{name}: not a zlib stream ({e})") from None
    if len(data) != size or not inflater.eof or inflater.unused_data:
        raise WireError(f"{name}: inflates to {len(data)} bytes or is cut off or too long, expected {size} bytes exactly")
    return data


def _decode_jpeg(data, width: int, height: int) -> np.ndarray:
    size = jpeg_size(data)
    if size != (width, height):
        raise WireError(f"COLOR: a JPEG of {size[0]}x{size[1]}, expected {width}x{height}")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), _JPEG_FLAGS)
    except cv2.error as e:
        raise WireError(f"COLOR: the JPEG cannot be decoded ({e.err})") from None
    if bgr is None or bgr.shape != (height, width, 3):
        raise WireError("COLOR: the JPEG cannot be decoded", ErrorCode.MALFORMED)
    return bgr


def jpeg_size(data) -> tuple[int, int]:
    """(width, height) from a JPEG's frame header, so that nothing is decoded before its size is known. Raises ProtocolError."""
    view = memoryview(data)
    at, end = 2, len(view)
    if bytes(view[:2]) != b"\xff\xd8":
        raise WireError("COLOR: does not start like a JPEG")
    while at + 9 <= end and view[at] == 0xFF:
        marker, length = view[at + 1], view[at + 2] << 8 | view[at + 3]
        if 0xC0 <= marker <= 0xC2:                      # baseline, extended, progressive
            return view[at + 7] << 8 | view[at + 8], view[at + 5] << 8 | view[at + 6]
        if length < 2 or marker == 0xDA:
            break
        at += 2 + length
    raise WireError("COLOR: a JPEG without a size")
