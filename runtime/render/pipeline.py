"""Pipeline: what does the work of a Renderer, and which one it gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from dinar_live import engines
from dinar_live.runtime.core.camera import Camera
from dinar_live.runtime.core.errors import DinarError, InputError
from dinar_live.runtime.core.pose import Pose

from .cpu import CpuPipeline
from .frame import Frame
from .options import RenderOptions
from .window import Window

RASTERIZERS = ("auto", "native", "nvdiffrast")
CPU_ENGINES = ("openvino",)
"""Those that run on the CPU only."""


class Pipeline(Protocol):
    """Renders poses that were checked. device: "cpu" or "cuda:N". engine_info: None without a network. Raises
    DinarError, ValueError and EngineError."""

    device: str
    rasterizer_name: str
    engine_info: engines.EngineInfo | None

    def describe(self) -> str:
        """What runs and why, for people."""
        ...

    def windows(self, pose: Pose, cameras: Sequence[Camera]) -> list[Window | None]:
        """The part of each picture that will be worked on, None where the body is out of sight."""
        ...

    def render(self, pose: Pose, cameras: Sequence[Camera]) -> tuple[Frame, ...]:
        """One frame per camera; see Frame for how long they are valid."""
        ...

    def close(self) -> None:
        """Free everything but the frames already returned."""
        ...


def open_pipeline(
    options: RenderOptions,
    *,
    device: str,
    engine: str,
    rasterizer: str,
    precision: str,
    background_compile: bool,
    **gpu_options,
) -> Pipeline:
    """The pipeline that the options ask for (see Renderer); "auto" takes the GPU if all that is asked for can
    be had there. gpu_options: stage_times, progress. Raises InputError, DinarError, EngineError."""
    if rasterizer not in RASTERIZERS:
        raise InputError(f"rasterizer: got {rasterizer!r}, expected {', '.join(RASTERIZERS)}")
    gpu_index = re.fullmatch(r"cuda(?::(\d{1,3}))?", device) if isinstance(device, str) else None
    if device not in ("auto", "cpu") and gpu_index is None:
        raise InputError(f"device: got {device!r}, expected auto, cpu, cuda or cuda:N")
    if device == "cpu" and rasterizer == "nvdiffrast":
        raise InputError(
            "rasterizer: nvdiffrast needs an NVIDIA GPU, got device 'cpu'; use native, or device cuda"
        )
    if gpu_index and engine in CPU_ENGINES:
        raise InputError(
            f"engine: {engine} runs on the CPU, got device {device!r}; use tensorrt, torch or auto, or device cpu"
        )
    why_not = ""
    if device == "auto" and engine in CPU_ENGINES:
        why_not = f"the engine {engine} was asked for"
    elif device != "cpu":
        try:
            return _open_gpu(
                options,
                int(gpu_index[1] or 0) if gpu_index else 0,
                engine=engine,
                rasterizer=rasterizer,
                precision=precision,
                background_compile=background_compile,
                **gpu_options,
            )
        except (DinarError, engines.EngineError) as e:
            if device != "auto":
                raise
            if rasterizer == "nvdiffrast":  # which the CPU has not
                raise DinarError(
                    f"rasterizer nvdiffrast needs an NVIDIA GPU: {e}"
                    if "nvdiffrast" not in str(e)
                    else str(e)
                ) from e
            why_not = str(e).split(";")[0]  # what to do about it is for `dinar doctor` to say
    return CpuPipeline(
        options, engine=engine, precision=precision, background_compile=background_compile, why=why_not
    )


def _open_gpu(options: RenderOptions, index: int, **gpu_options) -> Pipeline:
    from dinar_live.kernels import cuda
    from dinar_live.runtime.render.gpu.device import shared_gpu
    from dinar_live.runtime.render.gpu.pipeline import GpuPipeline

    try:
        gpu = shared_gpu(index)
    except cuda.CudaError as e:
        raise DinarError(str(e)) from e
    return GpuPipeline(options, gpu, **gpu_options)
