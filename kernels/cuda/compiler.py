"""The kernels' source as one file, and its compilation by NVRTC for one architecture; needs no driver and no
GPU."""

from __future__ import annotations

import functools
import hashlib
import pathlib
import re
from typing import Any

from .cache import Cache
from .driver import core
from .errors import CudaError

FILES = ("lbs.cu", "rasterize.cu", "gather.cu", "compose.cu", "half.cu", "smooth.cu", "nvdiffrast.cu")
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "sm_121")
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
        from dinar_live.kernels.install import install_line  # this module is loaded by itself in tests

        raise CudaError(f"NVRTC cannot be loaded ({str(e).splitlines()[0]}); {install_line('gpu')}") from None
    if int(error):
        raise CudaError(
            f"NVRTC does not work: error {int(error)}; pip install --force-reinstall nvidia-cuda-nvrtc"
        )
    return major, minor


def known_archs() -> list[int]:
    """Compute capabilities times ten (90 for sm_90) that this NVRTC compiles for, rising. Raises CudaError as
    `nvrtc_version`."""
    nvrtc_version()
    from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]  (no stubs)

    error, archs = nvrtc.nvrtcGetSupportedArchs()[0], nvrtc.nvrtcGetSupportedArchs()[-1]
    if int(error):
        raise CudaError(f"NVRTC does not say what it compiles for: error {int(error)}")
    return sorted(int(arch) for arch in archs)


def compile_cubin(arch: str) -> bytes:
    """Machine code of all kernels for `arch` ("sm_90"); for a GPU newer than this NVRTC, PTX of the newest one that it
    knows, which the driver compiles. Takes about a second. Raises CudaError with the compiler's words."""
    version = nvrtc_version()
    newest = known_archs()[-1]
    if int(arch.removeprefix("sm_")) > newest:
        return compile_ptx(f"compute_{newest}")
    cuda_core = core()
    # No contraction into fused multiply-adds, as in the CPU build: the same bits, and the kernels are bound
    # by memory.
    options = cuda_core.ProgramOptions(std="c++17", arch=arch, fma=False, name="dinar_live.cu")
    try:
        return bytes(cuda_core.Program(source(), "c++", options).compile("cubin").code)
    except Exception as e:  # cuda.core raises several types; all of them mean the same here
        raise CudaError(
            f"the kernels do not compile for {arch} with NVRTC {version[0]}.{version[1]}: {e}"
        ) from e


def compile_ptx(arch: str) -> bytes:
    """PTX of all kernels for `arch` ("compute_90"), ending in a zero byte. By NVRTC's own calls: cuda.core asks a
    driver what it takes. Raises CudaError with the compiler's words."""
    version = nvrtc_version()
    from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]  (no stubs)

    def done(error, *values) -> Any:
        if int(error):
            text = nvrtc.nvrtcGetErrorString(error)[1].decode()
            raise CudaError(
                f"the kernels do not compile for {arch} with NVRTC {version[0]}.{version[1]}: {text}"
            )
        return values[0] if values else None

    options = ["--std=c++17", f"--gpu-architecture={arch}", "--fmad=false"]
    program = done(*nvrtc.nvrtcCreateProgram(source().encode(), b"dinar_live.cu", 0, [], []))
    try:
        done(*nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options]))
        ptx = b" " * done(*nvrtc.nvrtcGetPTXSize(program))
        done(*nvrtc.nvrtcGetPTX(program, ptx))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return ptx


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
