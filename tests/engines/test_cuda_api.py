"""Every call of the CUDA driver that kernels/cuda makes exists in the real bindings and takes our arguments; the
stand-in for a GPU has nothing that kernels/cuda has not; the engines' way to a GPU works on the emulated driver."""

import ast
import inspect
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from dinar_live.engines.nvidia import nvidia_problem
from dinar_live.kernels import cuda

FOLDER = pathlib.Path(cuda.__file__).parent
HELPERS = {"check_current", "here", "is_pinned", "put"}  # of the stand-in, for its own parts and other fakes


@pytest.fixture
def driver():
    return pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")


def driver_uses():
    """(function, number of arguments) of call("function", ...), now or in a finalizer, and names of other
    uses of the driver's module, driver().A.B -> ("A", "B")."""
    calls, names = set(), set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and not any(isinstance(a, ast.Starred) for a in node.args):
                arguments = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
                for at, name in enumerate(arguments):
                    if isinstance(name, str) and name.startswith("cu") and name[2:3].isupper():
                        calls.add((name, len(arguments) - at - 1))
            chain = []
            while isinstance(node, ast.Attribute):
                chain.insert(0, node.attr)
                node = node.value
            if chain and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "driver":
                names.add(tuple(chain))
    return calls, names


def test_calls_of_the_driver_exist_in_the_real_bindings(driver):
    calls, names = driver_uses()
    assert len(calls) >= 20 and ("CUstreamCaptureMode", "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL") in names
    for function, count in calls:
        assert len(inspect.signature(getattr(driver, function)).parameters) == count, function
    for chain in names:
        value = driver
        for part in chain:
            value = getattr(value, part)


def test_the_stand_in_is_a_part_of_the_real_layer(fakes):
    pairs = {"Device": cuda.Device, "Stream": cuda.Stream, "Event": cuda.Event, "Graph": cuda.Graph,
             "Array": cuda.DeviceArray}  # fmt: skip
    compared = 0
    for name, real in pairs.items():
        for method, ours in vars(getattr(fakes.cuda, name)).items():
            if method.startswith("_") or method in HELPERS or not inspect.isfunction(ours):
                continue
            want = inspect.signature(getattr(real, method)).parameters
            got = inspect.signature(ours).parameters
            assert [(p.name, p.kind, p.default) for p in got.values()] == [
                (p.name, p.kind, p.default) for p in want.values()
            ], f"{name}.{method}"
            compared += 1
    assert compared >= 18


ON_THE_EMULATED_DRIVER = """
import sys
sys.path.insert(0, "tests/cuda_kernels")
import emulate
emulate.load()
import numpy as np
from dinar_live.engines import EngineError
from dinar_live.engines.base import Buffers, DeviceSession, DeviceTensor
from dinar_live.engines.gpu import open_device, run_once
from dinar_live.kernels.cuda.driver import call

device = open_device()
assert device.name == "Emulated GPU" and device.compute_capability == (9, 0)


class Copy(DeviceSession):
    def __init__(self):
        self.device, self._arrays = 0, [device.empty((2, 3), np.float16) for _ in range(2)]
        x, y = (DeviceTensor(a.pointer, a.shape, "float16") for a in self._arrays)
        self.inputs, self.outputs = Buffers({"x": x}), Buffers({"y": y})

    def warm_up(self, stream):
        self.enqueue_on(stream)
        device.existing_stream(stream).synchronize()

    def enqueue_on(self, stream):
        call("cuMemcpyDtoDAsync", self._arrays[1].pointer, self._arrays[0].pointer, 12, stream)

    def close(self):
        pass


session, x = Copy(), np.arange(6, dtype=np.float32).reshape(2, 3)
out = run_once(device, session, {"x": x})["y"]
assert out.dtype == np.float32 and (out == x).all()
stream = device.stream()
session.warm_up(stream.handle)
for attempt in (lambda: open_device(1), lambda: run_once(device, session, {"x": x[:1]})):
    try:
        attempt()
    except EngineError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the emulated driver is built for Linux")
def test_the_engines_way_to_a_gpu_on_the_emulated_driver(driver):
    pytest.importorskip("cuda.core")
    if not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("no C++ compiler")
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_EMULATED_DRIVER],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "there is no GPU 1: this machine has 1 NVIDIA GPU, numbered from 0",
        "input 'x' has shape (1, 3); the session takes (2, 3)",
    ]


def test_without_a_driver_every_way_answers_at_once(driver):
    """In a process of its own: a call that hangs fails the test."""
    code = """
from dinar_live.engines import EngineError, create_engine
from dinar_live.engines.gpu import open_device
from dinar_live.engines.nvidia import nvidia_problem
if not nvidia_problem():
    print("a GPU is here")
else:
    for attempt in (open_device, lambda: create_engine(b"", "torch", device="cuda"), lambda: create_engine(b"", "tensorrt")):
        try:
            attempt()
        except EngineError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == (3 if nvidia_problem() else 1), done.stdout


@pytest.mark.skipif(not nvidia_problem(), reason="a driver is here")
def test_embedding_without_a_driver_is_an_error_at_once():
    """What torch's session calls directly."""
    code = """
from dinar_live.kernels.cuda import CudaError, embed
for _ in range(2):
    try:
        embed(5, 7)
    except CudaError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count("no NVIDIA driver") == 2, done.stderr
