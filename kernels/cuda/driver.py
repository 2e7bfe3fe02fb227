"""The CUDA driver (cuda.bindings) and cuda.core: found at first use, every error a CudaError.

Streams and events are those of cuda.core. What it cannot do goes to the driver through `call`:

- memory: cuda.core allocates from pools, in the order of a stream; graphs need memory that is there before and
  after them, and a buffer may be dropped on any thread;
- captures: its GraphBuilder takes only graphs that it has built as children (torch's is a bare cudaGraph_t), and
  raises from `close` where a capture was broken;
- kernels: a launch passes arguments that were packed once;
- waiting for the whole device and counting devices: it asks the CUDA runtime, which we do not need otherwise.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import CudaError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
Result = TypeVar("Result")
_lock = threading.Lock()
_loaded: Any = None


def driver() -> Any:
    """The module cuda.bindings.driver, with the driver initialised.

    Raises CudaError at once where the package, the driver or a GPU is missing. The driver's library is looked
    for before the package is touched: with cuda-core 1.2 a call that fails because it is missing can leave
    the next one waiting for ever.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load()
    return _loaded


def _install() -> str:
    from dinar_live.kernels.install import install_line  # this module is loaded by itself in tests

    return install_line("gpu")


def core() -> Any:
    """The module cuda.core. Raises CudaError where the package is missing. Works without a driver, for
    compiling; whoever wants a device calls `driver` first."""
    try:
        import cuda.core
    except ImportError as e:
        raise CudaError(f"the package cuda-core cannot be imported ({e}); {_install()}") from None
    return cuda.core


def _load() -> Any:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        raise CudaError(
            f"no NVIDIA driver: {LIBRARY} cannot be loaded; install the driver of your GPU, or use the CPU"
        ) from None
    try:
        from cuda.bindings import driver as module  # pyright: ignore[reportAttributeAccessIssue]  (no stubs)
    except ImportError as e:
        raise CudaError(f"the package cuda-bindings cannot be imported ({e}); {_install()}") from None
    (error,) = module.cuInit(0)
    if error != module.CUresult.CUDA_SUCCESS:
        raise CudaError(
            f"the NVIDIA driver does not start: {_text(module, error)}; is a GPU present and visible (nvidia-smi)?"
        )
    return module


def call(name: str, *arguments) -> Any:
    """driver.<name>(*arguments) without its return code: nothing, one value or a tuple. Raises CudaError
    naming the function."""
    module = driver()
    error, *values = getattr(module, name)(*arguments)
    if error != module.CUresult.CUDA_SUCCESS:
        raise CudaError(f"{name}: {_text(module, error)}")
    return values[0] if len(values) == 1 else tuple(values) or None


def checked(what: str, function: Callable[..., Result], *arguments) -> Result:
    """function(*arguments) of cuda.core. Raises CudaError with `what` in front; cuda.core raises several
    types, and the one for the driver's errors is private."""
    try:
        return function(*arguments)
    except Exception as e:
        raise CudaError(f"{what}: {' '.join(str(e).split())}") from e


def _text(module, error) -> str:
    texts = []
    for function in (module.cuGetErrorName, module.cuGetErrorString):
        result, text = function(error)
        texts.append(text.decode() if result == module.CUresult.CUDA_SUCCESS and text else str(int(error)))
    return f"{texts[0]} ({texts[1]})"
