"""The emulated CUDA driver of the tests under the scripts here (DINAR_EMULATED_CUDA=1), with an engine for it, which runs
networks in float32 on the CPU when the stream comes to them."""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import pathlib
import sys
from typing import Any

import numpy as np

FILE = pathlib.Path(__file__).parents[1] / "tests" / "cuda_kernels" / "emulate.py"
NAME = "emulated"
_driver: Any = None
_runs: dict[int, Any] = {}
_numbers = itertools.count(1)


@ctypes.CFUNCTYPE(None, ctypes.c_size_t)
def _run(number: int) -> None:
    _runs[number]()


def load() -> None:
    """Puts the driver in its place; before anything asks for one."""
    global _driver
    spec = importlib.util.spec_from_file_location("emulate", FILE)
    assert spec is not None and spec.loader is not None
    emulate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emulate)
    _driver = emulate.load()
    _driver.emulated_host_call.argtypes = [ctypes.c_void_p, type(_run), ctypes.c_size_t]
    import gpu_work

    from dinar_live import engines

    gpu_work.COPY_BYTES = 1 << 16
    gpu_work.REPEATS = 1
    sys.modules.setdefault("gpu_emulated", sys.modules[__name__])
    engines.register_engine(
        NAME, engines.Backend("gpu_emulated", ("onnx",), "", ("device",), runs_on="gpu"), first=True
    )


def open_engine(model, precision: str, threads: int, reason: str, *, device: str = "cuda"):
    """See EngineModule."""
    return EmulatedEngine(model.data, reason)


class EmulatedEngine:
    """float32 on the CPU, behind sessions of a GPU."""

    device_io = "float32"
    keeps = False
    channels_last = False

    def __init__(self, model: bytes, reason: str):
        from dinar_live import engines
        from dinar_live.engines.gpu import open_device

        self._engine = engines.create_reference(model)
        self._device = open_device(0)
        self.inputs, self.outputs = self._engine.inputs, self._engine.outputs
        self.info = engines.EngineInfo(NAME, "1", self._device.name, "f32", 1, reason)
        self.built = 0

    def compile_device(self, size: tuple[int, int, int]) -> EmulatedSession:
        self.built += 1
        return EmulatedSession(self._device, self._engine.compile(size))

    def cancel(self) -> None:
        pass

    def unchecked(self, size, io) -> bool:
        return True

    def vouch(self, size, io) -> None:
        pass

    def drop(self, size, io) -> None:
        pass

    def refuse(self, size, io, reason) -> None:
        pass

    def close(self) -> None:
        self._engine.close()


class EmulatedSession:
    """See DeviceSession. Its memory on the device is memory of this process."""

    mode = "graph"

    def __init__(self, device, session):
        from dinar_live.engines import DeviceTensor

        device.make_current()
        self.device = 0
        self._session = session
        self._number = next(_numbers)
        self._arrays, views = {}, {}
        for name, array in (*session.inputs.items(), *session.outputs.items()):
            kept = self._arrays[name] = device.empty(array.shape, np.float32)
            memory = (ctypes.c_float * array.size).from_address(int(kept.pointer))
            views[name] = np.frombuffer(memory, np.float32).reshape(array.shape)

        def run() -> None:
            for name, array in session.inputs.items():
                array[...] = views[name]
            session.enqueue()
            session.synchronize()
            for name, array in session.outputs.items():
                views[name][...] = array

        _runs[self._number] = run
        tensors = {
            n: DeviceTensor(int(a.pointer), tuple(a.shape), "float32") for n, a in self._arrays.items()
        }
        self.inputs = {name: tensors[name] for name in session.inputs}
        self.outputs = {name: tensors[name] for name in session.outputs}

    def warm_up(self, stream: int) -> None:
        self.enqueue_on(stream)

    def enqueue_on(self, stream: int) -> None:
        if _driver.emulated_host_call(stream, _run, self._number):
            raise RuntimeError("the emulated driver does not take the network's run")

    def close(self) -> None:
        self._arrays.clear()
