"""The kernels compile for every architecture that is supported, and compiled ones are kept safely."""

import os
import sys

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
    with pytest.raises(CudaError, match=r"pip install 'dinar-live\[gpu\]'"):
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
