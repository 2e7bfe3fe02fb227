"""VMC protocol receiver (Marionette): the poses of VRM performers over OSC/UDP.

Specification: protocol.vmc.info (MIT). Frames have no marks of their own in it: their bones come in one
bundle, in several, or each alone, and T and OK come before or after. A frame is complete as soon as it has
every bone that the frames before had; failing that, when T or OK comes or a bone comes again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from . import faces, osc
from .calibrated_humanoid import CalibratedHumanoid
from .humanoid import BONES, ROOT, from_unity
from .sample_buffer import PacketOrder
from .source import SourceState
from .source_form import OpenOptions, SourceForm, port_of
from .udp import FRAME_COST, UdpSource

PORT = 39539
_BONE, _ROOT = b"/VMC/Ext/Bone/Pos", b"/VMC/Ext/Root/Pos"
_VALUE, _APPLY = b"/VMC/Ext/Blend/Val", b"/VMC/Ext/Blend/Apply"
_OK, _TIME = b"/VMC/Ext/OK", b"/VMC/Ext/T"
_WANTED = frozenset((_BONE, _ROOT, _VALUE, _APPLY, _OK, _TIME))
_REORDER_SECONDS = 2.0  # T and time tags older by less are late packets
_REMEMBERED = 16  # datagrams, to know a repeated one by
_LEARNED = 8  # frames from which the performer's bones are known
_MAX_POSITION = 1e3
_FLOATS = {float}
_NO_FACE = np.zeros(len(faces.NAMES), np.float32)


class VmcSource(UdpSource):
    """A VMC performer.

    port, host: see UdpSource. calibration, calibrate_after: see CalibratedHumanoid; VRM 0 models need none, VRM 1 with
        its original bones a T-pose.
    """

    def __init__(
        self,
        port: int = PORT,
        host: str = "127.0.0.1",
        *,
        calibration: str = "auto",
        calibrate_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(host, port, clock=clock)
        self._humanoid = CalibratedHumanoid(self.samples, calibration, calibrate_after, faces.NAMES)
        self._names: dict[bytes, int | None] = {}
        self._new_peer()

    def _new_peer(self) -> None:
        self._rows = [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)] * (ROOT + 1)  # Unity's, as received
        self._good = list(self._rows)
        self._ever = 0  # bones, as bits
        self._frame = 0  # those of the frame that is coming
        self._again = 0  # those of it that came twice with the same value
        self._expected = 0
        self._completed = 0  # frames of one datagram
        self._recent: deque[int] = deque(maxlen=_LEARNED)
        self._faces: dict[bytes, float] = {}
        self._expression = _NO_FACE
        self._order = PacketOrder(_REORDER_SECONDS)
        self._tags = PacketOrder(_REORDER_SECONDS)
        self._remembered: deque[int] = deque(maxlen=_REMEMBERED)
        self._loaded = True
        self._humanoid.reset()

    def calibrate(self) -> None:
        self._humanoid.calibrate()

    @property
    def state(self) -> SourceState:
        return self.samples.state(
            f"VMC on UDP {self.host}:{self.port}",
            calibration=self._humanoid.calibration,
            peer=self._peer,
            hint=self._hint(),
        )

    def _hint(self) -> str:
        heard = self.samples.clock() - self._peer_s < 1.0
        if not heard:
            where = f"UDP {self.host}:{self.port}"
            reach = (
                " (programs on this machine only; --bind 0.0.0.0 hears others)"
                if self.host == "127.0.0.1"
                else ""
            )
            return (
                f"waiting for packets on {where}{reach}: in your app switch VMC sending on, to this machine's address and port "
                f"{self.port}"
            )
        if not self._loaded:
            return "the sending app has no avatar loaded: load one there"
        if not self._ever:
            return "packets come, but no bones: switch sending of bones (motion) on in your app"
        return self._humanoid.hint

    # ---- datagrams and messages ----------------------------------------------------------------------------

    def _datagram(self, data: bytes, now: float) -> tuple[int, bool]:
        packet = osc.parse(data, _WANTED)
        self.samples.drop("no OSC", packet.bad)
        verdict = ""
        # T within a bundle speaks for all of it
        seconds = next(
            (
                m.arguments[0]
                for m in packet.messages
                if m.address == _TIME and _are_floats(m.arguments, 0, 1)
            ),
            None,
        )
        if packet.timetag > osc.IMMEDIATELY or seconds is not None:
            mark = hash(data)
            verdict = "duplicate" if mark in self._remembered else ""
            self._remembered.append(mark)
        # Both may stand still: the parts of a frame share a time tag, and T, a float32, has steps of 16 ms
        # after 36 hours.
        if not verdict and packet.timetag > osc.IMMEDIATELY:
            verdict = self._tags.check(packet.timetag / 2**32, now, repeats=True)
        if not verdict and seconds is not None:
            verdict = self._order.check(seconds, now, repeats=True)
        if verdict:
            self.samples.drop(verdict)
            return packet.count, True
        self._completed = 0
        for message in packet.messages:
            self._message(message.address, message.arguments, now)
        return packet.count + FRAME_COST * self._completed, bool(packet.messages)

    def _message(self, address: bytes, arguments: tuple[Any, ...], now: float) -> None:
        if address == _BONE:
            if _are_floats(arguments, 1, 8) and type(arguments[0]) is bytes:
                self._bone(arguments, now)
            else:
                self.samples.drop("arguments")
        elif address == _VALUE:
            if _are_floats(arguments, 1, 2) and type(arguments[0]) is bytes and -1e3 < arguments[1] < 1e3:
                key = faces.known(arguments[0])
                if key is not None:
                    self._faces[key] = arguments[1]
        elif address == _APPLY:
            self._expression = faces.expression(self._faces.items())
            if not self._frame:
                self.samples.replace_expression(self._expression)
        elif address == _ROOT:
            if _are_floats(arguments, 1, 8):
                self._rows[ROOT] = arguments[1:8]
            else:
                self.samples.drop("arguments")
        elif address == _OK:
            if arguments and type(arguments[0]) is int:
                self._loaded = arguments[0] != 0
            self._complete(now)
        else:  # T
            self._complete(now)

    def _bone(self, arguments: tuple[Any, ...], now: float) -> None:
        name = arguments[0]
        row = self._names.get(name, -1)
        if row == -1:
            row = BONES.get(name.lower())
            if len(self._names) < 512:
                self._names[name] = row
        if row is None:
            self.samples.drop("unknown bone")
            return
        bit, value = 1 << row, arguments[1:8]
        if self._frame & bit:
            # The same value may be a repeated packet; a third time or another value is the next frame.
            if not self._again & bit and self._rows[row] == value:
                self._again |= bit
                return
            self._complete(now)
        self._rows[row] = value
        self._frame |= bit
        if self._frame == self._expected:
            self._complete(now)

    def _quiet(self, now: float) -> None:
        self._complete(now)

    # ---- frames --------------------------------------------------------------------------------------------

    def _complete(self, now: float) -> None:
        if not self._frame:
            return
        self._ever |= self._frame
        self._completed += 1
        self._recent.append(self._frame)
        self._frame = self._again = self._expected = 0
        for bones in self._recent:
            self._expected |= bones
        values = self._checked_values()
        if self._loaded:
            self._humanoid.frame(*from_unity(values), self._ever, self._expression, now)

    def _checked_values(self) -> np.ndarray:
        """The frame [56,7]; bones with impossible numbers keep the value of the frame before."""
        v = np.array(self._rows)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite fails the comparison
            size = np.einsum("ni,ni->n", v[:, 3:], v[:, 3:])
            fine = (size > 0.25) & (size < 4.0) & (np.abs(v[:, :3]).max(axis=1) < _MAX_POSITION)
        if not fine.all():
            for row in np.flatnonzero(~fine).tolist():
                self.samples.drop("values")
                self._rows[row] = self._good[row]
            v = np.array(self._rows)
        self._good = list(self._rows)
        return v


def _are_floats(arguments: tuple[Any, ...], start: int, stop: int) -> bool:
    return len(arguments) >= stop and set(map(type, arguments[start:stop])) == _FLOATS


def _open(port: str, options: OpenOptions) -> VmcSource:
    return VmcSource(
        port_of(port, PORT),
        options.bind,
        calibration=options.calibration,
        calibrate_after=options.calibrate_after,
    )


FORM = SourceForm("vmc", "vmc[:PORT]", _open, calibrates=True)
