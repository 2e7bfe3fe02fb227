"""OpenVINO on Intel's graphics and neural processors, which most laptops have: the network runs there, in f16, the rest
of the frame on the CPU.

Written by OpenVINO's documents; it has run with a CPU in their place only, never on such a processor.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable

import numpy as np

from dinar_live.engines.base import Engine, EngineError
from dinar_live.engines.onnx.file import OnnxFile

from .engine import OpenVINOEngine
from .quiet_import import openvino

KINDS = ("GPU", "NPU")
"""In the order in which they are tried."""


@functools.cache
def devices() -> tuple[str, ...]:
    """OpenVINO's names of what there is, such as GPU, GPU.0 or NPU."""
    found = openvino.Core().available_devices
    return tuple(name for kind in KINDS for name in found if name.split(".")[0] == kind)


def open_engine(
    model: OnnxFile,
    precision: str,
    threads: int,
    reason: str,
    *,
    cache_dir: str | os.PathLike | None = None,
    examples: Callable[[], Iterable[np.ndarray]] | None = None,
) -> Engine:
    """Engine for one model on the first device; arguments as of the engine openvino. EngineError without one."""
    if not devices():
        raise EngineError(
            "OpenVINO sees no Intel graphics or NPU here: install their driver (on Linux intel-opencl-icd, or "
            "intel-level-zero-npu), or use the device cpu"
        )
    return IntelEngine(model, precision, threads, reason, cache_dir, examples)


class IntelEngine(OpenVINOEngine):
    """See open_engine."""

    name = "openvino-intel"

    def __init__(self, *args):
        self.device = devices()[0]
        super().__init__(*args)

    def _capabilities(self) -> list[str]:
        return list(self._core.get_property(self.device, "OPTIMIZATION_CAPABILITIES"))

    def _choose_precision(self, precision: str, capabilities: list[str]) -> tuple[str, str]:
        if precision == "auto":
            precision, why = "f16" if "FP16" in capabilities else "f32", f"the fastest of {self.device}"
        else:
            why = "asked for"
        if precision not in ("f16", "f32", "int8"):
            raise EngineError(
                f"precision {precision} is not offered on {self.device}; choose auto, f16, f32 or int8"
            )
        return precision, why

    def _settings(self, threads: int) -> dict[str, object]:
        return {}

    def _threads_used(self) -> int:
        return 0
