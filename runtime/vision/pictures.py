"""Reads a photo as somebody has it: upright, 8-bit RGB, or refused in one sentence."""

from __future__ import annotations

import math
import os
import pathlib
import re
import struct
from dataclasses import dataclass

import cv2
import numpy as np

from dinar_live.runtime.core.errors import InputError

from .exif import Exif, read_exif

MAX_PIXELS = 100_000_000
MAX_BYTES = 200 << 20
MAX_SIDE = 4096  # larger ones are shrunk: no network or texture of ours gains from more
MIN_SIDE = 64
_FILM_DIAGONAL = math.hypot(36, 24)  # mm, what a "35 mm" focal length refers to
_JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])", re.DOTALL)  # not stuffing, not a restart
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_OTHERS = {
    b"GIF8": "GIF",
    b"II*\x00": "TIFF or raw",
    b"MM\x00*": "TIFF or raw",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo, upright. name: of its file. rgb u8[H,W,3]. alpha u8[H,W] if the file has one, with colours as over
    white. focal_35mm: of its lens, if the file says so. stored: (height, width) in the file, upright; larger
    than rgb if the photo was shrunk."""

    name: str
    rgb: np.ndarray
    alpha: np.ndarray | None = None
    focal_35mm: float | None = None
    stored: tuple[int, int] = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def focal_pixels(self) -> float | None:
        """The focal length in pixels of `rgb`, from the film's diagonal; None if the file says nothing. It is
        that of the whole photo: wrong for one that was cropped later."""
        return self.focal_35mm and self.focal_35mm / _FILM_DIAGONAL * math.hypot(*self.size)


@dataclass(frozen=True)
class _Header:
    kind: str
    height: int
    width: int
    whole: bool
    exif: Exif


def read_picture(path: str | os.PathLike) -> Picture:
    """A JPEG, PNG, WebP or BMP: grey, 16-bit, CMYK and transparent ones too, turned as EXIF says, shrunk to
    MAX_SIDE. Raises InputError naming the file."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such picture")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{path}: {size >> 20} MB, expected a picture of at most {MAX_BYTES >> 20} MB")
    return decode_picture(path.read_bytes(), str(path), path.stem)


def decode_picture(data: bytes, source: str, name: str = "picture") -> Picture:
    """`read_picture` for bytes; source: what errors call it."""
    header = _header(data, source)
    if header.height * header.width > MAX_PIXELS:
        raise InputError(
            f"{source}: {header.width}x{header.height} is {header.height * header.width / 1e6:.0f} megapixels, "
            f"expected at most {MAX_PIXELS // 1_000_000}: save it smaller"
        )
    if min(header.height, header.width) < MIN_SIDE:
        raise InputError(
            f"{source}: {header.width}x{header.height} pixels, expected at least {MIN_SIDE} a side"
        )
    if not header.whole:
        raise InputError(f"{source}: the {header.kind} ends too early; copy or save it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{source}: a {header.kind} that cannot be read; save it again as JPEG or PNG")
    rgb, alpha = _rgb_and_alpha(image, source)
    rgb = _upright(rgb, header.exif.orientation)
    alpha = None if alpha is None else _upright(alpha, header.exif.orientation)
    stored = (rgb.shape[0], rgb.shape[1])
    return Picture(
        name, _shrunk(rgb), None if alpha is None else _shrunk(alpha), header.exif.focal_35mm, stored
    )


def _header(data: bytes, source: str) -> _Header:
    """Kind, size and EXIF from the file's own structure, before anything is decoded."""
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)
            (length,) = struct.unpack_from("<I", data, 2)
            return _Header("BMP", abs(height), abs(width), len(data) >= length, Exif())
    except (struct.error, IndexError):
        raise InputError(f"{source}: the picture's header ends too early; copy or save it again") from None
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("latin-1").strip()
        kind = (
            "AVIF" if brand.startswith("avi") else "HEIC" if brand[:3] in ("hei", "mif", "hev") else "video"
        )
        what = (
            "a video, not a picture" if kind == "video" else f"{kind} pictures are not read: save it as JPEG"
        )
        raise InputError(f"{source}: {what}")
    kind = next((name for magic, name in _OTHERS.items() if data.startswith(magic)), None)
    got = "an empty file" if not data else f"a {kind} file" if kind else "something else"
    raise InputError(f"{source}: got {got}, expected a JPEG, PNG, WebP or BMP picture")


def _jpeg(data: bytes) -> _Header:
    """Walks the markers of a JPEG to its end (ITU-T T.81, annex B)."""
    height = width = 0
    exif, at, whole = Exif(), 2, False
    while match := _JPEG_MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker == 0xD9:
            whole = True
            break
        if marker == 0xD8 or marker == 0x01:
            continue
        if at + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
        if marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\x00\x00":
            exif = read_exif(data[at + 8 : at + length])
        at += length
    if not height or not width:
        raise struct.error
    return _Header("JPEG", height, width, whole, exif)


def _png(data: bytes) -> _Header:
    width, height = struct.unpack_from(">II", data, 16)
    exif, at, whole = Exif(), 8, False
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind == b"eXIf":
            exif = read_exif(data[at + 8 : at + 8 + length])
        at += 12 + length
        if kind == b"IEND":
            whole = at <= len(data)
            break
    return _Header("PNG", height, width, whole, exif)


def _webp(data: bytes) -> _Header:
    """RFC 9649: a RIFF file of VP8, VP8L or VP8X chunks."""
    (length,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    if kind == b"VP8X":
        low = [int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27)]
        width, height = low
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    else:
        width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", data, 26))
    exif, at = Exif(), 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"EXIF":
            exif = read_exif(data[at + 8 : at + 8 + size].removeprefix(b"Exif\x00\x00"))
        at += 8 + size + size % 2
    return _Header("WebP", height, width, len(data) >= length + 8, exif)


def _rgb_and_alpha(image: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray | None]:
    """u8 RGB over white, and the alpha if it says anything."""
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"{source}: got {image.dtype} pixels, expected 8 or 16 bit")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), None
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), None
    if image.shape[2] != 4:
        raise InputError(f"{source}: got {image.shape[2]} channels, expected grey, RGB or RGBA")
    alpha = np.ascontiguousarray(image[..., 3])
    rgb = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    if alpha.min() == 255:
        return rgb, None
    a = alpha[..., None].astype(np.uint32)
    return ((rgb * a + 255 * (255 - a) + 127) // 255).astype(np.uint8), alpha


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes how the camera was held: EXIF's orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = np.swapaxes(image, 0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _shrunk(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
