"""The engines there are, and the one automatic choice among them. Importing this imports none of them.

To add an engine: a module with `open_engine` (see EngineModule), and one Backend below or through
`register_engine`. Nothing else in the project names engines: what others must know is in the Backend.
"""

import hashlib
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dinar_live.kernels.install import requirement

from .base import Engine, EngineError, PlanBuilder, check_precision, check_threads
from .measured import in_measured_order, measured
from .nvidia import device_index, gpu_extra, gpu_name, installed, nvidia_problem
from .onnx.file import OnnxFile, load_onnx

AUTO = "auto"
RunsOn = Literal["cpu", "gpu", "both"]
Examples = Callable[[], Iterable[Any]]
"""Makes inputs f32[N,C,H,W] of a network, as it meets them."""
Accept = Callable[[Engine], None]
"""Looks at an engine before it is used; its EngineError refuses the engine, which is then closed."""


class EngineModule(Protocol):
    """What a Backend's module has. It may also have `describe_gpu() -> str`: what it has to say of the GPU, or
    EngineError ("what: how to get it") where it cannot use one; asked by `dinar doctor` only."""

    def open_engine(
        self, model: OnnxFile, precision: str, threads: int, reason: str, **options
    ) -> Engine: ...


@dataclass(frozen=True)
class Backend:
    """Where an engine lives and what it needs.

    module: name of an EngineModule, imported on first use.
    requires: packages and modules that it imports; install: the command that brings them.
    options: keyword arguments of its open_engine.
    runs_on: "cpu", "gpu" (NVIDIA), or "both" (then it has the option device, which may be "cpu").
    reference: its float32 on a CPU may be what other engines are compared with.
    bundled: it is installed with dinar-live, so that its absence is a fault.
    builds: packages that its `open_builder(model, precision, **options) -> PlanBuilder` needs on a machine without
        a GPU; () = it has none.
    automatic: "auto" may take it without a measurement.
    """

    module: str
    requires: tuple[str, ...]
    install: str
    options: tuple[str, ...] = ()
    runs_on: RunsOn = "cpu"
    reference: bool = False
    bundled: bool = False
    builds: tuple[str, ...] = ()
    automatic: bool = True

    def __post_init__(self):
        if self.runs_on not in ("cpu", "gpu", "both"):
            raise EngineError(f"Backend.runs_on is {self.runs_on!r}; expected cpu, gpu or both")
        if self.runs_on == "both" and "device" not in self.options:
            raise EngineError("a Backend that runs on both must have the option device")

    @property
    def install_here(self) -> str:
        """`install`, with the extras for CUDA 12 where the driver here needs them, as this copy of the package
        gets them (`requirement`)."""
        command = self.install
        for kind in ("gpu", "rtx"):
            if (named := f'"dinar-live[{kind}]"') in command:
                command = command.replace(named, requirement(gpu_extra(kind)))
        return command

    def missing(self) -> list[str]:
        """What of `requires` is not installed."""
        return [package for package in self.requires if not installed(package)]


_backends: dict[str, Backend] = {  # in the order in which "auto" tries them
    "tensorrt": Backend(
        "dinar_live.engines.tensorrt.standard",
        ("tensorrt", "cuda.core", "cuda.bindings", "onnx"),
        'pip install "dinar-live[gpu]" tensorrt-cu13 --extra-index-url https://pypi.nvidia.com',
        ("device", "cache_dir", "progress", "optimization_level", "examples"),
        runs_on="gpu",
    ),
    "tensorrt-rtx": Backend(
        "dinar_live.engines.tensorrt.rtx",
        ("tensorrt_rtx_bindings", "tensorrt_rtx_libs", "cuda.core", "cuda.bindings", "onnx"),
        'pip install "dinar-live[rtx]"',
        ("device", "cache_dir", "progress", "examples"),
        runs_on="gpu",
        builds=("tensorrt_rtx_bindings", "tensorrt_rtx_libs", "onnx"),
    ),
    "torch": Backend(
        "dinar_live.engines.torch.engine",
        ("torch", "onnx"),
        "pip install torch onnx",
        ("device",),
        runs_on="both",
        reference=True,
    ),
    "openvino": Backend(
        "dinar_live.engines.openvino.engine",
        ("openvino",),
        "pip install openvino",
        ("cache_dir", "examples"),
        reference=True,
        bundled=True,
    ),
    "openvino-intel": Backend(  # taken by itself after a measurement only: runtime/render/host_engine.py
        "dinar_live.engines.openvino.intel",
        ("openvino",),
        "pip install openvino",
        ("cache_dir", "examples"),
        automatic=False,
    ),
}


def register_engine(name: str, backend: Backend, *, first: bool = False) -> None:
    """Add or replace an engine; `first` puts it before the others for "auto". EngineError for the name auto."""
    if name == AUTO:
        raise EngineError("an engine cannot be named auto: that is the automatic choice")
    others = {key: value for key, value in _backends.items() if key != name}
    _backends.clear()
    _backends.update({name: backend, **others} if first else {**others, name: backend})


# ---- what there is -----------------------------------------------------------------------------------------


def engine_names(on: Literal["cpu", "gpu"] | None = None) -> tuple[str, ...]:
    """Names of all engines, or of those that run on a CPU or GPU, in the order in which "auto" tries them."""
    if on == "gpu":
        return tuple(name for name, backend in _backends.items() if backend.runs_on != "cpu")
    if on == "cpu":
        return tuple(
            name for kind in ("cpu", "both") for name, backend in _backends.items() if backend.runs_on == kind
        )
    return tuple(_backends)


def engine_backend(name: str) -> Backend:
    """What is known of an engine; EngineError, naming those there are, for an unknown one."""
    if name not in _backends:
        raise EngineError(f"engine {name!r} is unknown; choose {AUTO}, {', '.join(_backends)}")
    return _backends[name]


def engine_runs_on(name: str) -> RunsOn:
    """Backend.runs_on of an engine; "both" for "auto". EngineError for an unknown one."""
    return "both" if name == AUTO else engine_backend(name).runs_on


def engine_options(name: str) -> frozenset[str]:
    """The options that `create_engine` takes for an engine; for "auto" those of any. EngineError for an
    unknown one."""
    if name == AUTO:
        return frozenset(option for backend in _backends.values() for option in backend.options)
    return frozenset(engine_backend(name).options)


def available_engines() -> dict[str, str]:
    """Engine name -> "" if it can be used here, else what is missing and the command that brings it. Imports
    none of their packages."""
    return {name: _why_not(name, backend) for name, backend in _backends.items()}


def _why_not(name: str, backend: Backend) -> str:
    missing = backend.missing()
    problem = nvidia_problem() if backend.runs_on == "gpu" else ""
    needs = [f"an NVIDIA GPU ({problem})"] if problem else []
    needs += [f"the package{'s' * (len(missing) > 1)} {', '.join(missing)}"] if missing else []
    if not needs:
        return ""
    return f"engine {name} needs {' and '.join(needs)}{': ' + backend.install_here if missing else ''}"


def describe_gpu(name: str) -> str:
    """What an engine says of the GPU, for people; EngineError ("what: how to get it") if it cannot use one,
    EngineUnusable if it cannot be loaded."""
    describe = getattr(_load(name), "describe_gpu", None)
    return name if describe is None else describe()


# ---- choice ------------------------------------------------------------------------------------------------


def create_engine(
    onnx: bytes | str | os.PathLike,
    name: str = AUTO,
    precision: str = "auto",
    threads: int = 0,
    *,
    accept: Accept | None = None,
    **options,
) -> Engine:
    """Open a self-contained ONNX model (bytes or path); inputs and outputs float32, N, H, W symbolic.

    name: "auto" (on a GPU the first that can be used of tensorrt, tensorrt-rtx and torch, else openvino, else
        torch) or one of engine_names(); why it was chosen is in the engine's info.
    precision: "auto" (the fastest this machine has hardware for), "f32", "bf16", "f16", "int8" (convolutions only:
        openvino, tensorrt and tensorrt-rtx, with `examples`).
    threads: 0 = all cores.
    accept: looks at an engine before it is returned; where it refuses one, "auto" goes on to the next.
    options: those of the engine; "auto" passes each engine those it has:
        device (tensorrt, tensorrt-rtx, torch): "cuda", "cuda:N", and for torch and auto "cpu" (and "auto", the
        default).
        cache_dir: folder of compiled models (tensorrt, tensorrt-rtx: default the user's cache folder; openvino:
        default none).
        examples (openvino, tensorrt, tensorrt-rtx): makes the inputs that the ranges of int8 are taken from.
        progress (tensorrt, tensorrt-rtx): called with (fraction, text) while it builds.
        optimization_level (tensorrt): 0 to 5, or None: the best plan that is kept.
    EngineError if the model is broken, names other files, or the engine is missing or cannot do what was
    asked.
    """
    check_precision(precision)
    check_threads(threads)
    known = engine_options(name)
    if not known.issuperset(options):
        unknown = ", ".join(sorted(set(options) - known))
        raise EngineError(
            f"engine {name} has no option {unknown}; it has {', '.join(sorted(known)) or 'none'}"
        )
    model = load_onnx(onnx)
    if name != AUTO:
        engine = _open(name, model, precision, threads, "asked for", options)
        _ask(accept, engine)
        return engine
    return _choose(model, precision, threads, options, accept)


def create_reference(onnx: bytes | str | os.PathLike, threads: int = 0) -> Engine:
    """The model in float32 on the CPU, for comparisons: the first engine that is a reference and can be used.
    EngineError where there is none, and as `create_engine`."""
    failures = []
    for name in engine_names("cpu"):
        backend = _backends[name]
        if not backend.reference:
            continue
        if why_not := _why_not(name, backend):
            failures.append(why_not)
            continue
        device: dict[str, Any] = {"device": "cpu"} if backend.runs_on == "both" else {}
        return create_engine(onnx, name, "f32", threads, **device)
    raise EngineError("; ".join(failures) or "no engine is registered as a reference")


def builds_without_gpu(name: str) -> bool:
    """Whether an engine for GPUs can build its instances on a machine that has none. EngineError for an unknown
    one."""
    return name != AUTO and bool(engine_backend(name).builds)


def can_build_ahead(name: str) -> bool:
    """Whether `create_builder` can be had for an engine with what is installed here."""
    return builds_without_gpu(name) and all(installed(package) for package in engine_backend(name).builds)


def create_builder(
    onnx: bytes | str | os.PathLike, name: str, precision: str = "auto", **options
) -> PlanBuilder:
    """Builds an engine's instances on any machine, for GPUs elsewhere; `create_engine` there finds them in the
    same cache.

    options (tensorrt-rtx): target (one of PLAN_TARGETS: compute capabilities of the GPUs), cache_dir,
    progress, examples. EngineError as from create_engine, and for an engine that builds on its GPU only.
    """
    check_precision(precision)
    backend = engine_backend(name)
    if not backend.builds:
        raise EngineError(f"engine {name} cannot build without a GPU")
    if absent := [package for package in backend.builds if not installed(package)]:
        packages = f"the package{'s' * (len(absent) > 1)} {', '.join(absent)}"
        raise EngineUnusable(f"engine {name} needs {packages}: {backend.install_here}")
    module: Any = _load(name)
    return module.open_builder(load_onnx(onnx), precision, **options)


class EngineUnusable(EngineError):
    """The engine's packages are missing or damaged."""


def _load(name: str) -> EngineModule:
    backend = engine_backend(name)
    try:
        return importlib.import_module(backend.module)  # pyright: ignore[reportReturnType]  (by its name)
    except (
        ImportError,
        OSError,
    ) as error:  # installed, but damaged, without its libraries, or made for another machine
        raise EngineUnusable(f"engine {name} cannot be loaded ({error}): {backend.install_here}") from error


def _open(name: str, model: OnnxFile, precision: str, threads: int, reason: str, options: dict) -> Engine:
    backend = _backends[name]
    if why_not := _why_not(name, backend):
        raise EngineUnusable(why_not)
    if precision == "int8" and "examples" not in backend.options:
        have = ", ".join(key for key, other in _backends.items() if "examples" in other.options)
        raise EngineUnusable(f"precision int8 is not offered by the {name} engine, but by {have}")
    own = {key: value for key, value in options.items() if key in backend.options}
    return _load(name).open_engine(model, precision, threads, reason, **own)


def _ask(accept: Accept | None, engine: Engine) -> None:
    if accept is None:
        return
    try:
        accept(engine)
    except BaseException:
        engine.close()
        raise


def _choose(
    model: OnnxFile, precision: str, threads: int, options: dict, accept: Accept | None = None
) -> Engine:
    """The first engine that can be used and is accepted: those that run on a GPU, by their times where they were
    measured, then those for CPUs, then those for both on the CPU."""
    device = options.get("device", "auto")
    tries: list[tuple[str, str]] = []  # (engine, device)
    failures: list[str] = []
    by_time = ""
    if device != "cpu":
        problem = nvidia_problem()
        if problem:
            advice = "" if device == "auto" else ": install the driver for your GPU, or use the device cpu"
            failures.append(problem + advice)
        else:
            where = "cuda" if device == "auto" else device
            times = measured(
                hashlib.sha256(model.data).hexdigest(),
                gpu_name(device_index(where)),
                options.get("cache_dir"),
            )
            ordered, by_time = in_measured_order(engine_names("gpu"), times)
            tries += [(name, where) for name in ordered]
    if device in ("auto", "cpu"):
        tries += [(name, "cpu") for name in engine_names("cpu") if _backends[name].automatic]
    for name, where in tries:
        reasons = failures + ([by_time] if by_time and where != "cpu" else [])
        reason = f"auto: {'; '.join(reasons)}" if reasons else "auto: the first that can be used"
        try:
            engine = _open(name, model, precision, threads, reason, options | {"device": where})
        except EngineUnusable as error:
            failures.append(str(error))
            continue
        except EngineError as error:
            if where == "cpu":
                raise
            failures.append(f"engine {name}: {error}")
            continue
        try:
            _ask(accept, engine)
        except EngineError as error:
            failures.append(str(error))
            continue
        return engine
    raise EngineError("; ".join(failures))
