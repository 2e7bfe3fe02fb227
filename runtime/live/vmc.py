"""VMC protocol receiver (Marionette): the poses of VRM performers over OSC/UDP.

Specification: protocol.vmc.info (MIT). Frames have no marks of their own in it: their bones come in one
bundle, in several, or each alone, and T and OK come before or after. A frame is complete as soon as it has
every bone that the frames before had; failing that, when T or OK comes or a bone comes again.

Several apps of one machine may send to one port, such as one the body and one the face. They are told apart by
the port that they send from. One of them leads: it sends the body. What the others have beside it is added.
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
from .source import SourceState
from .source_form import OpenOptions, SourceForm, port_of
from .udp import FRAME_COST, UdpSource
from .vmc_app import TIME, SendingApp, are_numbers

PORT = 39539
_BONE, _ROOT = b"/VMC/Ext/Bone/Pos", b"/VMC/Ext/Root/Pos"
_VALUE, _APPLY = b"/VMC/Ext/Blend/Val", b"/VMC/Ext/Blend/Apply"
_OK = b"/VMC/Ext/OK"
_WANTED = frozenset((_BONE, _ROOT, _VALUE, _APPLY, _OK, TIME))
_LEARNED = 8  # frames from which the performer's bones are known
_MAX_POSITION = 1e3
_MAX_APPS = 8  # sending ports; more than that is one app that takes a new one for each datagram
_TAKEOVER_SECONDS = 1.0  # silence after which another app may send the body
_APP_SECONDS = 2.0  # silence after which an app is forgotten, its face too
_NO_FACE = np.zeros(len(faces.NAMES), np.float32)


class VmcSource(UdpSource):
    """A VMC performer.

    port, host: see UdpSource. calibration, calibrate_after: see CalibratedHumanoid; VRM 0 models need none, VRM 1 with
        its original bones a T-pose.
    """

    kind = "VMC"

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
        self._apps: dict[int, SendingApp] = {}
        self._one_app = False  # ports do not tell apps apart
        self._new_performer(None)

    def _new_performer(self, lead: SendingApp | None) -> None:
        self._lead = lead  # the app that sends the body
        self._rows: list[tuple[float, ...]] = [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)] * (
            ROOT + 1
        )  # Unity's, as received
        if lead is not None:
            self._rows[ROOT] = lead.root
        self._good = list(self._rows)
        self._ever = 0  # bones, as bits
        self._frame = 0  # those of the frame that is coming
        self._again = 0  # those of it that came twice with the same value
        self._expected = 0
        self._completed = 0  # frames of one datagram
        self._recent: deque[int] = deque(maxlen=_LEARNED)
        self._expression = _NO_FACE
        self._humanoid.reset()

    def calibrate(self) -> None:
        self._humanoid.calibrate()

    @property
    def state(self) -> SourceState:
        return self.samples.state(
            f"{self.kind} on UDP {self.host}:{self.port}",
            calibration=self._humanoid.calibration,
            peer=self._peer,
            hint=self._hint(),
        )

    def _hint(self) -> str:
        now = self.samples.clock()
        if now - self._peer_s >= 1.0:
            return self._waiting_hint()
        lead, apps = self._lead, list(self._apps.values())
        if not (lead.loaded if lead is not None else any(app.loaded for app in apps)):
            return "the sending app has no avatar loaded: load one there"
        if lead is None or now - lead.bones_s > _TAKEOVER_SECONDS:
            if any(app.expression.any() for app in apps):
                return "no Hips and no other bones come, only a face: switch sending of bones (motion) on in your app, if it has them"
            return "packets come, but no bones: switch sending of bones (motion) on in your app"
        bodies = [app.port for app in apps if app.has_hips and now - app.bones_s < _TAKEOVER_SECONDS]
        if lead.port in bodies and len(bodies) > 1:
            others = ", ".join(str(port) for port in bodies if port != lead.port)
            return (
                f"two apps send a body to this port: the one that sends from port {lead.port} is used, not {others}. Close one, "
                "or give each a port of its own"
            )
        return self._humanoid.hint

    def _waiting_hint(self) -> str:
        reach = ""
        if self.host == "127.0.0.1":
            reach = " (programs on this machine only; --bind 0.0.0.0 hears others)"
        return (
            f"waiting for packets on UDP {self.host}:{self.port}{reach}: in your app switch VMC sending on, to this machine's "
            f"address and port {self.port}"
        )

    # ---- datagrams and messages ----------------------------------------------------------------------------

    def _datagram(self, data: bytes, now: float, port: int) -> tuple[int, bool]:
        packet = osc.parse(data, _WANTED)
        self.samples.drop("no OSC", packet.bad)
        if not packet.messages:
            return packet.count, False
        app = self._app(port, now)
        if verdict := app.verdict(data, packet, now):
            self.samples.drop(verdict)
            return packet.count, True
        app.heard_s = now
        self._completed = 0
        for message in packet.messages:
            self._message(app, message.address, message.arguments, now)
        return packet.count + FRAME_COST * self._completed, True

    def _app(self, port: int, now: float) -> SendingApp:
        """The app that sends from this port."""
        app = self._apps.get(0 if self._one_app else port)
        if app is not None:
            return app
        for old in [a for a in self._apps.values() if now - a.heard_s > _APP_SECONDS]:
            if old is not self._lead:
                del self._apps[old.port]
        if len(self._apps) >= _MAX_APPS:
            self._one_app = True
            self._apps.clear()
            port = 0
            self._new_performer(None)
        app = self._apps[port] = SendingApp(port, now)
        return app

    def _message(self, app: SendingApp, address: bytes, arguments: tuple[Any, ...], now: float) -> None:
        if address == _BONE:
            if are_numbers(arguments, 1, 8) and type(arguments[0]) is bytes:
                self._bone(app, arguments, now)
            else:
                self.samples.drop("arguments")
        elif address == _VALUE:
            self._face(app, arguments)
        elif address == _APPLY:
            app.apply()
            self._expression = self._faces(now)
            if self._lead is None and not app.bones:
                if app.loaded:  # a face and no body at all
                    self._humanoid.frame(*from_unity(np.array(self._rows)), 0, self._expression, now)
            elif not self._frame:
                self.samples.replace_expression(self._expression)
        elif address == _ROOT:
            if are_numbers(arguments, 1, 8):
                app.root = arguments[1:8]
                if app is self._lead:
                    self._rows[ROOT] = app.root
            else:
                self.samples.drop("arguments")
        elif address == _OK:
            if arguments and type(arguments[0]) in (int, float, bool):
                app.loaded = arguments[0] != 0
            if app is self._lead:
                self._complete(now)
        elif app is self._lead:  # T
            self._complete(now)

    def _face(self, app: SendingApp, arguments: tuple[Any, ...]) -> None:
        if not are_numbers(arguments, 1, 2) or type(arguments[0]) is not bytes:
            self.samples.drop("arguments")
        elif not -1e3 < arguments[1] < 1e3:
            self.samples.drop("values")
        elif (key := faces.known(arguments[0])) is not None:
            app.face(key, arguments[1])
        else:
            self.samples.unknown("unknown expression", arguments[0])

    def _faces(self, now: float) -> np.ndarray:
        """The faces of all apps: of each expression the largest value."""
        heard = [a.expression for a in self._apps.values() if now - a.heard_s <= _APP_SECONDS]
        return np.max(heard, axis=0) if len(heard) > 1 else heard[0]

    def _bone(self, app: SendingApp, arguments: tuple[Any, ...], now: float) -> None:
        name = arguments[0]
        row = self._names.get(name, -1)
        if row == -1:
            row = BONES.get(name.lower())
            if len(self._names) < 512:
                self._names[name] = row
        if row is None:
            self.samples.unknown("unknown bone", name)
            return
        bit, value = 1 << row, arguments[1:8]
        leads = self._leads(app, row, now)
        app.has_bone(row, now)
        if not leads:
            self._beside(app, row, value)
            return
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

    def _leads(self, app: SendingApp, row: int, now: float) -> bool:
        """Whether the body is this app's, which now sends this bone; it is, where nobody sends one of late or
        where only this one has hips."""
        lead = self._lead
        if lead is app:
            return True
        if lead is not None and now - lead.bones_s <= _TAKEOVER_SECONDS and (row or lead.has_hips):
            return False
        self._new_performer(app)
        return True

    def _beside(self, app: SendingApp, row: int, value: tuple[float, ...]) -> None:
        """A bone of an app that does not lead: used where that one is no whole body and the lead lacks it."""
        assert self._lead is not None
        bit = 1 << row
        if app.has_hips:
            self.samples.drop("another body")
        elif self._lead.bones & bit:
            self.samples.drop("bone of another app")
        else:
            self._rows[row] = value
            self._ever |= bit

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
        if self._lead is not None and self._lead.loaded:
            self._humanoid.frame(*from_unity(values), self._ever, self._expression, now)

    def _checked_values(self) -> np.ndarray:
        """The frame [56,7]; bones with impossible numbers keep the value of the frame before."""
        v = np.array(self._rows, np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite fails the comparison
            size = np.einsum("ni,ni->n", v[:, 3:], v[:, 3:])
            fine = (size > 0.25) & (size < 4.0) & (np.abs(v[:, :3]).max(axis=1) < _MAX_POSITION)
        if not fine.all():
            for row in np.flatnonzero(~fine).tolist():
                self.samples.drop("values")
                self._rows[row] = self._good[row]
            v = np.array(self._rows, np.float64)
        self._good = list(self._rows)
        return v


def _open(port: str, options: OpenOptions) -> VmcSource:
    return VmcSource(
        port_of(port, PORT),
        options.bind,
        calibration=options.calibration,
        calibrate_after=options.calibrate_after,
    )


FORM = SourceForm("vmc", "vmc[:PORT]", _open, calibrates=True)
