"""Without a driver every entry point says so in one sentence, at once."""

import subprocess
import sys

import numpy as np
import pytest

from dinar_live.kernels import cuda
from dinar_live.kernels.cuda import driver


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(driver, "_loaded", None)
    monkeypatch.setattr(driver, "LIBRARY", "libcuda-that-is-not-there.so.1")


def test_no_driver(no_driver):
    for call in (
        cuda.Device,
        lambda: cuda.Device(3),
        lambda: driver.call("cuInit", 0),
        lambda: cuda.Event(None, False, False),
    ):
        with pytest.raises(cuda.CudaError) as e:
            call()
        assert str(e.value) == (
            "no NVIDIA driver: libcuda-that-is-not-there.so.1 cannot be loaded; install the driver of your GPU, or use "
            "the CPU"
        )


def test_no_package(monkeypatch):
    monkeypatch.setattr(driver, "_loaded", None)
    monkeypatch.setattr(driver, "LIBRARY", None)  # the process itself can always be loaded
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        cuda.CudaError, match=r'cuda-bindings cannot be imported .*; pip install --editable ".*\[gpu\]"'
    ):
        cuda.Device()


def test_nothing_hangs_and_nothing_is_loaded_before_it_is_asked_for():
    """In a process of its own: with cuda-core 1.2 a call after a failed one could wait for ever."""
    code = (
        "import sys\n"
        "from dinar_live.kernels import cuda\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'cuda']\n"
        "from dinar_live.kernels.cuda import driver\n"
        "driver.LIBRARY = 'libcuda-that-is-not-there.so.1'\n"
        "for _ in range(3):\n"
        "    try: cuda.Device()\n"
        "    except cuda.CudaError as e: print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout.count("no NVIDIA driver") == 3, done.stderr


def test_layouts_need_no_driver(no_driver):
    assert cuda.Planes.of(cuda.DeviceArray.wrap(256, (1, 4, 2, 2), np.float16), 3).pointer == 256 + 3 * 4 * 2
