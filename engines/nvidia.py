"""Is an NVIDIA GPU here (`nvidia_problem`), which CUDA does its driver run (`driver_cuda`), is a package there
(`installed`), which GPU is meant (`device_index`).

Loads the driver and nothing else. Working with a GPU: gpu.py.
"""

import ctypes
import functools
import importlib.util
import sys

from .base import EngineError

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_DRIVER_ERRORS = {
    100: "it finds no GPU",
    803: "its parts are of different versions; restart the machine",
    999: "restart the machine",
}


@functools.cache
def nvidia_problem() -> str:
    """ "" where an NVIDIA driver with a GPU works, else one sentence that says what is missing. Asked of the
    driver once per process."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"no NVIDIA driver ({_DRIVER} was not found)"
    code = driver.cuInit(0)
    if code:
        known = f": {_DRIVER_ERRORS[code]}" if code in _DRIVER_ERRORS else ""
        return f"the NVIDIA driver does not start (error {code}{known})"
    count = ctypes.c_int(0)
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code:
        return f"the NVIDIA driver cannot count its GPUs (error {code})"
    return "" if count.value else "the NVIDIA driver finds no GPU"


@functools.cache
def driver_cuda() -> tuple[int, int] | None:
    """(major, minor) of the newest CUDA that the driver here runs; None where there is no driver."""
    version = ctypes.c_int(0)
    try:
        if ctypes.CDLL(_DRIVER).cuDriverGetVersion(ctypes.byref(version)):
            return None
    except OSError:
        return None
    return version.value // 1000, version.value % 1000 // 10


@functools.cache
def gpu_name(index: int = 0) -> str:
    """The name of GPU number `index`, as its driver says; "" where there is none."""
    device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return ""
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index):
        return ""
    if driver.cuDeviceGetName(name, len(name), device):
        return ""
    return name.value.decode(errors="replace")


def gpu_extra(kind: str = "gpu") -> str:
    """The extra of this package, "gpu" or "rtx", in the flavour that the driver here can run: drivers for CUDA 12
    do not run what was built for 13."""
    driver = driver_cuda()
    return f"{kind}12" if driver is not None and driver[0] == 12 else kind


def installed(module: str) -> bool:
    """Whether a module or a module of a package ("cuda.bindings") could be imported; imports only the
    packages around it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def device_index(device: str) -> int:
    """Number of the GPU that "cuda" (= 0) or "cuda:N" names; EngineError for other text."""
    kind, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind != "cuda" or not (index.isascii() and index.isdecimal() or device == "cuda"):
        raise EngineError(f"device {device!r} is unknown; expected cuda or cuda:N, N the GPU's number")
    return int(index or 0)
