"""Files, functions and parameter lists stay small enough to read. What is over a limit is named here with its
size, and may only shrink."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = ("runtime", "engines", "kernels", "export", "benchmarks", "examples")

FILE_LINES = 400
FUNCTION_LINES = 80
PARAMETERS = 8  # self and cls are not counted

FILES: dict[str, int] = {}
# file, name within it: parameters
MANY_PARAMETERS = {
    # thin fronts: options by name, each of which a user may give alone
    ("engines/tensorrt/standard.py", "open_engine"): 9,
    ("runtime/stream/server.py", "Server.__init__"): 11,
    # the arrays of a kernel or of a body
    ("kernels/compose.py", "compose"): 12,
    ("kernels/compose_half.py", "compose_half"): 12,
    ("kernels/cuda/launches.py", "compose"): 11,
    ("kernels/cuda/launches.py", "compose_half"): 10,
    ("kernels/cuda/launches.py", "rasterize"): 10,
    ("kernels/cuda/launches.py", "smooth_edges"): 10,
    ("kernels/cuda/program.py", "Program.compose"): 11,
    ("kernels/cuda/program.py", "Program.compose_half"): 10,
    ("kernels/cuda/program.py", "Program.smooth_edges"): 10,
    ("kernels/lbs.py", "BodyModel.__init__"): 9,
    ("kernels/reference/compose.py", "compose"): 10,
    ("kernels/smooth_edges.py", "smooth_edges"): 9,
    ("runtime/live/follower.py", "Follower.__init__"): 11,
}
LONG_FUNCTIONS: dict[tuple[str, str], int] = {}


def paths() -> list[pathlib.Path]:
    # Not through dinar_live's links to the other folders.
    ours = [*(ROOT / "dinar_live").glob("*.py"), *(ROOT / "dinar_live" / "cli").rglob("*.py")]
    return sorted([*ours, *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))])


def functions(
    node: ast.AST, within: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of a module with its name, those of classes and functions too."""
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{child.name}" if within else child.name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child
        yield from functions(child, name)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    a = function.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if p is not None]
    return len(names) - (names[:1] in (["self"], ["cls"]))


TREES = {p.relative_to(ROOT).as_posix(): ast.parse(p.read_text(encoding="utf-8")) for p in paths()}
FUNCTIONS = {(path, name): f for path, tree in TREES.items() for name, f in functions(tree)}


def over(sizes: dict, limit: int, exceptions: dict) -> dict:
    """What is larger than the limit, or than its own exception."""
    return {key: size for key, size in sizes.items() if size > exceptions.get(key, limit)}


def lines_of_files() -> dict[str, int]:
    return {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in TREES}


def lines_of_functions() -> dict[tuple[str, str], int]:
    return {key: (f.end_lineno or f.lineno) - f.lineno + 1 for key, f in FUNCTIONS.items()}


def parameters_of_functions() -> dict[tuple[str, str], int]:
    return {key: parameters(f) for key, f in FUNCTIONS.items()}


CASES = {
    "lines of a file": (lines_of_files, FILE_LINES, FILES),
    "lines of a function": (lines_of_functions, FUNCTION_LINES, LONG_FUNCTIONS),
    "parameters": (parameters_of_functions, PARAMETERS, MANY_PARAMETERS),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_too_large(case):
    sizes, limit, exceptions = CASES[case]
    assert over(sizes(), limit, exceptions) == {}


@pytest.mark.parametrize("case", CASES)
def test_exceptions_are_still_needed(case):
    """An exception goes when what it is for has shrunk below the limit or is gone."""
    sizes, limit, exceptions = CASES[case]
    now = sizes()
    assert {key: now.get(key) for key in exceptions if now.get(key, 0) <= limit} == {}


def test_what_is_counted():
    tree = ast.parse(
        "class A:\n    def f(self, a, /, b, *c, d, **e):\n        def g(x): ...\n    @staticmethod\n    def h(a): ..."
    )
    assert {name: parameters(f) for name, f in functions(tree)} == {"A.f": 5, "A.f.g": 1, "A.h": 1}
    assert over({"a": 3, "b": 4, "c": 9}, 3, {"b": 4, "c": 8}) == {"c": 9}
