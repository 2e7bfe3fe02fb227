"""The CUDA driver through cuda.bindings: found at first use, every return code checked."""

import ctypes
import sys
import threading

from .errors import CudaError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_lock = threading.Lock()
_loaded = None


def driver():
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


def _load():
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        raise CudaError(
            f"no NVIDIA driver: {LIBRARY} cannot be loaded; install the driver of your GPU, or use the CPU"
        ) from None
    try:
        from cuda.bindings import driver as module
    except ImportError as e:
        raise CudaError(
            f"the package cuda-bindings cannot be imported ({e}); pip install 'dinar-live[gpu]'"
        ) from None
    (error,) = module.cuInit(0)
    if error != module.CUresult.CUDA_SUCCESS:
        raise CudaError(
            f"the NVIDIA driver does not start: {_text(module, error)}; is a GPU present and visible (nvidia-smi)?"
        )
    return module


def call(name: str, *arguments):
    """driver.<name>(*arguments) without its return code: nothing, one value or a tuple. Raises CudaError
    naming the function."""
    module = driver()
    error, *values = getattr(module, name)(*arguments)
    if error != module.CUresult.CUDA_SUCCESS:
        raise CudaError(f"{name}: {_text(module, error)}")
    return values[0] if len(values) == 1 else tuple(values) or None


def _text(module, error) -> str:
    texts = []
    for function in (module.cuGetErrorName, module.cuGetErrorString):
        result, text = function(error)
        texts.append(text.decode() if result == module.CUresult.CUDA_SUCCESS and text else str(int(error)))
    return f"{texts[0]} ({texts[1]})"
