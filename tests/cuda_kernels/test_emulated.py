"""Every test marked `gpu` runs here too, on the emulated driver: the same Python, the same kernels, threads
in rising and falling order."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = ("tests/cuda_kernels",)


@pytest.mark.skipif(sys.platform != "linux", reason="the emulated driver is built for Linux")
@pytest.mark.parametrize("order", ["rising", "falling"])
def test_gpu_tests_on_the_emulated_driver(order):
    pytest.importorskip("cuda.bindings")
    pytest.importorskip("cuda.core")
    if not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("no C++ compiler")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "-x", *FOLDERS]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "DINAR_EMULATED_CUDA": "1", "DINAR_EMULATED_ORDER": order},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 70 and "skipped" not in done.stdout, done.stdout[-2000:]
