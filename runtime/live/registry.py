"""Live sources by the name that `dinar live` takes."""

from __future__ import annotations

from pathlib import Path

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.motion.files import load_motion

from . import rokoko, vmc
from .smpl24 import Smpl24Source
from .source import FileSource, Source
from .zmq_pose import SmplxSubscriber

FORMS = "vmc[:PORT], rokoko[:PORT], smplx:tcp://HOST:PORT, smpl24:tcp://HOST:PORT or file:PATH"


def open_source(
    text: str, *, bind: str = "127.0.0.1", calibration: str = "auto", calibrate_after: float | None = None
) -> Source:
    """A source that is not started yet. text: one of FORMS.

    bind: the address of this machine on which UDP sources listen. calibration, calibrate_after: see
    Performer. Raises MotionError or InputError.
    """
    kind, _, rest = text.partition(":")
    match kind:
        case "vmc":
            return vmc.VmcSource(
                _port(rest, vmc.PORT, text), bind, calibration=calibration, calibrate_after=calibrate_after
            )
        case "rokoko":
            return rokoko.RokokoSource(
                _port(rest, rokoko.PORT, text), bind, calibration=calibration, calibrate_after=calibrate_after
            )
        case "smplx" if rest:
            return SmplxSubscriber(rest)
        case "smpl24" if rest:
            return Smpl24Source(rest)
        case "file" if rest:
            return FileSource(load_motion(Path(rest)))
    raise MotionError(f"source: got {text!r}, expected {FORMS}")


def _port(text: str, default: int, whole: str) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise MotionError(f"source: got {whole!r}, expected a port number after the colon, or {FORMS}")
    return int(text)
