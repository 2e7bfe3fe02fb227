"""Nothing from the network or a file is unpickled or evaluated: by the source, and by a session in which that
would be fatal."""

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import dinar_live.engines
import dinar_live.export
import dinar_live.kernels
import dinar_live.runtime
from dinar_live.runtime import Avatar, Body
from dinar_live.runtime.avatar.avatar import RendererSpec

PACKAGES = (dinar_live.runtime, dinar_live.engines, dinar_live.kernels, dinar_live.export)
EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "jsonpickle",
    "yaml",
    "msgpack",
    "code",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {"recv_pyobj", "send_pyobj", "recv_serialized", "system", "popen", "load_module"}
# These may unpickle; np.load does not when it is told so on the spot.
LOADERS = {("np", "load"), ("numpy", "load"), ("torch", "load"), ("pickle", "load"), ("pickle", "loads")}
RESTRICTED = {}


def found_in(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [n.name for n in node.names if n.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [node.module] if node.module.partition(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in BUILTINS:
                found.append(f"{called.id}()")
            elif isinstance(called, ast.Attribute):
                owner = called.value.id if isinstance(called.value, ast.Name) else ""
                plain = any(
                    k.arg == "allow_pickle" and isinstance(k.value, ast.Constant) and k.value.value is False
                    for k in node.keywords
                )
                if (called.attr in METHODS and owner != "platform") or (
                    (owner, called.attr) in LOADERS and not plain
                ):
                    found.append(f"{owner}.{called.attr}()")
            found += [
                f"{k.arg}=True"
                for k in node.keywords
                if k.arg in ("allow_pickle", "shell")
                and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            ]
    return found


def test_no_call_that_could_execute_what_it_reads():
    folders = [pathlib.Path(package.__file__).parent for package in PACKAGES]
    files = {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": path
        for folder in (*folders, EXAMPLES)
        for path in folder.rglob("*.py")
    }
    assert len(files) > 80
    assert {
        name: found for name, path in files.items() if (found := found_in(path.read_text(encoding="utf-8")))
    } == RESTRICTED


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import a, marshal",
        "eval('1')",
        "socket.recv_pyobj()",
        "np.load(f)",
        "os.system('x')",
        "np.lib.format.read_array(f, allow_pickle=x)",
        "subprocess.run(c, shell=True)",
        "torch.load(f)",
        "__import__(name)",
    ],
)
def test_the_search_finds(text):
    assert found_in(text)


FATAL = """
import _pickle, os, pickle, sys
def fatal(*args, **kwargs):
    sys.stderr.write("UNPICKLED\\n")
    sys.stderr.flush()
    os._exit(99)
class Unpickler:
    __init__ = fatal
for module in (pickle, _pickle):
    module.load = module.loads = fatal
    module.Unpickler = Unpickler
"""


def test_a_whole_session_unpickles_nothing(tmp_path):
    """Server and client as users run them, with keys, in interpreters where unpickling is fatal."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FATAL)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    bait = [sys.executable, "-c", "import pickle; pickle.loads(pickle.dumps(1))"]
    bait = subprocess.run(bait, env=environment, capture_output=True, text=True)
    assert bait.returncode == 99 and "UNPICKLED" in bait.stderr
    texture = np.random.default_rng(1).integers(40, 255, (64, 64, 3), np.uint8)
    Avatar(name="tiny", rig=Body.open().rig(), renderers={"texture": RendererSpec(texture)}).save(
        tmp_path / "tiny"
    )
    command = [
        sys.executable,
        "-m",
        "dinar_live.cli.main",
        "demo",
        str(tmp_path / "tiny"),
        "--frames",
        "12",
        "--headless",
        "--curve",
        "--size",
        "128",
        "--out",
        str(tmp_path / "out"),
    ]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "UNPICKLED" not in result.stdout + result.stderr, (
        result.stdout + result.stderr
    )
    assert (tmp_path / "out" / "sheet.png").exists()
