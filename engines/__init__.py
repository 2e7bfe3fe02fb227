"""Engines run `model.onnx`: `tensorrt` and `torch` on an NVIDIA GPU, `openvino` (default on CPUs) and `torch`
(the reference) on a CPU. Importing this imports none of them.

    engine = create_engine(onnx_bytes)
    session = engine.compile((1, 512, 512))
    session.inputs["features"][...] = features
    session.enqueue()
    session.synchronize()
    session.outputs["rgb"]
"""

import importlib
import os
from dataclasses import dataclass

from dinar_live.engines.onnx.file import OnnxFile, load_onnx

from .base import (
    PRECISIONS,
    Buffers,
    DeviceSession,
    DeviceTensor,
    Engine,
    EngineError,
    EngineInfo,
    Session,
    TensorNameError,
    check_precision,
    check_threads,
)
from .nvidia import installed, nvidia_problem

__all__ = [
    "PRECISIONS",
    "Backend",
    "Buffers",
    "DeviceSession",
    "DeviceTensor",
    "Engine",
    "EngineError",
    "EngineInfo",
    "Session",
    "TensorNameError",
    "available_engines",
    "create_engine",
    "engine_names",
    "register_engine",
]


@dataclass(frozen=True)
class Backend:
    """Where an engine lives.

    module: imported on first use, has `open_engine(model: OnnxFile, precision, threads, reason, **options) ->
        Engine`.
    requires: top-level packages it imports; install: the command that brings them; options: keyword arguments
        of open_engine.
    runs_on: "cpu", "gpu" (NVIDIA), or "both" (then it has the option device).
    """

    module: str
    requires: tuple[str, ...]
    install: str
    options: tuple[str, ...] = ()
    runs_on: str = "cpu"

    def missing(self) -> list[str]:
        return [package for package in self.requires if not installed(package)]


INSTALL_TENSORRT = 'pip install "dinar-live[gpu]" tensorrt-cu13 --extra-index-url https://pypi.nvidia.com'
_backends: dict[str, Backend] = {  # in the order in which "auto" tries them
    "tensorrt": Backend(
        "dinar_live.engines.tensorrt.engine",
        ("tensorrt", "cuda.bindings", "onnx"),
        INSTALL_TENSORRT,
        ("device", "cache_dir", "progress", "optimization_level"),
        runs_on="gpu",
    ),
    "torch": Backend(
        "dinar_live.engines.torch.engine",
        ("torch", "onnx"),
        "pip install torch onnx",
        ("device",),
        runs_on="both",
    ),
    "openvino": Backend(
        "dinar_live.engines.openvino.engine", ("openvino",), "pip install openvino", ("cache_dir",)
    ),
}


def register_engine(name: str, backend: Backend, *, first: bool = False) -> None:
    """Add or replace an engine; `first` puts it before the others for "auto"."""
    others = {key: value for key, value in _backends.items() if key != name}
    _backends.clear()
    _backends.update({name: backend, **others} if first else {**others, name: backend})


def engine_names() -> tuple[str, ...]:
    """Names of all engines, in the order in which "auto" tries them."""
    return tuple(_backends)


def available_engines() -> dict[str, str]:
    """Engine name -> "" if it can be used here, else what is missing and the command that brings it. Imports
    none of their packages."""
    return {name: _why_not(name, backend, backend.runs_on == "gpu") for name, backend in _backends.items()}


def _why_not(name: str, backend: Backend, needs_gpu: bool) -> str:
    missing, problem = backend.missing(), nvidia_problem() if needs_gpu else ""
    needs = [f"an NVIDIA GPU ({problem})"] if problem else []
    needs += [f"the package{'s' * (len(missing) > 1)} {', '.join(missing)}"] if missing else []
    return (
        f"engine {name} needs {' and '.join(needs)}{': ' + backend.install if missing else ''}"
        if needs
        else ""
    )


def create_engine(
    onnx: bytes | str | os.PathLike, name: str = "auto", precision: str = "auto", threads: int = 0, **options
) -> Engine:
    """Open a self-contained ONNX model (bytes or path); inputs and outputs float32, N, H, W symbolic.

    name: "auto" (tensorrt where it can be used, else torch on a GPU, else openvino, else torch) or one of
    engine_names(); why it was chosen is in the engine's info. precision: "auto" (the fastest this machine has
    hardware for), "f32", "bf16", "f16". threads: 0 = all cores. options, of which "auto" passes each engine
      those it has: device (tensorrt, torch): "cuda", "cuda:N", and for torch and auto "cpu" (and "auto", the
      default) cache_dir: folder of compiled models (tensorrt: default the user's cache folder; openvino:
      default none) progress (tensorrt): called with (fraction, text) while it builds; optimization_level
        (tensorrt): 0 to 5, or None: the best plan that is kept
    EngineError if the model is broken, names other files, or the engine is missing or cannot do what was
    asked.
    """
    check_precision(precision)
    check_threads(threads)
    if name != "auto" and name not in _backends:
        raise EngineError(f"engine {name!r} is unknown; choose auto, {', '.join(_backends)}")
    known = {
        option
        for backend in (_backends.values() if name == "auto" else (_backends[name],))
        for option in backend.options
    }
    if not known.issuperset(options):
        unknown = ", ".join(sorted(set(options) - known))
        raise EngineError(
            f"engine {name} has no option {unknown}; it has {', '.join(sorted(known)) or 'none'}"
        )
    model = load_onnx(onnx)
    if name != "auto":
        return _open(name, model, precision, threads, "asked for", options)
    return _choose(model, precision, threads, options)


class _Unusable(EngineError):
    """The engine's packages are missing or damaged."""


def _open(name: str, model: OnnxFile, precision: str, threads: int, reason: str, options: dict) -> Engine:
    backend = _backends[name]
    why_not = _why_not(name, backend, backend.runs_on == "gpu")
    if why_not:
        raise _Unusable(why_not)
    try:
        module = importlib.import_module(backend.module)
    except (
        ImportError,
        OSError,
    ) as error:  # installed, but damaged, without its libraries, or made for another machine
        raise _Unusable(f"engine {name} cannot be loaded ({error}): {backend.install}") from error
    own = {key: value for key, value in options.items() if key in backend.options}
    return module.open_engine(model, precision, threads, reason, **own)


def _choose(model: OnnxFile, precision: str, threads: int, options: dict) -> Engine:
    """The first engine that can be used: those that run on a GPU, then those for CPUs, then those for both on
    the CPU."""
    device = options.get("device", "auto")
    on_gpu, on_cpu, failures = [], [], []
    if device != "cpu":
        problem = nvidia_problem()
        mend = "" if device == "auto" else ": install the driver for your GPU, or use the device cpu"
        failures += [problem + mend] if problem else []
        on_gpu = [] if problem else [name for name, backend in _backends.items() if backend.runs_on != "cpu"]
    if device in ("auto", "cpu"):
        on_cpu = [
            name for kind in ("cpu", "both") for name, backend in _backends.items() if backend.runs_on == kind
        ]
    for name, gpu in [*((name, True) for name in on_gpu), *((name, False) for name in on_cpu)]:
        reason = f"auto: {'; '.join(failures)}" if failures else "auto: the first that can be used"
        where = {"device": ("cuda" if device == "auto" else device) if gpu else "cpu"}
        try:
            return _open(name, model, precision, threads, reason, options | where)
        except _Unusable as error:
            failures.append(str(error))
        except EngineError as error:
            if not gpu:
                raise
            failures.append(f"engine {name}: {error}")
    raise EngineError("; ".join(failures))
