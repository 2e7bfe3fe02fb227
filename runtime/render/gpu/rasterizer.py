"""Which rasterizer a GpuPipeline uses: its own kernels', or another one that may not be part of a CUDA
graph."""

from __future__ import annotations

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
    """auto and native: the kernels' own, as None; nvdiffrast where it is asked for. Nobody has measured yet whether
    nvdiffrast is ever faster: it waits for the GPU in every call, and splits the graph. Raises DinarError."""
    if name != "nvdiffrast":
        return None
    try:
        return NvdiffrastRasterizer(gpu.program)
    except CudaError as e:
        raise DinarError(f"rasterizer nvdiffrast: {e}") from e
