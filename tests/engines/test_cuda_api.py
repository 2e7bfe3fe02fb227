"""Every call of the CUDA runtime that the engines make exists in the real bindings and takes our arguments;
its fake has nothing else."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

from dinar_live import engines
from dinar_live.engines.nvidia import nvidia_problem

FOLDER = pathlib.Path(engines.__file__).parent


@pytest.fixture
def runtime():
    return pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")


def dotted(node) -> list[str] | None:
    """self.A.B -> ["self", "A", "B"]."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None


def cuda_uses():
    """(function, number of arguments) of Gpu.call("function", ...) and names of other uses of the runtime
    module."""
    tree = ast.parse((FOLDER / "nvidia.py").read_text())
    calls, names = set(), set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("call", "release")
        ):
            if isinstance(node.args[0], ast.Constant) and not any(
                isinstance(a, ast.Starred) for a in node.args
            ):
                calls.add((node.args[0].value, len(node.args) - 1))
        chain = dotted(node) if isinstance(node, ast.Attribute) else None
        if chain and chain[:2] == ["self", "_cuda"] and len(chain) > 2:
            names.add(tuple(chain[2:]))
    for path in (FOLDER / "tensorrt").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "release"
            ):
                calls.add((node.args[0].value, len(node.args) - 1))
    return calls, names


def test_calls_of_the_cuda_runtime_exist_in_the_real_bindings_and_in_the_fake(fakes, runtime):
    fake = fakes.cuda.FakeRuntime()
    calls, names = cuda_uses()
    assert len(calls) >= 20 and ("cudaError_t", "cudaSuccess") in names
    for function, count in calls:
        for module in (runtime, fake):
            assert len(inspect.signature(getattr(module, function)).parameters) == count, function
    for chain in names:
        for module in (runtime, fake):
            value = module
            for part in chain:
                value = getattr(value, part)
            if isinstance(value, int) and chain[0] != "cudaGraph_t":
                assert int(value) == int(
                    getattr(getattr(runtime, chain[0]), chain[1])
                    if len(chain) > 1
                    else getattr(runtime, chain[0])
                )


def test_the_cuda_fake_is_a_part_of_the_real_one(fakes, runtime):
    functions = [
        name
        for name, value in inspect.getmembers(fakes.cuda.FakeRuntime, inspect.isfunction)
        if name.startswith("cuda")
    ]
    assert len(functions) >= 20
    for name in functions:
        ours = list(inspect.signature(getattr(fakes.cuda.FakeRuntime, name)).parameters)[1:]
        assert ours == list(inspect.signature(getattr(runtime, name)).parameters), name
    for name, value in vars(fakes.cuda).items():
        if inspect.isclass(value) and name.startswith("cuda"):
            for member in value:
                assert int(getattr(getattr(runtime, name), member.name)) == member.value


WITHOUT_DRIVER = """
from cuda.bindings import runtime
from dinar_live.engines import EngineError
from dinar_live.engines.nvidia import Gpu, Graph, nvidia_problem
assert nvidia_problem()
gpu = object.__new__(Gpu)   # past the check that would stop it here
gpu._cuda, gpu.index = runtime, 0
import numpy as np
array = np.zeros(4, np.float32)
attempts = [
    lambda: gpu.activate(), lambda: gpu.malloc(64), lambda: gpu.free(4096), lambda: gpu.pinned((4,)), lambda: gpu.upload(4096, array, 5),
    lambda: gpu.download(array, 4096, 5), lambda: gpu.stream(), lambda: gpu.destroy_stream(5), lambda: gpu.synchronize(5),
    lambda: gpu.is_capturing(5), lambda: gpu.capture(5, lambda: None), lambda: gpu.embed(5, 7), lambda: Graph(gpu, 7).launch(5),
    lambda: Graph(gpu, 7).close(), lambda: gpu.call("cudaStreamEndCapture", 5), lambda: gpu.call("cudaGraphInstantiate", 7, 0),
    lambda: gpu.call("cudaGraphDestroy", 7), lambda: gpu.call("cudaGetDeviceProperties", 0),
    lambda: gpu.call("cudaGraphAddChildGraphNode", runtime.cudaGraph_t(3), [runtime.cudaGraphNode_t(4)], 1, runtime.cudaGraph_t(9)),
    lambda: gpu.call("cudaStreamUpdateCaptureDependencies", 5, [runtime.cudaGraphNode_t(4)], None, 1, 1),
]
for i, attempt in enumerate(attempts):
    try:
        attempt()
    except EngineError as error:
        assert "driver" in str(error), error
    else:
        raise AssertionError(i)
print(len(attempts))
"""


@pytest.mark.skipif(not nvidia_problem(), reason="a driver is here")
def test_the_real_cuda_runtime_takes_our_arguments(runtime):
    """Without a driver each call fails with CUDA's own words, after the bindings have accepted its
    arguments."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_DRIVER], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "20", done.stderr


def test_the_real_cuda_runtime_without_a_driver_answers_at_once(runtime):
    """In a process of its own: a call that hangs fails the test."""
    code = """
from dinar_live.engines import EngineError, create_engine
from dinar_live.engines.nvidia import Gpu, nvidia_problem
if not nvidia_problem():
    print("a GPU is here")
else:
    for attempt in (lambda: Gpu(), lambda: create_engine(b"", "torch", device="cuda"), lambda: create_engine(b"", "tensorrt")):
        try:
            attempt()
        except EngineError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") in (1, 3), done.stdout
