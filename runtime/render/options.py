"""RenderOptions: what may be asked of a Renderer, checked. RenderPlan: an avatar under such options."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TypedDict, Unpack

import numpy as np

from dinar_live import engines
from dinar_live.runtime.avatar import Avatar, RendererSpec
from dinar_live.runtime.core.errors import InputError

from .memory import DEFAULT_MEMORY, MemoryBudget
from .window import padded

MAX_SIDE = 4096
MAX_THREADS = 256
RASTERIZERS = ("auto", "native", "nvdiffrast")
INTEL, INTEL_ENGINE = "intel", "openvino-intel"
GPU_RASTERIZERS = ("nvdiffrast",)
"""Those that only a GPU has."""


class RenderKeywords(TypedDict, total=False):
    """The fields of RenderOptions but the size, for editors and type checkers where they are given as
    keywords."""

    renderer: str
    device: str
    engine: str
    rasterizer: str
    precision: str
    background: tuple[float, float, float] | None
    straight: bool
    depth: bool
    crop: bool
    smooth_edges: bool
    background_compile: bool
    threads: int
    stage_times: bool
    memory: int | MemoryBudget
    progress: engines.Progress | None


@dataclass(frozen=True)
class RenderOptions:
    """What may be asked of a Renderer.

    size: (height, width) in pixels. renderer: auto (the avatar's first) or the name of one of its renderers.
    device: auto (an NVIDIA GPU if all that is asked for can be had there) | cpu | cuda | cuda:N | intel
        (the network on Intel's graphics or NPU, through OpenVINO; auto takes it where it is measured to be faster).
    engine: auto or one of engines.engine_names(). precision: auto | f32 | bf16 | f16.
    rasterizer: auto | native | nvdiffrast (which only a GPU has).
    background: (r, g, b) in [0,1] to composite over, None keeps the alpha. straight: unmultiplied colour.
    depth: also return depth. crop: run on the body's box only.
    smooth_edges: edges within the body and its outline are antialiased by samples.
    background_compile: False makes a frame with a new window size wait for the compiler.
    threads: 0 = all cores.
    stage_times: on a GPU, measure every stage, which makes frames slower (a CPU always does).
    memory: on a CPU, bytes that compiled sizes may take, by estimate; the whole frame's is always made. A
        MemoryBudget is for several renderers, and whoever shares it accounts for `Renderer.memory`.
    progress: called with (fraction, what) while an engine is built that takes long (TensorRT), also from
        another thread.
    Raises InputError, naming the option.
    """

    size: tuple[int, int] = (512, 512)
    renderer: str = "auto"
    device: str = "auto"
    engine: str = "auto"
    rasterizer: str = "auto"
    precision: str = "auto"
    background: tuple[float, float, float] | None = None
    straight: bool = False
    depth: bool = False
    crop: bool = True
    smooth_edges: bool = True
    background_compile: bool = True
    threads: int = 0
    stage_times: bool = False
    memory: int | MemoryBudget = field(default=DEFAULT_MEMORY, repr=False)
    progress: engines.Progress | None = field(default=None, repr=False)

    def __post_init__(self):
        size = self.size
        if not (
            isinstance(size, tuple | list)
            and len(size) == 2
            and all(isinstance(s, int | np.integer) and 1 <= s <= MAX_SIDE for s in size)
        ):
            raise InputError(f"size: got {size!r}, expected (height, width) as whole pixels in 1..{MAX_SIDE}")
        if self.background is not None and not (
            len(self.background) == 3 and all(0 <= c <= 1 for c in self.background)
        ):
            raise InputError(f"background: got {self.background!r}, expected three numbers in [0, 1] or None")
        if not (isinstance(self.threads, int | np.integer) and 0 <= self.threads <= MAX_THREADS):
            raise InputError(f"threads: got {self.threads!r}, expected 0 (all cores) to {MAX_THREADS}")
        for name, known in (
            ("rasterizer", RASTERIZERS),
            ("precision", engines.PRECISIONS),
            ("engine", (engines.AUTO, *engines.engine_names())),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected {', '.join(known)}")
        if not isinstance(self.memory, MemoryBudget) and not (
            isinstance(self.memory, int) and 0 < self.memory < 1 << 62
        ):
            raise InputError(f"memory: got {self.memory!r}, expected a positive number of bytes")
        if self.device not in ("auto", "cpu", INTEL) and self.gpu_index is None:
            raise InputError(f"device: got {self.device!r}, expected auto, cpu, cuda, cuda:N or intel")
        if self.device == INTEL and self.engine not in (engines.AUTO, INTEL_ENGINE):
            raise InputError(f"engine: got {self.engine} with device intel; use {INTEL_ENGINE} or auto")
        if self.device in ("cpu", INTEL) and self.rasterizer in GPU_RASTERIZERS:
            raise InputError(
                f"rasterizer: {self.rasterizer} needs an NVIDIA GPU, got device {self.device!r}; use native, or device cuda"
            )
        if self.gpu_index is not None and not self.engine_on_gpu:
            on_gpu = ", ".join(engines.engine_names("gpu"))
            raise InputError(
                f"engine: {self.engine} runs on the CPU, got device {self.device!r}; use {on_gpu} or auto, or device cpu"
            )
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))
        object.__setattr__(self, "threads", int(self.threads))

    @property
    def gpu_index(self) -> int | None:
        """Number of the GPU that the device names; None for auto, cpu and what is no device."""
        found = (
            re.fullmatch(r"cuda(?::(\d{1,3}))?", self.device, re.ASCII)
            if isinstance(self.device, str)
            else None
        )
        return int(found[1] or 0) if found else None

    @property
    def engine_on_gpu(self) -> bool:
        """Whether the engine may run on a GPU."""
        return engines.engine_runs_on(self.engine) != "cpu"

    def changed(
        self, size: tuple[int, int] | None = None, **changes: Unpack[RenderKeywords]
    ) -> RenderOptions:
        """These options with some of them changed. Raises InputError, and TypeError for an unknown name."""
        return replace(self, size=self.size if size is None else size, **changes)


@dataclass(frozen=True, eq=False)
class RenderPlan:
    """An avatar under options. renderer: the name that was meant, with its spec. Raises InputError for a
    renderer that the avatar does not have."""

    avatar: Avatar
    options: RenderOptions
    renderer: str = field(init=False)
    spec: RendererSpec = field(init=False)

    def __post_init__(self):
        renderers, name = self.avatar.renderers, self.options.renderer
        if name != "auto" and name not in renderers:
            raise InputError(f"renderer: got {name!r}, the avatar has {', '.join(renderers)}")
        name = next(iter(renderers)) if name == "auto" else name
        object.__setattr__(self, "renderer", name)
        object.__setattr__(self, "spec", renderers[name])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a frame, pixels."""
        return self.options.size

    @property
    def padded(self) -> tuple[int, int]:
        """The whole frame (height, width) rounded up to the network's stride."""
        return padded(self.size, self.spec.stride)

    @property
    def smooth_edges(self) -> bool:
        """Whether edges are smoothed. Networks of DINAR's kind, whose alpha is joined with the mask, were trained
        on hard ones; a texture of less than three channels has no colour."""
        colour = self.spec.texture.shape[2] >= 3
        return self.options.smooth_edges and colour and not self.spec.hardsegm

    @property
    def blank(self) -> tuple[int, int, int, int]:
        """The RGBA bytes of a pixel where nothing is."""
        if self.options.background is None:
            return 0, 0, 0, 0
        r, g, b = (int(255 * c + 0.5) for c in self.options.background)
        return r, g, b, 255
