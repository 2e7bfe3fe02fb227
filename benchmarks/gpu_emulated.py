"""The emulated CUDA driver of the tests under the scripts here (DINAR_EMULATED_CUDA=1), and less to do than on a
GPU."""

from __future__ import annotations

import importlib.util
import pathlib

FILE = pathlib.Path(__file__).parents[1] / "tests" / "cuda_kernels" / "emulate.py"


def load() -> None:
    """Puts the driver in its place; before anything asks for one."""
    spec = importlib.util.spec_from_file_location("emulate", FILE)
    assert spec is not None and spec.loader is not None
    emulate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emulate)
    emulate.load()
    import gpu_work

    gpu_work.COPY_BYTES = 1 << 16
    gpu_work.REPEATS = 1
