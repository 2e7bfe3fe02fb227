"""EXIF: the two things that a photo says of itself and that we use, how it was held and with what lens.

Facts: the EXIF 2.32 standard (JEITA CP-3451), and TIFF 6.0 for its directories. What is damaged counts as not
said: a photo is no worse for a wrong note.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ORIENTATION = 0x0112
EXIF_DIRECTORY = 0x8769
FOCAL_35MM = 0xA405
_SHORT, _LONG = 3, 4
_MAX_ENTRIES = 512


@dataclass(frozen=True)
class Exif:
    """orientation: 1 to 8, 1 = as stored. focal_35mm: the lens's focal length as on 36 x 24 mm film, millimetres;
    None if not said."""

    orientation: int = 1
    focal_35mm: float | None = None


def read_exif(tiff: bytes) -> Exif:
    """What a block of EXIF (without its "Exif\\0\\0") says. Never raises."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return Exif()
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    main = _directory(tiff, order, start)
    more = _directory(tiff, order, main[EXIF_DIRECTORY]) if EXIF_DIRECTORY in main else {}
    orientation = main.get(ORIENTATION, 1)
    focal = more.get(FOCAL_35MM, 0)
    return Exif(orientation if 1 <= orientation <= 8 else 1, float(focal) if 5 <= focal <= 2000 else None)


def _directory(tiff: bytes, order: str, start: int) -> dict[int, int]:
    """The single whole numbers of one directory by tag."""
    found: dict[int, int] = {}
    if start + 2 > len(tiff):
        return found
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for i in range(min(count, _MAX_ENTRIES)):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            break
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, at)
        if number == 1 and kind in (_SHORT, _LONG):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, at + 8)
    return found
