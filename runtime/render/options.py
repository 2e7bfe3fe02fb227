"""What a Renderer was asked for, checked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dinar_live.runtime.avatar.avatar import Avatar, RendererSpec
from dinar_live.runtime.core.errors import InputError

from .window import padded

MAX_SIDE = 4096
MAX_THREADS = 256


@dataclass(frozen=True, eq=False)
class RenderOptions:
    """The options of Renderer that every pipeline needs; see there. `renderer` is the resolved name, `spec`
    its RendererSpec, `padded` the whole picture (height, width) rounded up to the network's stride. Raises
    InputError, naming the option."""

    avatar: Avatar
    size: tuple[int, int]
    renderer: str
    background: tuple[float, float, float] | None
    straight: bool
    depth: bool
    crop: bool
    threads: int
    spec: RendererSpec = field(init=False)

    def __post_init__(self):
        size, avatar = self.size, self.avatar
        if not (
            isinstance(size, tuple | list)
            and len(size) == 2
            and all(isinstance(s, int | np.integer) and 1 <= s <= MAX_SIDE for s in size)
        ):
            raise InputError(f"size: got {size!r}, expected (height, width) as whole pixels in 1..{MAX_SIDE}")
        if self.renderer != "auto" and self.renderer not in avatar.renderers:
            raise InputError(f"renderer: got {self.renderer!r}, the avatar has {', '.join(avatar.renderers)}")
        if self.background is not None and not (
            len(self.background) == 3 and all(0 <= c <= 1 for c in self.background)
        ):
            raise InputError(f"background: got {self.background!r}, expected three numbers in [0, 1] or None")
        if not (isinstance(self.threads, int | np.integer) and 0 <= self.threads <= MAX_THREADS):
            raise InputError(f"threads: got {self.threads!r}, expected 0 (all cores) to {MAX_THREADS}")
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))
        object.__setattr__(
            self, "renderer", next(iter(avatar.renderers)) if self.renderer == "auto" else self.renderer
        )
        object.__setattr__(self, "spec", avatar.renderers[self.renderer])

    @property
    def padded(self) -> tuple[int, int]:
        return padded(self.size, self.spec.stride)

    @property
    def blank(self) -> tuple[int, int, int, int]:
        """The RGBA bytes of a pixel where nothing is."""
        return (
            (0, 0, 0, 0) if self.background is None else (*(int(255 * c + 0.5) for c in self.background), 255)
        )
