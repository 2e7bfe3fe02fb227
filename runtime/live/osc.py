"""Open Sound Control 1.0 datagrams, read strictly and with bounds.

Our own and not python-osc: that one (1.10.2) loops for ever on a bundle element of size -4 and dies of
recursion on nested bundles, both of which anybody who reaches the port can send; it also takes several times
as long (docs/live.md has the figures).
"""

from __future__ import annotations

import struct
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_MESSAGES = 1024  # in one datagram
MAX_DEPTH = 4  # of bundles in bundles
IMMEDIATELY = 1  # the time tag that says nothing

_BUNDLE = b"#bundle\0"
_TIMETAG = struct.Struct(">Q")
_SIZE = struct.Struct(">i")
_LAYOUTS = {
    ord("i"): ">i",
    ord("f"): ">f",
    ord("d"): ">d",
    ord("h"): ">q",
    ord("t"): ">Q",
    ord("c"): ">i",
    ord("r"): ">I",
    ord("m"): ">I",
}
_FIXED = {tag: struct.Struct(layout) for tag, layout in _LAYOUTS.items()}
_EMPTY = {ord("T"): True, ord("F"): False, ord("N"): None, ord("I"): None}
# A string and floats, as nearly every message of a performer has them.
_FLOATS = {b",s" + b"f" * n: struct.Struct(f">{n}f") for n in range(1, 16)}


class Message(NamedTuple):
    """address and string arguments as bytes, without their zeros."""

    address: bytes
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Packet:
    """timetag: of the outermost bundle, units of 2^-32 s, or IMMEDIATELY. messages: those with a wanted
    address, in order. count: all messages. bad: elements that are no OSC."""

    timetag: int
    messages: list[Message]
    count: int
    bad: int


def parse(data: bytes, wanted: Container[bytes]) -> Packet:
    """Read a datagram. Never raises: what is no OSC is counted in `bad`; messages to other addresses are
    skipped unread."""
    reader = _Reader(data, wanted)
    timetag = IMMEDIATELY
    if data.startswith(_BUNDLE) and len(data) >= 16:
        timetag = _TIMETAG.unpack_from(data, 8)[0]
    reader.element(0, len(data), 0)
    return Packet(timetag, reader.messages, reader.count, reader.bad)


class _Reader:
    """Walks through a datagram and notes what it finds."""

    def __init__(self, data: bytes, wanted: Container[bytes]):
        self._data = data
        self._wanted = wanted
        self.messages: list[Message] = []
        self.count = self.bad = 0

    def element(self, at: int, end: int, depth: int) -> None:
        data = self._data
        if not data.startswith(_BUNDLE, at, end):
            self.count += 1
            try:
                self._message(at, end)
            except (ValueError, struct.error):
                self.bad += 1
            return
        if depth >= MAX_DEPTH or end - at < 16:
            self.bad += 1
            return
        at += 16
        while at < end:
            size = _SIZE.unpack_from(data, at)[0] if end - at >= 4 else -1
            at += 4
            if size <= 0 or size > end - at or size % 4 or self.count >= MAX_MESSAGES:
                self.bad += 1
                return
            self.element(at, at + size, depth + 1)
            at += size

    def _message(self, at: int, end: int) -> None:
        """Raises ValueError or struct.error for what is no OSC message."""
        data = self._data
        if data[at : at + 1] != b"/":
            raise ValueError
        stop = data.index(b"\0", at, end)
        address = data[at:stop]
        if address not in self._wanted:
            return
        at += (stop - at >> 2) + 1 << 2
        if at == end:
            self.messages.append(
                Message(address, ())
            )  # old senders leave the type tags out where there is nothing to tag
            return
        stop = data.index(b"\0", at, end)
        tags = data[at:stop]
        at += (stop - at >> 2) + 1 << 2
        floats = _FLOATS.get(tags)
        if floats is not None:
            stop = data.index(b"\0", at, end)
            name = data[at:stop]
            at += (stop - at >> 2) + 1 << 2
            if at + floats.size > end:
                raise ValueError
            self.messages.append(Message(address, (name, *floats.unpack_from(data, at))))
        else:
            self.messages.append(Message(address, self._arguments(tags, at, end)))

    def _arguments(self, tags: bytes, at: int, end: int) -> tuple[Any, ...]:
        if not tags.startswith(b","):
            raise ValueError
        data = self._data
        out: list[Any] = []
        for tag in tags[1:]:
            fixed = _FIXED.get(tag)
            if fixed is not None:
                if at + fixed.size > end:
                    raise ValueError
                out.append(fixed.unpack_from(data, at)[0])
                at += fixed.size
            elif tag in _EMPTY:
                out.append(_EMPTY[tag])
            elif tag in b"sS":
                stop = data.index(b"\0", at, end)
                out.append(data[at:stop])
                at += (stop - at >> 2) + 1 << 2
            elif tag == ord("b"):
                if at + 4 > end:
                    raise ValueError
                size = _SIZE.unpack_from(data, at)[0]
                at += 4
                if not 0 <= size <= end - at:
                    raise ValueError
                out.append(data[at : at + size])
                at += size + 3 & ~3
            else:
                raise ValueError
        return tuple(out)
