"""FrameFormat: what a client wants its frames to be, in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dinar_live.runtime.core.errors import InputError

from .messages import (
    DEFLATE_PLANE,
    HALF_DEFLATE,
    HALF_RAW,
    INVERSE_DEFLATE,
    INVERSE_RAW,
    JPEG,
    MAX_DEPTH,
    MIN_DEPTH,
    NO_PLANE,
    RAW,
    RAW_PLANE,
    Format,
)

MAX_MARGIN = 65535
# word -> codes on the wire, as it is and deflated
_ALPHA = {"none": (NO_PLANE, NO_PLANE), "full": (RAW_PLANE, DEFLATE_PLANE), "half": (HALF_RAW, HALF_DEFLATE)}
_DEPTH = {
    "none": (NO_PLANE, NO_PLANE),
    "metres": (RAW_PLANE, DEFLATE_PLANE),
    "inverse": (INVERSE_RAW, INVERSE_DEFLATE),
}


@dataclass(frozen=True)
class FrameFormat:
    """How frames come.

    color: "jpeg" (colour lossy, alpha exact) or "raw" (exact, large). quality: of the JPEG, 1..100.
    alpha: "full", "half" (a quarter of the pixels, smooth edges) or "none" (opaque over black); raw colour
        always has it.
    straight: colour not multiplied by alpha. background: (r, g, b) in [0,1] to composite over; there is no
        alpha then.
    depth: "none", "metres" (float32) or "inverse" (16 bits over depth_range = (near, far) in metres, None =
        what each frame needs).
    margin: pixels around the avatar's box that are sent too. compress: deflate alpha and depth.
    Raises InputError.
    """

    color: str = "jpeg"
    quality: int = 85
    alpha: str = "full"
    straight: bool = False
    background: tuple[float, float, float] | None = None
    depth: str = "none"
    depth_range: tuple[float, float] | None = None
    margin: int = 0
    compress: bool = True

    def __post_init__(self):
        for name, known in (("color", ("jpeg", "raw")), ("alpha", _ALPHA), ("depth", _DEPTH)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"FrameFormat.{name}: got {getattr(self, name)!r}, expected one of {', '.join(known)}"
                )
        for name, low, high in (("quality", 1, 100), ("margin", 0, MAX_MARGIN)):
            value = getattr(self, name)
            if not (isinstance(value, int) and low <= value <= high):
                raise InputError(
                    f"FrameFormat.{name}: got {value!r}, expected a whole number in {low}..{high}"
                )
        if self.background is not None:
            if not (len(self.background) == 3 and all(0 <= c <= 1 for c in self.background)):
                raise InputError(
                    f"FrameFormat.background: got {self.background!r}, expected three numbers in [0, 1] or None"
                )
            if self.straight:
                raise InputError(
                    "FrameFormat.straight: a frame over a background is opaque, so nothing in it is straight"
                )
        r = self.depth_range
        if r is not None and not (len(r) == 2 and MIN_DEPTH <= r[0] < r[1] <= MAX_DEPTH):
            raise InputError(
                f"FrameFormat.depth_range: got {r!r}, expected (near, far) in metres, near < far, "
                f"both in {MIN_DEPTH:g}..{MAX_DEPTH:g}"
            )

    @cached_property
    def wire(self) -> Format:
        """The same in the numbers of the protocol."""
        alpha = "none" if self.color == "raw" or self.background is not None else self.alpha
        background = None
        if self.background is not None:
            red, green, blue = (int(255 * c + 0.5) for c in self.background)
            background = (red, green, blue)
        near, far = self.depth_range or (0.0, 0.0)
        return Format(
            {"jpeg": JPEG, "raw": RAW}[self.color],
            self.quality,
            _ALPHA[alpha][self.compress],
            _DEPTH[self.depth][self.compress],
            self.straight,
            background,
            self.margin,
            near,
            far,
        )
