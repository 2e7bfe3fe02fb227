"""Build the emulated CUDA driver: the kernels of kernels/cuda as C++, a scheduler for their threads, and the
driver's functions.

`load()` puts it in the place of libcuda for this process, before anything else asks for one: then
cuda.bindings, dinar_live.kernels.cuda and whatever is built on it run on the CPU, kernels included. By hand,
for any Python program:

    DINAR_EMULATED_CUDA=1 python -m pytest -m gpu tests/cuda_kernels
"""

import ctypes
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

from dinar_live.kernels.cuda import compiler

HERE = pathlib.Path(__file__).parent / "emulator"
ROOT = pathlib.Path(__file__).parents[2]
KERNEL = re.compile(r'^extern "C" __global__ void (\w+)\(([^)]*)\)', re.M)


def signatures() -> dict[str, list[tuple[str, str]]]:
    """Arguments (type, name) of every kernel, read from its source; types without const, a single space
    before a *."""
    found = {}
    for kernel, arguments in KERNEL.findall(compiler.source()):
        parsed = [
            re.fullmatch(r"(?:const )?(.*?)(\*?)(\w+)", a.strip())
            for a in re.sub(r"\s+", " ", arguments).split(",")
        ]
        found[kernel] = [((m[1].strip() + " " + m[2]).strip(), m[3]) for m in parsed]
    return found


def table() -> str:
    """C++: every kernel by name, with the sizes of its arguments and a call that unpacks them."""
    code, rows = [], []
    for kernel, arguments in signatures().items():
        body = compiler.source().split(f"__global__ void {kernel}(")[1].split("\n}\n")[0]
        types = [t if not t.endswith("*") else f"const {t}" for t, _ in arguments]
        unpacked = ", ".join(
            f"*static_cast<{t.removeprefix('const ')} *>(p[{i}])" for i, t in enumerate(types)
        )
        code.append(f"static void call_{kernel}(void **p) {{ {kernel}({unpacked}); }}")
        sizes = ", ".join(f"sizeof({t})" for t in types)
        rows.append(
            f'    {{"{kernel}", &call_{kernel}, {{{sizes}}}, {str("__syncthreads" in body).lower()}}},'
        )
    return "\n".join(code) + "\nconst std::vector<Kernel> kernel_table = {\n" + "\n".join(rows) + "\n};\n"


HEADER = """#pragma once
#include <vector>
struct Kernel {
    const char *name;
    void (*call)(void **);
    std::vector<size_t> sizes;
    bool barriers;
};
extern const std::vector<Kernel> kernel_table;
"""


def build(folder: pathlib.Path) -> pathlib.Path:
    """libcuda.so.1 in `folder`, compiled unless it is there. Takes about eight seconds."""
    sources = {name: (HERE / name).read_text() for name in ("kernels.h", "kernels.cpp", "driver.cpp")}
    sources["table.h"] = HEADER
    sources["all.cpp"] = (
        '#include "kernels.h"\n#include "table.h"\n' + compiler.source() + '#line 1 "table"\n' + table()
    )
    key = hashlib.sha256(repr(sources).encode()).hexdigest()[:16]
    library = folder / key / "libcuda.so.1"
    if library.is_file():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        (library.parent / name).write_text(text)
    command = [
        os.environ.get("CXX", "g++"),
        "-std=c++17",
        "-O1",
        "-ffp-contract=off",
        "-fPIC",
        "-shared",
        "-w",
        "-fvisibility=hidden",
        "-Wl,-soname,libcuda.so.1",
        "all.cpp",
        "kernels.cpp",
        "driver.cpp",
        "-o",
        "new.so",
    ]
    done = subprocess.run(command, cwd=library.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the emulated driver does not compile:\n{done.stderr[:5000]}")
    os.replace(library.parent / "new.so", library)
    for old in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime)[:-4]:
        shutil.rmtree(old, ignore_errors=True)
    return library


def load() -> ctypes.CDLL:
    """Build it once per checkout and put it in the place of the driver."""
    return ctypes.CDLL(str(build(ROOT / "build" / "emulated_cuda")))
