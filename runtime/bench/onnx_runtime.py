"""ONNX Runtime as an engine, to measure against. Not one that is served with: registered by `dinar bench` only."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from typing import Any

from dinar_live import engines
from dinar_live.engines.base import EngineError, EngineInfo, Session, aligned_zeros, static_input_shapes
from dinar_live.engines.onnx.file import OnnxFile

NAME = "onnxruntime"
PACKAGE = "onnxruntime"


def open_engine(model: OnnxFile, precision: str, threads: int, reason: str) -> engines.Engine:
    """Engine for one model, float32 on the CPU."""
    return OnnxRuntimeEngine(model, precision, threads, reason)


class OnnxRuntimeEngine(engines.Engine):
    """The network in an InferenceSession with the default optimizations."""

    def __init__(self, model: OnnxFile, precision: str, threads: int, reason: str):
        if precision not in ("auto", "f32"):
            raise EngineError(f"precision {precision}: ONNX Runtime is measured in f32 on a CPU")
        onnxruntime: Any = importlib.import_module(
            PACKAGE
        )  # seldom installed, and not needed by anything else
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                bytes(model.data), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:
            raise EngineError(f"ONNX Runtime cannot open {model.source}: {str(e)[:300]}") from e
        self.inputs, self.outputs = model.inputs, model.outputs
        version, device = importlib.metadata.version(PACKAGE), platform.processor() or platform.machine()
        self.info = EngineInfo(NAME, version, device, "f32", threads, reason)

    def compile(self, size: tuple[int, int, int]) -> Session:
        return OnnxRuntimeSession(self._session, self.inputs, self.outputs, size)

    def close(self) -> None:
        pass


class OnnxRuntimeSession(Session):
    """One size: inputs and outputs bound to our own arrays."""

    def __init__(self, session, inputs, outputs, size: tuple[int, int, int]):
        shapes = static_input_shapes(inputs, size)
        n, height, width = size
        super().__init__(
            {name: aligned_zeros(shape) for name, shape in shapes.items()},
            {name: aligned_zeros((n, outputs[name][1], height, width)) for name in outputs},
        )
        self._session = session
        self._binding = session.io_binding()
        for bind, arrays in (
            (self._binding.bind_input, self.inputs),
            (self._binding.bind_output, self.outputs),
        ):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def _start(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def _wait(self) -> None:
        pass
