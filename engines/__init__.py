"""Engines run `model.onnx`: `openvino` (default on CPUs), `torch` (reference). Importing this imports neither.

    engine = create_engine(onnx_bytes)
    session = engine.compile((1, 512, 512))
    session.inputs["features"][...] = features
    session.enqueue()
    session.synchronize()
    session.outputs["rgb"]
"""
import importlib
import importlib.util
import os
from dataclasses import dataclass

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
from .onnx_file import load_onnx

__all__ = [
    "PRECISIONS", "Backend", "Buffers", "DeviceSession", "DeviceTensor", "Engine", "EngineError", "EngineInfo", "Session",
    "TensorNameError", "available_engines", "create_engine", "engine_names", "register_engine",
]


@dataclass(frozen=True)
class Backend:
    """Where an engine lives.

    module: imported on first use, has `open_engine(model: OnnxFile, precision, threads, reason, **options) -> Engine`.
    requires: top-level packages it imports; install: the command that brings them; options: keyword arguments of open_engine.
    """

    module: str
    requires: tuple[str, ...]
    install: str
    options: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        return [package for package in self.requires if importlib.util.find_spec(package) is None]


_backends: dict[str, Backend] = {   # in the order in which "auto" tries them
    "openvino": Backend("dinar_live.engines.openvino_engine", ("openvino",), "pip install openvino", ("cache_dir",)),
    "torch": Backend("dinar_live.engines.torch_engine", ("torch", "onnx"), "pip install torch onnx", ("device",)),
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
    """Engine name -> "" if its packages are installed, else what is missing and the command that installs it. Imports nothing."""
    return {name: _why_not(name, backend) for name, backend in _backends.items()}


def _why_not(name: str, backend: Backend) -> str:
    missing = backend.missing()
    return f"engine {name} needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}: {backend.install}" if missing else ""


def create_engine(onnx: bytes | str | os.PathLike, name: str = "auto", precision: str = "auto", threads: int = 0, **options) -> Engine:
    """Open a self-contained ONNX model (bytes or path); inputs and outputs float32, N, H, W symbolic.

    name: "auto" or one of engine_names(). precision: "auto" (the fastest this machine has hardware for), "f32", "bf16", "f16".
    threads: 0 = all cores. options: openvino: cache_dir (a folder of yours, default none); torch: device ("auto", "cpu", "cuda");
    "auto" passes each engine those it has.
    EngineError if the model is broken, names other files, or the engine is missing or cannot do what was asked.
    """
    check_precision(precision)
    check_threads(threads)
    if name != "auto" and name not in _backends:
        raise EngineError(f"engine {name!r} is unknown; choose auto, {', '.join(_backends)}")
    candidates = _backends if name == "auto" else {name: _backends[name]}
    known = {option for backend in candidates.values() for option in backend.options}
    if not known.issuperset(options):
        unknown = ", ".join(sorted(set(options) - known))
        raise EngineError(f"engine {name} has no option {unknown}; it has {', '.join(sorted(known)) or 'none'}")
    model = load_onnx(onnx)
    failures = []
    for candidate, backend in candidates.items():
        why_not = _why_not(candidate, backend)
        if not why_not:
            try:
                module = importlib.import_module(backend.module)
            except ImportError as error:   # installed, but damaged or made for another machine
                why_not = f"engine {candidate} cannot be loaded ({error}): {backend.install}"
        if why_not:
            failures.append(why_not)
            continue
        reason = "asked for" if name != "auto" else "; ".join(["auto", *failures]) if failures else f"auto: first of {', '.join(_backends)}"
        own = {key: value for key, value in options.items() if key in backend.options}
        return module.open_engine(model, precision, threads, reason, **own)
    raise EngineError("; ".join(failures))
