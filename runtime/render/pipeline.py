"""Pipeline: what does the work of a Renderer, and which one it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dinar_live import engines
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError
from dinar_live.runtime.core.pose import Pose

from .cpu import CpuPipeline
from .frame import Frame
from .options import GPU_RASTERIZERS, INTEL, RenderPlan
from .window import Window


class Pipeline(Protocol):
    """Renders poses that were checked. device: "cpu" or "cuda:N". engine_info: None without a network. Raises
    DinarError, ValueError and EngineError."""

    device: str
    rasterizer_name: str

    @property
    def engine_info(self) -> engines.EngineInfo | None: ...

    @property
    def memory(self) -> int:
        """Bytes of this machine's memory that it takes and keeps, by estimate; windows of other sizes come on
        top."""
        ...

    def describe(self) -> str:
        """What runs and why, for people."""
        ...

    def windows(self, pose: Pose, cameras: Sequence[Camera]) -> list[Window | None]:
        """The part of each frame that will be worked on, None where the body is out of sight."""
        ...

    def render(self, pose: Pose, cameras: Sequence[Camera]) -> tuple[Frame, ...]:
        """One frame per camera; see Frame for how long they are valid."""
        ...

    def close(self) -> None:
        """Free everything but the frames already returned."""
        ...


def open_pipeline(plan: RenderPlan) -> Pipeline:
    """The pipeline that the options ask for; "auto" takes the GPU if all that is asked for can be had there.
    Raises InputError, DinarError, EngineError."""
    options = plan.options
    why_not = ""
    if options.device == "auto" and not options.engine_on_gpu:
        why_not = f"the engine {options.engine} was asked for"
    elif options.device not in ("cpu", INTEL):
        try:
            return _open_gpu(plan)
        except (DinarError, engines.EngineError) as e:
            if options.device != "auto":
                raise
            if options.rasterizer in GPU_RASTERIZERS:
                raise DinarError(
                    f"rasterizer {options.rasterizer} needs an NVIDIA GPU: {e}"
                    if options.rasterizer not in str(e)
                    else str(e)
                ) from e
            why_not = str(e).split(";")[0]  # what to do about it is for `dinar doctor` to say
    return CpuPipeline(plan, why_not)


def _open_gpu(plan: RenderPlan) -> Pipeline:
    from dinar_live.kernels import cuda
    from dinar_live.runtime.render.gpu.device import shared_gpu
    from dinar_live.runtime.render.gpu.pipeline import GpuPipeline

    try:
        gpu = shared_gpu(plan.options.gpu_index or 0)
    except cuda.CudaError as e:
        raise DinarError(str(e)) from e
    return GpuPipeline(plan, gpu)
