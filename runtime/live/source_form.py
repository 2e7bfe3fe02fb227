"""How a live source is named on the command line and opened. Each source's module declares its own FORM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .source import Source


class WrongForm(ValueError):
    """What stands behind the kind's colon is not what it takes; the text says what was expected, "" if the form
    says it all."""


@dataclass(frozen=True)
class OpenOptions:
    """What a user may say of any source; each takes what concerns it.

    bind: the address of this machine on which UDP sources listen. calibration, calibrate_after: see
        CalibratedHumanoid.
    """

    bind: str = "127.0.0.1"
    calibration: str = "auto"
    calibrate_after: float | None = None


@dataclass(frozen=True)
class SourceForm:
    """kind: what stands before the colon. form: what to write, as help shows it. open: makes a source, not
    started, of what stands behind the colon; raises WrongForm, MotionError or InputError.
    calibrates: whether it may ask its performer for a T-pose. smooth: Hz of the One-Euro filter that its poses need
    where the user says nothing, None = none.
    """

    kind: str
    form: str
    open: Callable[[str, OpenOptions], Source]
    calibrates: bool = False
    smooth: float | None = None


def port_of(text: str, default: int) -> int:
    """The port number behind the colon, `default` without one. Raises WrongForm."""
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise WrongForm("a port number after the colon")
    return int(text)
