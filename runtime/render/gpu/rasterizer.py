"""Which rasterizer a GpuPipeline uses: its own kernels', or another one that may not be part of a CUDA
graph."""

from __future__ import annotations

import warnings
from typing import Protocol

from dinar_live.kernels.cuda import CudaError, NvdiffrastRasterizer
from dinar_live.runtime.core.errors import DinarError

from .device import SharedGpu


class Rasterizer(Protocol):
    """name; capturable: whether its work may be captured into a graph."""

    name: str
    capturable: bool

    def rasterize(self, stream, scene, parameters, projective, target, samples: int) -> None:
        """As kernels.cuda.Program.rasterize: fill target.visibility, asynchronously on the stream."""
        ...


def open_rasterizer(name: str, gpu: SharedGpu) -> Rasterizer | None:
    """auto (nvdiffrast where it is installed), native or nvdiffrast; None = the kernels' own. Raises
    DinarError."""
    if name == "native" or (name == "auto" and NvdiffrastRasterizer.missing() is not None):
        return None
    try:
        return NvdiffrastRasterizer(gpu.program)
    except CudaError as e:
        if name == "auto":
            warnings.warn(f"rasterizer native instead of nvdiffrast: {e}", RuntimeWarning, stacklevel=2)
            return None
        raise DinarError(f"rasterizer nvdiffrast: {e}") from e
