"""Engines run `model.onnx`: `tensorrt`, `tensorrt-rtx` and `torch` on an NVIDIA GPU, `openvino` (default on CPUs) and `torch`
(the reference) on a CPU. Importing this imports none of them.

    engine = create_engine(onnx_bytes)
    session = engine.compile((1, 512, 512))
    session.inputs["features"][...] = features
    session.enqueue()
    session.synchronize()
    session.outputs["rgb"]
"""

from .base import (
    PLAN_TARGETS,
    PRECISIONS,
    Buffers,
    DeviceSession,
    DeviceTensor,
    Engine,
    EngineError,
    EngineInfo,
    HostSession,
    PlanBuilder,
    Progress,
    Session,
    TensorNameError,
)
from .registry import (
    AUTO,
    Backend,
    EngineModule,
    EngineUnusable,
    available_engines,
    builds_without_gpu,
    can_build_ahead,
    create_builder,
    create_engine,
    create_reference,
    describe_gpu,
    engine_backend,
    engine_names,
    engine_options,
    engine_runs_on,
    register_engine,
)

__all__ = [
    "AUTO",
    "PLAN_TARGETS",
    "PRECISIONS",
    "Backend",
    "Buffers",
    "DeviceSession",
    "DeviceTensor",
    "Engine",
    "EngineError",
    "EngineInfo",
    "EngineModule",
    "EngineUnusable",
    "HostSession",
    "PlanBuilder",
    "Progress",
    "Session",
    "TensorNameError",
    "available_engines",
    "builds_without_gpu",
    "can_build_ahead",
    "create_builder",
    "create_engine",
    "create_reference",
    "describe_gpu",
    "engine_backend",
    "engine_names",
    "engine_options",
    "engine_runs_on",
    "register_engine",
]
