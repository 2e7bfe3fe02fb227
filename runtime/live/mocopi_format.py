"""The datagrams of mocopi's apps: fields of length, name and value, read strictly and with bounds.

Little-endian: length u32, name (4 bytes), `length` bytes of value, which may be fields again. What is known of it
comes from receivers that others have published, and from a frame and a skeleton that one of them keeps as samples;
Sony documents the bones, not the bytes:

    head  ftyp "sony motion format", vrsn u8
    sndf  ipad u64, rcvp u16                          sender and port; not used
    skdf  bons -> bndt: bnid u16, pbid u16, tran      the skeleton: bone, its parent (65535: none), rest pose
    fram  fnum u32, time, uttm f64, btrs -> btdt: bnid u16, tran      a frame

tran: f32[7], quaternion x, y, z, w and position in the parent, metres; right-handed, y up, +z ahead, +x to the left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BONES = 27
FORMAT = b"sony motion format"
NO_PARENT = 0xFFFF
_FIELD = struct.Struct("<I4s")
_TRAN = struct.Struct("<7f")
_MAX_FIELDS = 64  # in one field
_MAX_POSITION = 1e3


class Malformed(ValueError):
    """No datagram of mocopi's; the text says why."""


class MocopiSkeleton(NamedTuple):
    """parents: 27 bone numbers, each less than its bone's, -1 for the first."""

    parents: tuple[int, ...]
    positions: np.ndarray
    rotations: np.ndarray


class MocopiFrame(NamedTuple):
    """number: counts up. rotations f64[27,4] (x, y, z, w) and positions f64[27,3] of each bone in its parent; NaN
    where it did not come or was impossible. bad: bones with impossible numbers. seconds: of the sender's clock."""

    number: int
    seconds: float
    positions: np.ndarray
    rotations: np.ndarray
    bad: int


def read(data: bytes) -> MocopiSkeleton | MocopiFrame:
    """One datagram. Raises Malformed for anything else."""
    found = dict(_fields(data, 0, len(data), twice=False))
    head = dict(_fields(data, *_span(found, b"head"), twice=False))
    if _value(data, head, b"ftyp").rstrip(b"\0") != FORMAT:
        raise Malformed("another format")
    if b"skdf" in found:
        return _skeleton(data, found[b"skdf"])
    return _frame(data, _span(found, b"fram"))


def _skeleton(data: bytes, span: tuple[int, int]) -> MocopiSkeleton:
    fields = dict(_fields(data, *span, twice=False))
    parents = [NO_PARENT - 1] * BONES
    positions, rotations = _empty()
    for name, bone in _fields(data, *_span(fields, b"bons")):
        if name == b"bndt":
            of = dict(_fields(data, *bone, twice=False))
            number = _u16(data, of, b"bnid")
            if number < BONES:
                parents[number] = _u16(data, of, b"pbid")
                _transform(data, of, number, positions, rotations)
    known = [-1 if p == NO_PARENT else p for p in parents]
    if known[0] != -1 or any(not 0 <= p < j for j, p in enumerate(known[1:], 1)):
        raise Malformed("a skeleton that is no tree of the 27 bones")
    if not np.isfinite(positions).all():
        raise Malformed("a skeleton with impossible numbers")
    return MocopiSkeleton(tuple(known), positions, rotations)


def _frame(data: bytes, span: tuple[int, int]) -> MocopiFrame:
    fields = dict(_fields(data, *span, twice=False))
    positions, rotations = _empty()
    bad = 0
    for name, bone in _fields(data, *_span(fields, b"btrs")):
        if name == b"btdt":
            of = dict(_fields(data, *bone, twice=False))
            number = _u16(data, of, b"bnid")
            if number < BONES:
                bad += not _transform(data, of, number, positions, rotations)
    seconds = 0.0
    if b"uttm" in fields and fields[b"uttm"][1] - fields[b"uttm"][0] == 8:
        seconds = struct.unpack_from("<d", data, fields[b"uttm"][0])[0]
    number = struct.unpack("<I", _value(data, fields, b"fnum", 4))[0]
    return MocopiFrame(number, seconds if np.isfinite(seconds) else 0.0, positions, rotations, bad)


def _fields(data: bytes, at: int, end: int, twice: bool = True) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """(name, where its value lies) of each field between `at` and `end`."""
    names: set[bytes] = set()
    count = 0
    while at < end:
        if end - at < _FIELD.size or count >= _MAX_FIELDS:
            raise Malformed("a field without a name, or too many")
        length, name = _FIELD.unpack_from(data, at)
        at += _FIELD.size
        if length > end - at or (not twice and name in names):
            raise Malformed("a field that is too long, or twice there")
        names.add(name)
        count += 1
        yield name, (at, at + length)
        at += length


def _span(fields: dict[bytes, tuple[int, int]], name: bytes) -> tuple[int, int]:
    if name not in fields:
        raise Malformed(f"no field {name.decode()}")
    return fields[name]


def _value(data: bytes, fields: dict[bytes, tuple[int, int]], name: bytes, size: int | None = None) -> bytes:
    at, end = _span(fields, name)
    if size is not None and end - at != size:
        raise Malformed(f"{name.decode()}: {end - at} bytes, expected {size}")
    return data[at:end]


def _u16(data: bytes, fields: dict[bytes, tuple[int, int]], name: bytes) -> int:
    return struct.unpack("<H", _value(data, fields, name, 2))[0]


def _empty() -> tuple[np.ndarray, np.ndarray]:
    return np.full((BONES, 3), np.nan), np.full((BONES, 4), np.nan)


def _transform(
    data: bytes,
    fields: dict[bytes, tuple[int, int]],
    bone: int,
    positions: np.ndarray,
    rotations: np.ndarray,
) -> bool:
    """Takes a bone's tran over; False, and nothing, for impossible numbers."""
    values = _TRAN.unpack(_value(data, fields, b"tran", _TRAN.size))
    size = sum(v * v for v in values[:4])
    if not (
        0.25 < size < 4.0 and max(map(abs, values[4:])) < _MAX_POSITION and not any(v != v for v in values)
    ):
        return False
    rotations[bone] = values[:4]
    positions[bone] = values[4:]
    return True
