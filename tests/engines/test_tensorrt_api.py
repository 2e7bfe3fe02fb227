"""Every name and call of TensorRT that the engine uses exists in the real bindings, and its fake has nothing
else.

The TensorRT wheels (10.15 and 11.4) are fetched with pip into the user's cache and imported against empty
libraries that the test compiles; what the engine uses is read from their source. No GPU and no TensorRT
library is needed, and none is tested.
"""

import ast
import inspect
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from dinar_live import engines

FOLDER = pathlib.Path(engines.__file__).parent
VERSIONS = ("10.15.1.29", "11.4.0.106")
STUB = """
#define F(name) void *name(void) { return 0; }
F(createInferBuilder_INTERNAL) F(createInferRefitter_INTERNAL) F(createInferRuntime_INTERNAL) F(createNvOnnxParserRefitter_INTERNAL)
F(createNvOnnxParser_INTERNAL) F(getBuilderPluginRegistry) F(getNvOnnxParserVersion) F(getPluginRegistry) F(initLibNvInferPlugins)
"""
# variable in the sources -> the TensorRT class of what it holds
VARIABLES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "timing_cache": "ITimingCache",
    "error": "ParserError",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "plan": "IHostMemory",
    "measured": "IHostMemory",
}
OURS = {
    "Plan": {"library", "runtime", "engine", "log", "compiled", "keep", "kept", "size"}
}  # plan.log, plan.engine: a Plan of ours goes by the same name


def bindings_folder(version: str) -> pathlib.Path:
    """The installed wheel, from the user's cache or by pip."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = (
        base
        / "dinar-live-tests"
        / f"tensorrt-bindings-{version}-py{sys.version_info[0]}{sys.version_info[1]}"
    )
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(folder),
                   f"tensorrt-cu13-bindings=={version}"]  # fmt: skip
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(
                f"pip cannot get tensorrt-cu13-bindings {version}: {(error.stderr or 'no answer in two minutes')[-300:]}"
            )
        (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """Folders of empty TensorRT libraries, by major version."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler for libraries that stand in for TensorRT's")
    folder = tmp_path_factory.mktemp("tensorrt")
    (folder / "stub.c").write_text(STUB)
    for major in {version.split(".")[0] for version in VERSIONS}:
        (folder / major).mkdir()
        for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
            name = f"lib{library}.so.{major}"
            command = [
                compiler,
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{name}",
                "-o",
                str(folder / major / name),
                str(folder / "stub.c"),
            ]
            subprocess.run(command, check=True, timeout=60)
    return folder


@pytest.fixture(scope="session", params=VERSIONS)
def installed(request, stubs):
    """(version, folder of the wheel, environment that can import it)."""
    folder = bindings_folder(request.param)
    environment = os.environ | {"LD_LIBRARY_PATH": str(stubs / request.param.split(".")[0])}
    return request.param, folder, environment


@pytest.fixture(scope="session")
def api(installed):
    version, folder, environment = installed
    script = pathlib.Path(__file__).parent / "tensorrt_api.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    api = json.loads(done.stdout)
    assert api["version"] == version
    return api


# what the sources use


def sources():
    """The files that TensorRT proper runs: all but rtx.py, which test_tensorrt_rtx.py tries on the real library."""
    paths = sorted((FOLDER / "tensorrt").glob("*.py"))
    return {path.name: ast.parse(path.read_text()) for path in paths if path.name != "rtx.py"}


def dotted(node: ast.AST) -> list[str] | None:
    """trt.A.B -> ["trt", "A", "B"]."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None


def module_chains():
    """Every trt.X.Y chain of the sources, longest only."""
    found = set()
    for tree in sources().values():
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            chain = dotted(node) if isinstance(node, ast.Attribute) and id(node) not in inner else None
            if chain and chain[0] == "trt":
                found.add(tuple(chain[1:]))
    return sorted(found)


def member_uses():
    """(class, member, the call or None, whether it is assigned) of every use of a TensorRT object through a
    variable of VARIABLES."""
    found = []
    for tree in sources().values():
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        stored = {
            id(target) for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets
        }
        for node in ast.walk(tree):
            chain = dotted(node) if isinstance(node, ast.Attribute) else None
            if not chain or len(chain) < 2:
                continue
            variable, member = chain[-2].lstrip("_"), chain[-1]
            if variable in VARIABLES and not (variable == "plan" and member in OURS["Plan"]):
                found.append((VARIABLES[variable], member, calls.get(id(node)), id(node) in stored))
    return found


def accepts(overloads: list[list[str]], call: ast.Call) -> bool:
    keywords = {keyword.arg for keyword in call.keywords}
    return any(
        len(call.args) + len(keywords) <= len(names) and keywords <= set(names[len(call.args) :])
        for names in overloads
    )


def test_the_sources_are_read():
    chains = module_chains()
    assert (
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") in chains
        and ("Builder",) in chains
        and len(chains) > 10
    )
    uses = {(cls, member) for cls, member, *_ in member_uses()}
    assert {
        ("Builder", "build_serialized_network"),
        ("IExecutionContext", "execute_async_v3"),
        ("IBuilderConfig", "max_aux_streams"),
        # fmt: skip
        ("Runtime", "deserialize_cuda_engine"),
        ("ParserError", "desc"),
        ("ITimingCache", "serialize"),
    } <= uses
    assert len(uses) > 22


def test_names_of_the_module_exist(api):
    for chain in module_chains():
        assert chain[0] in api["names"], f"tensorrt.{'.'.join(chain)} is not in {api['version']}"
        if len(chain) > 1 and chain[0] in api["classes"] and chain != ("ILogger", "__init__"):
            entry = api["classes"][chain[0]]
            known = set(entry["members"]) | set(entry["enum"]) | set(entry["nested"])
            assert chain[1] in known, f"tensorrt.{'.'.join(chain)} is not in {api['version']}"
    severities = {"INTERNAL_ERROR", "ERROR", "WARNING"}
    assert (
        {
            node.attr
            for node in ast.walk(sources()["messages.py"])
            if (dotted(node) or [])[:-1] == ["self", "Severity"]
        }
        == severities
        <= set(api["classes"]["ILogger"]["members"])
    )


def test_members_exist_and_take_these_arguments(api):
    for cls, member, call, stored in member_uses():
        members = api["classes"][cls]["members"]
        assert member in members, f"{cls}.{member} is not in {api['version']}"
        entry = members[member]
        if call is not None:
            assert entry["callable"], f"{cls}.{member} is no function in {api['version']}"
            assert accepts(entry["parameters"], call), (
                f"{cls}.{member}({ast.unparse(call)}) does not fit {entry['parameters']}"
            )
        else:
            assert not entry["callable"], (
                f"{cls}.{member} is a function in {api['version']}, and is not called"
            )
        if stored:
            assert entry["settable"], f"{cls}.{member} cannot be set in {api['version']}"


def test_constructors_take_these_arguments(api):
    calls = [node for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    seen = 0
    for call in calls:
        chain = dotted(call.func)
        if chain and chain[0] == "trt" and len(chain) == 2 and not api["classes"][chain[1]]["enum"]:
            assert accepts(api["classes"][chain[1]]["members"]["__init__"]["parameters"], call), ast.unparse(
                call
            )
            seen += 1
    assert seen == 3  # Builder, OnnxParser, Runtime


def test_what_tensorrt_returns_goes_into_a_known_variable(api):
    """Or else its uses would not be seen by the tests above."""
    seen = 0
    for tree in sources().values():
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Attribute)
            ):
                continue
            chain = dotted(node.value.func) or [""]
            if chain[0] == "trt" and len(chain) == 2 and chain[1] in api["classes"]:
                returned = {chain[1]}
            elif (
                len(chain) > 1
                and chain[-2] in VARIABLES
                and not (chain[-2] == "plan" and chain[-1] in OURS["Plan"])
            ):
                returned = set(api["classes"][VARIABLES[chain[-2]]]["members"][chain[-1]]["returns"])
            else:
                continue
            if returned & set(VARIABLES.values()):
                (target,) = node.targets
                assert isinstance(target, ast.Name) and VARIABLES.get(target.id) in returned, ast.unparse(
                    node
                )
                seen += 1
    assert seen >= 8


def test_the_logger_and_the_monitor_override_what_exists(api):
    trees = sources()["messages.py"]
    classes = {node.name: node for node in trees.body if isinstance(node, ast.ClassDef)}
    phases = {"phase_start", "phase_finish", "step_complete"}
    for ours, base, methods in (("Log", "ILogger", {"log"}), ("BuildMonitor", "IProgressMonitor", phases)):
        defined = {
            node.name: [a.arg for a in node.args.args[1:]]
            for node in classes[ours].body
            if isinstance(node, ast.FunctionDef)
        }
        assert methods <= set(defined)
        for method in methods:
            (names,) = api["classes"][base]["members"][method]["parameters"]
            assert defined[method] == names


REAL = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings
from dinar_live.engines import EngineError
from dinar_live.engines.tensorrt import build, engine
from dinar_live.engines.tensorrt.library import BuildSettings, Library
import tensorrt as trt

library = Library(trt)
log = library.log()
log.log(trt.ILogger.Severity.ERROR, "first")
log.log(trt.ILogger.Severity.WARNING, "not an error")
log.log(trt.ILogger.Severity.INTERNAL_ERROR, "second")
assert log.take() == "first; second" and log.take() == ""
seen = []
monitor = library.monitor(lambda fraction, text: seen.append((fraction, text)))
monitor.phase_start("a", None, 2)
assert monitor.step_complete("a", 0) is True and seen[-1] == (0.5, "a")
assert isinstance(log, trt.ILogger) and isinstance(monitor, trt.IProgressMonitor)
assert trt.DataType.HALF == trt.float16 and trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT
for attempt in (lambda: build.build_plan(library, b"", log, BuildSettings()), lambda: engine._deserialize(library, b"x", log)):
    try:
        attempt()
    except EngineError as error:
        print(error)
"""


def test_our_classes_work_on_the_real_bindings(installed):
    """Log and BuildMonitor are accepted as what they derive from; a library that makes nothing ends in an
    EngineError."""
    _, folder, environment = installed
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"TensorRT cannot start a builder: .*\nTensorRT cannot start a runtime: .*\n", done.stdout
    ), done.stdout


# the fakes have nothing that the real ones have not


def test_the_tensorrt_fake_is_a_part_of_the_real_one(api, fakes):
    fake = fakes.tensorrt.make(fakes.cuda.FakeCuda())
    checked = 0
    for name, cls in vars(fake).items():
        if not isinstance(cls, type) or name == "Strict":
            continue
        members = api["classes"][name]["members"]
        if hasattr(cls, "__members__"):
            assert set(cls.__members__) <= set(api["classes"][name]["enum"])
            continue
        for key, member in vars(cls).items():
            if key.startswith("_") or inspect.isclass(member):
                continue
            assert key in members, f"the fake has {name}.{key}, {api['version']} has not"
            assert callable(member) == members[key]["callable"], f"{name}.{key}"
            if callable(member):
                names = list(inspect.signature(member).parameters)[1:]
                fits = [
                    overload for overload in members[key]["parameters"] if overload[: len(names)] == names
                ]
                assert fits, f"{name}.{key}({', '.join(names)}) does not fit {members[key]['parameters']}"
                checked += 1
        for key in getattr(cls, "_settable", ()):
            assert members[key]["settable"], f"{name}.{key}"
    assert checked > 20


@pytest.mark.skipif(sys.platform != "linux", reason="builds Linux libraries")
def test_libraries_that_are_missing_end_in_one_sentence(installed, tmp_path):
    """`pip install tensorrt-cu13-bindings` alone: the libraries are not there."""
    _, folder, _ = installed
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text("from tensorrt_bindings import *\n")
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(folder)!r}]
from dinar_live import engines
engines.registry.nvidia_problem = lambda: ""
try:
    engines.registry._open("tensorrt", None, "auto", 0, "asked for", {{}})
except engines.EngineError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    want = r"engine tensorrt cannot be loaded \(.*libnv.*\): pip install .*pypi.nvidia.com\n"
    assert re.fullmatch(want, done.stdout), done.stdout + done.stderr
