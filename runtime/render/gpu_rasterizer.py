"""Which rasterizer a GpuPipeline uses: its own kernels', or another one that may not be part of a CUDA graph."""

from __future__ import annotations

from typing import Protocol

from ..errors import DinarError
from .gpu_device import Gpu


class Rasterizer(Protocol):
    """name; capturable: whether its work may be captured into a graph."""

    name: str
    capturable: bool

    def rasterize(self, stream, scene, parameters, projective, target, samples: int) -> None:
        """As kernels.cuda.Program.rasterize: fill target.visibility, asynchronously on the stream."""
        ...


def open_rasterizer(name: str, gpu: Gpu) -> Rasterizer | None:
    """auto, native or nvdiffrast; None = the kernels' own. Raises DinarError."""
    if name == "nvdiffrast":
        raise DinarError("rasterizer nvdiffrast: this version has no adapter for it yet; use native")
    return None
