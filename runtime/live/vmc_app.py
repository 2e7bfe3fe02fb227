"""SendingApp: one app that sends VMC, told from others on the same machine by the port that it sends from."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from . import faces, osc
from .humanoid import ROOT
from .sample_buffer import PacketOrder

TIME = b"/VMC/Ext/T"
_REORDER_SECONDS = 2.0  # T and time tags older by less are late packets
_REMEMBERED = 16  # datagrams, to know a repeated one by
_NUMBERS = {float, int}
_NO_FACE = np.zeros(len(faces.NAMES), np.float32)
_NO_ROOT = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def are_numbers(arguments: tuple[Any, ...], first: int, end: int) -> bool:
    """Whether arguments[first:end] are all there and numbers: some OSC libraries send whole ones as ints."""
    return len(arguments) >= end and all(type(a) in _NUMBERS for a in arguments[first:end])


class SendingApp:
    """The clock, the order, the state and the face of one sending app; all of them are its own.

    port: that it sends from. loaded: what it last said of its avatar. bones: those it ever sent, as bits; bones_s:
    when the last one came. heard_s: when anything came. root: its last root transform, Unity's.
    """

    def __init__(self, port: int, now: float):
        self.port = port
        self.loaded = True
        self.bones = 0
        self.bones_s = -float("inf")
        self.heard_s = now
        self.root: tuple[float, ...] = _NO_ROOT
        self.expression = _NO_FACE
        self._values: dict[bytes, float] = {}
        self._order = PacketOrder(_REORDER_SECONDS)
        self._tags = PacketOrder(_REORDER_SECONDS)
        self._remembered: deque[int] = deque(maxlen=_REMEMBERED)

    @property
    def has_hips(self) -> bool:
        return bool(self.bones & 1)

    def verdict(self, data: bytes, packet: osc.Packet, now: float) -> str:
        """ "" for a datagram to use, else "late" or "duplicate"."""
        # T within a bundle speaks for all of it
        seconds = next(
            (m.arguments[0] for m in packet.messages if m.address == TIME and are_numbers(m.arguments, 0, 1)),
            None,
        )
        if packet.timetag > osc.IMMEDIATELY or seconds is not None:
            mark = hash(data)
            if mark in self._remembered:
                return "duplicate"
            self._remembered.append(mark)
        # Both may stand still: the parts of a frame share a time tag, and T, a float32, has steps of 16 ms
        # after 36 hours.
        verdict = ""
        if packet.timetag > osc.IMMEDIATELY:
            verdict = self._tags.check(packet.timetag / 2**32, now, repeats=True)
        if not verdict and seconds is not None:
            verdict = self._order.check(seconds, now, repeats=True)
        return verdict

    def has_bone(self, row: int, now: float) -> None:
        """Note that it sends this bone."""
        if row < ROOT:
            self.bones |= 1 << row
            self.bones_s = now

    def face(self, key: bytes, value: float) -> None:
        """A value of a `faces.known` key; counts from `apply` on."""
        self._values[key] = value

    def apply(self) -> None:
        self.expression = faces.expression(self._values.items())
