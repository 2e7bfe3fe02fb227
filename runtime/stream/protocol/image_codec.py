"""Image planes to bytes and back: JPEG colour and deflated alpha, or raw RGBA; depth in metres or as inverse
depth."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import cv2
import numpy as np

from .frame_message import NEAR_FAR, half
from .messages import (
    DEFLATE_PLANE,
    HALF_DEFLATE,
    HALF_RAW,
    INVERSE_DEFLATE,
    INVERSE_RAW,
    JPEG,
    MAX_DEPTH,
    MIN_DEPTH,
    NO_PLANE,
    RAW,
    RAW_PLANE,
    CameraView,
    EncodedView,
    Format,
    OpenXRView,
    Plane,
    PlaneData,
    Rect,
)
from .wire import ErrorCode, WireError

# 512x512 photo of a person, one thread: deflate 1 takes 0.4 ms; run-length only is as fast and smaller, but
# four times slower to inflate.
_DEFLATE_LEVEL = 1
_JPEG_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class DecodedView(NamedTuple):
    """One decoded frame: rgba u8[H,W,4], depth f32[H,W] metres (0 = nothing) or None."""

    rgba: np.ndarray
    depth: np.ndarray | None


class FrameEncoder:
    """Encodes frames; keeps its scratch planes, so use one per thread."""

    def __init__(self):
        self._size = (0, 0)

    def encode(
        self, camera: CameraView | OpenXRView, rgba: np.ndarray, depth: np.ndarray | None, format: Format
    ) -> EncodedView:
        """The planes of `rgba` u8[H,W,4] and `depth` f32[H,W] in `format`, cropped to what is not empty and
        the format's margin.

        Raw planes are views of the inputs or of the encoder's scratch: use them before the next call.
        """
        height, width = rgba.shape[:2]
        if self._size != (height, width):
            self._size = height, width
            self._full, self._alpha, self._bgr, self._over = (
                np.empty(height * width * n, np.uint8) for n in (1, 1, 3, 4)
            )
        full = cv2.extractChannel(rgba, 3, dst=self._full.reshape(height, width))
        rect = _align(Rect(*cv2.boundingRect(full)), format.margin, width, height)
        crop, pixels = _slices(rect), rect.width * rect.height
        alpha = self._alpha[:pixels].reshape(rect.height, rect.width)
        alpha[...] = full[crop]
        colour = rgba[crop]
        if format.background is not None:
            colour = _over(
                colour, alpha, format.background, self._over[: 4 * pixels].reshape(rect.height, rect.width, 4)
            )
        depth_plane = None if depth is None else _pack_depth(depth[crop], format)
        if format.color == RAW:
            return EncodedView(camera, rect, Plane(RAW, colour), None, depth_plane)
        bgr = cv2.cvtColor(
            colour, cv2.COLOR_RGBA2BGR, dst=self._bgr[: 3 * pixels].reshape(rect.height, rect.width, 3)
        )
        ok, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, format.quality))
        if not ok:
            raise RuntimeError(
                f"cv2.imencode refused a {rect.width}x{rect.height} frame at quality {format.quality}"
            )
        return EncodedView(camera, rect, Plane(JPEG, jpeg), _pack_alpha(alpha, format.alpha), depth_plane)


def decode_view(
    view: EncodedView, straight: bool = False, background: tuple[int, int, int] | None = None
) -> DecodedView:
    """The pixels of `view`. Sizes are checked before anything of that size is allocated. Raises
    ProtocolError.

    Raw planes that cover the whole frame stay views of the message. Premultiplied JPEG colour is clamped to
    alpha, which removes the JPEG's ringing outside the silhouette; a frame without alpha plane is opaque,
    and `background` (r, g, b) or black around RECT.
    """
    rect, camera = view.rect, view.camera
    depth = None if view.depth is None else _paste(_unpack_depth(view.depth, rect), rect, camera)
    if view.color.encoding == RAW:
        part = np.frombuffer(view.color.data, np.uint8).reshape(rect.height, rect.width, 4)
        return DecodedView(
            _paste(part, rect, camera, None if background is None else (*background, 255)), depth
        )
    bgr = _decode_jpeg(view.color.data, rect.width, rect.height)
    rgba = np.zeros((camera.height, camera.width, 4), np.uint8)
    if view.alpha is None:
        _fill(rgba, (*(background or (0, 0, 0)), 255))
    part = rgba[_slices(rect)]
    cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA, dst=part)  # opaque
    if view.alpha is not None:
        alpha = _unpack_alpha(view.alpha, rect)
        cv2.insertChannel(alpha, part, 3)
        if not straight:
            cv2.min(part, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGBA), dst=part)
    return DecodedView(rgba, depth)


def _over(
    rgba: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int], out: np.ndarray
) -> np.ndarray:
    """Premultiplied `rgba` u8[h,w,4] over a colour, opaque, into `out`."""
    uncovered = (
        np.arange(255, -1, -1, dtype=np.float32)[:, None] / 255 * np.array((*background, 0), np.float32)
    )  # by alpha
    uncovered[:, 3] = np.arange(255, -1, -1)
    table = np.rint(uncovered).astype(np.uint8).reshape(256, 1, 4)
    cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGRA, dst=out)
    cv2.insertChannel(alpha, out, 3)
    cv2.LUT(out, table, dst=out)
    return cv2.add(out, rgba, dst=out)


def _align(box: Rect, margin: int, width: int, height: int) -> Rect:
    """`box` and `margin` around it, grown to JPEG's blocks of 16 pixels, so that chroma
    is averaged as without cropping; inside the frame, never empty."""
    x, y, w, h = box
    if not w:
        margin = 0
    x0, y0 = max(x - margin, 0) & ~15, max(y - margin, 0) & ~15
    x1, y1 = max(x + w + margin, x0 + 1) + 15 & ~15, max(y + h + margin, y0 + 1) + 15 & ~15
    return Rect(x0, y0, min(x1, width) - x0, min(y1, height) - y0)


def _slices(rect: Rect):
    return np.s_[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width]


def _fill(rgba: np.ndarray, colour: tuple[int, ...]) -> None:
    """All of u8[H,W,4] in one colour; assigning four bytes to each pixel would take twenty times as long."""
    rgba.view(np.uint32)[...] = np.array(colour, np.uint8).view(np.uint32)


def _paste(
    part: np.ndarray, rect: Rect, camera: CameraView | OpenXRView, around: tuple[int, ...] | None = None
) -> np.ndarray:
    if (rect.width, rect.height) == (camera.width, camera.height):
        return part
    whole = np.zeros((camera.height, camera.width, *part.shape[2:]), part.dtype)
    if around is not None:
        _fill(whole, around)
    whole[_slices(rect)] = part
    return whole


def _pack_alpha(alpha: np.ndarray, encoding: int) -> Plane | None:
    if encoding == NO_PLANE:
        return None
    if encoding in (HALF_RAW, HALF_DEFLATE):
        height, width = alpha.shape
        if height % 2 or width % 2:
            alpha = cv2.copyMakeBorder(alpha, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        alpha = cv2.resize(alpha, (half(width), half(height)), interpolation=cv2.INTER_AREA)
    return Plane(
        encoding, alpha if encoding in (RAW_PLANE, HALF_RAW) else zlib.compress(alpha.data, _DEFLATE_LEVEL)
    )


def _unpack_alpha(plane: Plane, rect: Rect) -> np.ndarray:
    if plane.encoding in (RAW_PLANE, DEFLATE_PLANE):
        data = _unpack("ALPHA", plane, rect.width * rect.height, plane.encoding == RAW_PLANE)
        return np.frombuffer(data, np.uint8).reshape(rect.height, rect.width)
    height, width = half(rect.height), half(rect.width)
    small = np.frombuffer(
        _unpack("ALPHA", plane, width * height, plane.encoding == HALF_RAW), np.uint8
    ).reshape(height, width)
    return np.ascontiguousarray(
        cv2.resize(small, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)[
            : rect.height, : rect.width
        ]
    )


def _pack_depth(depth: np.ndarray, format: Format) -> Plane | None:
    encoding = format.depth
    if encoding == NO_PLANE:
        return None
    if encoding in (INVERSE_RAW, INVERSE_DEFLATE):
        near, far, values = inverse_depth(depth, format.near, format.far)
        head, values = NEAR_FAR.pack(near, far), values.tobytes()
        return Plane(
            encoding, head + (values if encoding == INVERSE_RAW else zlib.compress(values, _DEFLATE_LEVEL))
        )
    return Plane(
        encoding,
        depth if encoding == RAW_PLANE else zlib.compress(np.ascontiguousarray(depth).data, _DEFLATE_LEVEL),
    )


def _unpack_depth(plane: Plane, rect: Rect) -> np.ndarray:
    pixels = rect.width * rect.height
    if plane.encoding in (RAW_PLANE, DEFLATE_PLANE):
        data = _unpack("DEPTH", plane, 4 * pixels, plane.encoding == RAW_PLANE)
        return np.frombuffer(data, "<f4").reshape(rect.height, rect.width)
    if len(plane.data) < NEAR_FAR.size:
        raise WireError(f"DEPTH: {len(plane.data)} bytes, expected near, far and the plane")
    near, far = NEAR_FAR.unpack_from(_buffer(plane.data))
    if not MIN_DEPTH <= near < far <= MAX_DEPTH:
        raise WireError(
            f"DEPTH: near {near:g} and far {far:g}, expected {MIN_DEPTH:g} <= near < far <= {MAX_DEPTH:g}"
        )
    data = _unpack(
        "DEPTH", Plane(plane.encoding, plane.data[NEAR_FAR.size :]), 2 * pixels, plane.encoding == INVERSE_RAW
    )
    return metres(near, far, np.frombuffer(data, "<u2").reshape(rect.height, rect.width))


def inverse_depth(depth: np.ndarray, near: float = 0.0, far: float = 0.0) -> tuple[float, float, np.ndarray]:
    """near, far and u16[h,w] of `depth` f32[h,w] metres: 65535 at near, towards 0 at far in steps of inverse
    depth, 0 where nothing is.

    As a depth buffer with reversed z has it. What is nearer or farther is moved there; 1 is the smallest
    value of something.
    near, far: metres; 0, 0 = the range of the frame.
    """
    there = depth > 0
    if near == 0:
        values = depth[there]
        near, far = (max(float(values.min()), MIN_DEPTH), float(values.max())) if values.size else (1.0, 2.0)
        far = float(np.float32(max(far, near * 1.001)))
    with np.errstate(divide="ignore"):
        scaled = np.divide(np.float32(1), depth, dtype=np.float32)
    scaled -= np.float32(1 / far)
    scaled *= np.float32(65535 / (1 / near - 1 / far))
    np.rint(scaled, out=scaled)
    np.clip(scaled, 1, 65535, out=scaled)
    values = scaled.astype("<u2")
    values *= there
    return near, far, values


def metres(near: float, far: float, values: np.ndarray) -> np.ndarray:
    """Depth f32[h,w] in metres from inverse depth u16[h,w], 0 where nothing is."""
    inverse = values * np.float32((1 / near - 1 / far) / 65535)
    inverse += np.float32(1 / far)
    return np.divide(np.float32(1), inverse, out=inverse) * (values > 0)


def _buffer(data: PlaneData) -> bytes | memoryview:
    return data.data if isinstance(data, np.ndarray) else data


def _unpack(name: str, plane: Plane, size: int, raw: bool):
    """`size` bytes of a plane. Raises WireError for fewer or more."""
    if raw:
        if len(plane.data) != size:
            raise WireError(f"{name}: {len(plane.data)} bytes, expected {size}")
        return plane.data
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(_buffer(plane.data), size)
        # The end mark and the checksum may still be unread when exactly `size` bytes came out; one byte more
        # is one too many.
        if len(data) == size and not inflater.eof and inflater.decompress(inflater.unconsumed_tail, 1):
            raise WireError(f"{name}: inflates to more than {size} bytes")
    except zlib.error as e:
        raise WireError(f"{name}: not a zlib stream ({e})") from None
    if len(data) != size or not inflater.eof or inflater.unused_data:
        raise WireError(
            f"{name}: inflates to {len(data)} bytes or is cut off or too long, expected {size} bytes exactly"
        )
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
    """(width, height) from a JPEG's frame header, so that nothing is decoded before its size is known. Raises
    ProtocolError."""
    view = memoryview(data)
    at, end = 2, len(view)
    if bytes(view[:2]) != b"\xff\xd8":
        raise WireError("COLOR: does not start like a JPEG")
    while at + 9 <= end and view[at] == 0xFF:
        marker, length = view[at + 1], view[at + 2] << 8 | view[at + 3]
        if 0xC0 <= marker <= 0xC2:  # baseline, extended, progressive
            return view[at + 7] << 8 | view[at + 8], view[at + 5] << 8 | view[at + 6]
        if length < 2 or marker == 0xDA:
            break
        at += 2 + length
    raise WireError("COLOR: a JPEG without a size")
