"""Live sources by the name that `dinar live` takes."""

from __future__ import annotations

from collections.abc import Sequence

from dinar_live.runtime.core.errors import MotionError
from dinar_live.runtime.vision.video import SUFFIXES

from . import file_source, mocopi, rokoko, seen_source, slimevr, smpl24, vmc, webxr, zmq_pose
from .source import Source
from .source_form import OpenOptions, SourceForm, WrongForm

SOURCES: tuple[SourceForm, ...] = (
    vmc.FORM,
    rokoko.FORM,
    mocopi.FORM,
    slimevr.FORM,
    webxr.FORM,
    zmq_pose.FORM,
    smpl24.FORM,
    file_source.FORM,
    seen_source.CAMERA_FORM,
    seen_source.VIDEO_FORM,
)
FORMS = f"{', '.join(s.form for s in SOURCES[:-1])} or {SOURCES[-1].form}"
CALIBRATED = ", ".join(s.kind for s in SOURCES if s.calibrates)


def open_source(
    text: str, *, bind: str = "127.0.0.1", calibration: str = "auto", calibrate_after: float | None = None
) -> Source:
    """A source that is not started yet. text: one of FORMS. bind, calibration, calibrate_after: of
    `OpenOptions`. Raises MotionError or InputError."""
    kind, _, rest = text.partition(":")
    expected = FORMS
    if (form := form_of(text)) is not None:
        try:
            return form.open(
                rest if kind == form.kind else text, OpenOptions(bind, calibration, calibrate_after)
            )
        except WrongForm as e:
            expected = f"{e}, or {FORMS}" if str(e) else FORMS
    raise MotionError(f"source: got {text!r}, expected {expected}")


def form_of(text: str) -> SourceForm | None:
    """The form that `text` is meant to have, by what stands before its colon, or as the name of a video; None if
    none is of this kind."""
    kind = text.partition(":")[0]
    if (form := next((form for form in SOURCES if form.kind == kind), None)) is not None:
        return form
    return seen_source.VIDEO_FORM if text.lower().endswith(SUFFIXES) else None


def smoothing(texts: Sequence[str]) -> float | None:
    """Hz of the One-Euro filter that sources need where the user says nothing, None for none."""
    forms = [form_of(text) for text in texts]
    return max((form.smooth for form in forms if form is not None and form.smooth is not None), default=None)
