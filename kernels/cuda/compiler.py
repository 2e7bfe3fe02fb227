"""The kernels' source as one file, and its compilation by NVRTC for one architecture; needs no driver and no
GPU."""

from __future__ import annotations

import functools
import hashlib
import pathlib
import re

from .cache import Cache
from .driver import core
from .errors import CudaError

FILES = ("lbs.cu", "rasterize.cu", "gather.cu", "compose.cu", "half.cu", "nvdiffrast.cu")
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""Those that the tests compile for."""
_HERE = pathlib.Path(__file__).parent
_FOLDERS = (_HERE, _HERE.parent / "include")
_INCLUDE = re.compile(r'^#include "([^"]+)"$')


@functools.cache
def source() -> str:
    """All kernels with their headers put in place, each once, so that NVRTC needs no search path."""
    lines: list[str] = []
    seen: set[pathlib.Path] = set()

    def add(path: pathlib.Path) -> None:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            include = _INCLUDE.match(line)
            if include is None:
                lines.append("" if line == "#pragma once" else line)
                continue
            header = next(f / include[1] for f in (path.parent, *_FOLDERS) if (f / include[1]).is_file())
            if header not in seen:
                seen.add(header)
                lines.append(f'#line 1 "{header.name}"')
                add(header)
            lines.append(f'#line {number + 1} "{path.name}"')

    for name in FILES:
        lines.append(f'#line 1 "{name}"')
        add(_HERE / name)
    return "\n".join(lines) + "\n"


def nvrtc_version() -> tuple[int, int]:
    """Raises CudaError where NVRTC or its bindings are missing."""
    try:
        from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]  (no stubs)

        error, major, minor = nvrtc.nvrtcVersion()
    except (
        ImportError,
        RuntimeError,
    ) as e:  # the bindings raise a RuntimeError of their own when the library is not found
        raise CudaError(
            f"NVRTC cannot be loaded ({str(e).splitlines()[0]}); pip install 'dinar-live[gpu]'"
        ) from None
    if int(error):
        raise CudaError(
            f"NVRTC does not work: error {int(error)}; pip install --force-reinstall nvidia-cuda-nvrtc"
        )
    return major, minor


def compile_cubin(arch: str) -> bytes:
    """Machine code of all kernels for `arch` ("sm_90"). Takes about a second. Raises CudaError with the
    compiler's words."""
    version = nvrtc_version()
    cuda_core = core()
    text = source()
    # No contraction into fused multiply-adds, as in the CPU build: the same bits, and the kernels are bound
    # by memory.
    options = cuda_core.ProgramOptions(std="c++17", arch=arch, fma=False, name="dinar_live.cu")
    try:
        return bytes(cuda_core.Program(text, "c++", options).compile("cubin").code)
    except Exception as e:  # cuda.core raises several types; all of them mean the same here
        hint = (
            "; a GPU newer than this NVRTC needs a newer one: pip install -U nvidia-cuda-nvrtc"
            if "arch" in str(e)
            else ""
        )
        raise CudaError(
            f"the kernels do not compile for {arch} with NVRTC {version[0]}.{version[1]}: {e}{hint}"
        ) from e


def cubin(arch: str, cache: Cache | None = None) -> bytes:
    """As compile_cubin, from the user's cache if it is there; the key covers the source, the architecture and
    NVRTC's version."""
    cache = Cache.of_user() if cache is None else cache
    key = hashlib.sha256(repr((source(), arch, nvrtc_version(), "c++17", "fma=False")).encode()).hexdigest()
    found = cache.read(key)
    if found is None:
        found = compile_cubin(arch)
        cache.write(key, found)
    return found
