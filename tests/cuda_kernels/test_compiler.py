"""The kernels compile for every architecture that is supported, and compiled ones are kept safely."""

import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest

from dinar_live.kernels.cuda import CudaError, cache, compiler
from dinar_live.kernels.cuda.program import KERNELS


@pytest.fixture
def nvrtc():
    pytest.importorskip("cuda.core")
    return compiler.nvrtc_version()


@pytest.mark.parametrize("arch", compiler.ARCHITECTURES)
def test_every_kernel_compiles(nvrtc, arch):
    cubin = compiler.compile_cubin(arch)
    assert cubin[:4] == b"\x7fELF"
    for name in KERNELS:
        assert b".text." + name.encode() + b"\0" in cubin, name


def test_a_gpu_that_is_newer_than_nvrtc_gets_ptx(nvrtc):
    newest = compiler.known_archs()[-1]
    code = compiler.compile_cubin("sm_990")
    assert f".target sm_{newest}".encode() in code and code.endswith(b"\0")
    for name in KERNELS:
        assert b".entry " + name.encode() + b"(" in code, name
    with pytest.raises(CudaError, match="do not compile for compute_10 with NVRTC .*INVALID_OPTION"):
        compiler.compile_ptx("compute_10")


CUDA_12 = (
    "cuda-core>=1.1,<2",
    "cuda-bindings>=12.9.1,<13",
    "nvidia-cuda-nvrtc-cu12>=12.9,<13",
    "cuda-pathfinder",
    "numpy",
)
COMPILES = """
import importlib, sys, types
package = sys.modules["kernels"] = types.ModuleType("kernels")  # our package without what surrounds it
package.__path__ = [sys.argv[1]]
compiler = importlib.import_module("kernels.compiler")
assert compiler.nvrtc_version()[0] == 12, compiler.nvrtc_version()
for arch in ("sm_75", "sm_89", "sm_121"):
    assert compiler.compile_cubin(arch)[:4] == b"\x7fELF"
    print(arch)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the packages of CUDA 12 are tried on Linux")
def test_every_kernel_compiles_with_the_packages_of_cuda_12():
    """The extra gpu12, fetched into the user's cache and used by a process of its own."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = base / "dinar-live-tests" / f"cuda-12-py{sys.version_info[0]}{sys.version_info[1]}"
    python = folder / "bin" / "python"  # a virtual environment: NVRTC is looked for in its site-packages
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=False)
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
        done = subprocess.run(
            [*pip, "install", "--quiet", "--no-deps", *CUDA_12], capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            pytest.skip(f"pip cannot get the packages of CUDA 12: {done.stderr[-300:]}")
        (folder / "done").touch()
    command = [str(python), "-I", "-c", COMPILES, str(pathlib.Path(compiler.__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["sm_75", "sm_89", "sm_121"]


def test_the_source_is_one_file():
    text = compiler.source()
    assert '#include "' not in text and text.count("struct GridTriangle {") == 1
    assert {n for n in KERNELS if f"__global__ void {n}(" in text} == set(KERNELS)
    assert text.count('extern "C" __global__') == len(KERNELS)


def test_a_wrong_architecture_says_so(nvrtc):
    with pytest.raises(CudaError, match="do not compile for sm_12 with NVRTC"):
        compiler.compile_cubin("sm_12")


def test_without_the_packages(monkeypatch):
    for name in ("cuda", "cuda.bindings", "cuda.core"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CudaError, match=r'pip install --editable ".*\[gpu\]"'):
        compiler.nvrtc_version()


def test_compiled_once(nvrtc, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        compiler, "compile_cubin", lambda arch: calls.append(arch) or b"code of " + arch.encode()
    )
    store = cache.Cache(tmp_path / "c")
    for _ in range(2):
        assert (
            compiler.cubin("sm_90", store) == b"code of sm_90"
            and compiler.cubin("sm_80", store) == b"code of sm_80"
        )
    assert calls == ["sm_90", "sm_80"]
    monkeypatch.setattr(compiler, "source", lambda: "changed")
    compiler.cubin("sm_90", store)
    monkeypatch.setattr(compiler, "nvrtc_version", lambda: (99, 0))
    compiler.cubin("sm_90", store)
    assert calls == ["sm_90", "sm_80", "sm_90", "sm_90"]


def test_cache_refuses_what_it_cannot_trust(tmp_path):
    store = cache.Cache(tmp_path / "a" / "kernels")
    assert store.read("k") is None
    store.write("k", b"code")
    assert store.read("k") == b"code" and [p.name for p in store.folder.iterdir()] == ["k.cubin"]
    file = store.folder / "k.cubin"
    for damaged in (b"", file.read_bytes()[:-1], file.read_bytes() + b"x", b"\0" * 40):
        file.write_bytes(damaged)
        assert store.read("k") is None
    store.write("k", b"code")
    if sys.platform != "win32":
        assert store.folder.stat().st_mode & 0o777 == 0o700
        for mode in (0o777, 0o720):
            store.folder.chmod(mode)
            assert store.read("k") is None  # others may write: not trusted
            store.write("new", b"code")
            assert not (store.folder / "new.cubin").exists()
        store.folder.chmod(0o700)
        link = cache.Cache(tmp_path / "link")
        link.folder.symlink_to(store.folder)
        assert link.read("k") is None
    assert store.read("k") == b"code"


def test_cache_does_without_a_folder(tmp_path, monkeypatch):
    for store in (cache.Cache(None), cache.Cache(tmp_path / "file" / "kernels")):
        (tmp_path / "file").touch()
        store.write("k", b"code")
        assert store.read("k") is None
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path / "mine"))
    assert cache.Cache.of_user().folder == tmp_path / "mine" / "kernels"


def test_cache_keeps_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "KEEP", 3)
    store = cache.Cache(tmp_path)
    tmp_path.chmod(0o700)
    for i in range(5):
        store.write(f"k{i}", b"code")
        os.utime(tmp_path / f"k{i}.cubin", (i, i))
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["k2", "k3", "k4"]
