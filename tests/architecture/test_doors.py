"""Rooms and their one-way doors: which part may import which. The table is the one in docs/design.md."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = ("dinar_live", "runtime", "export", "engines", "kernels")

# A room may import those named, and itself. From the ground floor up: no room names one below it.
DOORS = {
    "kernels": (),
    "engines": ("kernels",),
    "runtime.core": (),
    "runtime.formats": ("runtime.core",),
    "runtime.avatar": ("runtime.core", "runtime.formats", "kernels", "engines"),
    "runtime.motion": ("runtime.core", "runtime.formats", "runtime.avatar"),
    "runtime.render": ("runtime.core", "runtime.avatar", "kernels", "engines"),
    "runtime.stream": ("runtime.core",),
    "runtime.vision": (
        "runtime.core",
        "runtime.formats",
        "runtime.avatar",
        "runtime.motion",
        "kernels",
        "engines",
    ),
    "runtime.live": (
        "runtime.core",
        "runtime.formats",
        "runtime.avatar",
        "runtime.motion",
        "runtime.vision",
        "runtime.stream",
    ),
    "runtime.service": (
        "runtime.core",
        "runtime.avatar",
        "runtime.motion",
        "runtime.live",
        "runtime.render",
        "runtime.stream",
    ),
    "runtime.viewer": ("runtime.core", "runtime.stream"),
    "runtime.bench": (
        "runtime.core",
        "runtime.avatar",
        "runtime.motion",
        "runtime.render",
        "runtime.stream",
        "runtime.service",
        "kernels",
        "engines",
    ),
    "export": ("runtime", "engines", "kernels"),
    "dinar_live": ("runtime", "export", "engines", "kernels"),
}
# Old names of 0.1 that point to where things are now.
SIGNPOSTS = {"runtime/__init__.py", "runtime/motion/live.py"}


def room_of(module: str) -> str:
    """The room that a module `dinar_live.a.b.c` is in."""
    parts = module.split(".")[1:]
    if parts[:1] == ["runtime"]:
        return ".".join(parts[:2])
    return parts[0] if parts and parts[0] in DOORS else "dinar_live"


def module_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "dinar_live" else ("dinar_live", *parts)).removesuffix(".__init__")


def modules() -> dict[str, pathlib.Path]:
    # Not through dinar_live's links to the other folders.
    paths = [*(ROOT / "dinar_live").glob("*.py"), *(ROOT / "dinar_live" / "cli").rglob("*.py")]
    paths += [p for folder in FOLDERS[1:] for p in (ROOT / folder).rglob("*.py")]
    return {module_of(p): p for p in sorted(paths)}


MODULES = modules()


def imports_of(module: str, path: pathlib.Path) -> set[str]:
    """The modules of ours that a module imports, wherever in its text."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {n.name for n in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            found |= {f"{source}.{n.name}" if f"{source}.{n.name}" in MODULES else source for n in node.names}
    return {name for name in found if name == "dinar_live" or name.startswith("dinar_live.")}


def open_door(room: str, other: str) -> bool:
    return room == other or any(other == door or other.startswith(f"{door}.") for door in DOORS[room])


def test_every_module_is_in_a_room():
    assert len(MODULES) > 200
    rooms = {
        room_of(module) for module, path in MODULES.items() if str(path.relative_to(ROOT)) not in SIGNPOSTS
    }
    assert rooms <= set(DOORS)


def test_nobody_goes_through_a_closed_door():
    wrong = [
        f"{module} imports {imported}"
        for module, path in MODULES.items()
        if str(path.relative_to(ROOT)) not in SIGNPOSTS
        for imported in sorted(imports_of(module, path))
        if not open_door(room_of(module), room_of(imported))
    ]
    assert wrong == []


def test_no_circles():
    """Between modules: imports anywhere in a file, also those for type checkers alone."""
    arrows = {
        module: {name for name in imports_of(module, path) if name in MODULES and name != module}
        for module, path in MODULES.items()
        if str(path.relative_to(ROOT)) not in SIGNPOSTS
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            circle = trail[trail.index(module) :]
            pytest.fail(" -> ".join((*circle, module)))
        if module in done:
            return
        for other in sorted(arrows[module]):
            # A package's own modules import one another through it only by name; the package itself is no circle.
            if other in arrows and not module.startswith(f"{other}."):
                visit(other, (*trail, module))
        done.add(module)

    for module in arrows:
        visit(module, ())


def test_the_table_has_no_circle():
    """Each room names only rooms that stand before it."""
    order = list(DOORS)
    for room, doors in DOORS.items():
        for door in doors:
            rooms = [r for r in order if r == door or r.startswith(f"{door}.")]
            assert all(order.index(r) < order.index(room) for r in rooms), f"{room} -> {door}"
