"""Documents name things that exist: modules, names, files, links, verbs; their Python compiles."""

import ast
import importlib
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from dinar_live.cli.main import VERBS

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "clients").glob("*/README.md"),
        *(ROOT / "examples").glob("*.md"),
    ]
)
# Folders of the checkout whose files documents name by path.
FOLDERS = "benchmarks|clients|dinar_live|docs|engines|examples|export|kernels|runtime|tests"
PATHS = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./*-]*\w)")
NAMES = re.compile(r"(?<![\w/.-])dinar_live(?:\.[A-Za-z_]\w*)+")
# Files named without their folder.
FILES = re.compile(r"`([a-z_0-9]+\.(?:py|js|cs|cu|cpp|h))`")
SOURCES = {
    path.name
    for folder in FOLDERS.split("|")
    for path in (ROOT / folder).rglob("*.*")
    if "node_modules" not in path.parts
}
LINKS = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
VERB_LINES = re.compile(r"(?:^|\$ +|`|\.venv/bin/)dinar +([a-z]+)\b", re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ +(.*)$", without_blocks(text), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h)).lower() for h in headings]
    return {h.strip().replace(" ", "-") for h in plain}


def resolves(name: str) -> bool:
    """Whether `dinar_live.a.b.Name.attribute` is there: modules as far as they go, then attributes."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            if not hasattr(thing, attribute):
                return False
            thing = getattr(thing, attribute)
        return True
    return False


def test_the_documents_are_found():
    names = {d.relative_to(ROOT).as_posix() for d in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md", "docs/glossary.md"} <= names
    assert len(names) >= 20


def test_the_first_lines_of_python_in_the_readme_run():
    first = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")[0]
    done = subprocess.run([sys.executable, "-c", first], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(512, 512, 4) ")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.relative_to(ROOT).as_posix())
class TestDocument:
    def test_names_exist(self, document):
        names = set(NAMES.findall(document.read_text(encoding="utf-8")))
        assert sorted(n for n in names if not resolves(n)) == []

    def test_files_exist(self, document):
        """Paths from the top of the checkout, with * for several."""
        paths = set(PATHS.findall(document.read_text(encoding="utf-8")))
        invented = {p for p in paths if "acme" in p}  # of the walks in CONTRIBUTING
        assert sorted(p for p in paths - invented if not any(ROOT.glob(p))) == []

    def test_files_without_their_folder_exist(self, document):
        names = set(FILES.findall(document.read_text(encoding="utf-8")))
        others = {"render_person.py"}  # of the synthetic people, beside the checkout
        assert sorted(names - SOURCES - others) == []

    def test_links_lead_somewhere(self, document):
        text = document.read_text(encoding="utf-8")
        wrong = []
        for link in (a or b for a, b in LINKS.findall(without_blocks(text))):
            if re.match(r"[a-z]+:", link):
                continue
            place, _, anchor = link.partition("#")
            target = (document.parent / place).resolve() if place else document
            if not target.exists() or (
                anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8"))
            ):
                wrong.append(link)
        assert wrong == []

    def test_python_compiles(self, document):
        """And what it imports from us is there."""
        missing = []
        for block in blocks(document.read_text(encoding="utf-8"), "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dinar_live"):
                    missing += [
                        f"{node.module}.{n.name}"
                        for n in node.names
                        if not resolves(f"{node.module}.{n.name}")
                    ]
        assert missing == []

    def test_verbs_exist(self, document):
        """`dinar VERB` in lines of commands and between backticks."""
        verbs = set(VERB_LINES.findall(textwrap.dedent(document.read_text(encoding="utf-8"))))
        lines = document.read_text(encoding="utf-8").splitlines()
        verbs |= {m[1] for line in lines if (m := re.match(r" +dinar +([a-z]+)\b", line))}
        assert sorted(verbs - set(VERBS)) == []
