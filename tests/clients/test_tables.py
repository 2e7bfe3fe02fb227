"""The numbers in the clients are the protocol's, and nobody keeps a second copy."""

import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from dinar_live.runtime.stream.protocol import messages, wire
from dinar_live.runtime.stream.protocol.wire import BlockType, ErrorCode, MessageType

ROOT = pathlib.Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
WRITTEN = ("javascript/constants.js", "csharp/DinarConstants.cs")
ENCODINGS = {
    "JPEG": messages.JPEG,
    "RAW": messages.RAW,
    "NONE": messages.NO_PLANE,
    "PLAIN": messages.RAW_PLANE,
    "DEFLATE": messages.DEFLATE_PLANE,
    "HALF": messages.HALF_RAW,
    "HALF_DEFLATE": messages.HALF_DEFLATE,
    "INVERSE": messages.INVERSE_RAW,
    "INVERSE_DEFLATE": messages.INVERSE_DEFLATE,
}
LIMITS = {
    "MAGIC": wire.MAGIC,
    "PROTOCOL": wire.VERSION,
    "HEADER_SIZE": wire.HEADER_SIZE,
    "MAX_BLOCKS": wire.MAX_BLOCKS,
    "MAX_CAMERAS": messages.MAX_CAMERAS,
    "MAX_JSON": messages.MAX_JSON,
    "MAX_NAME": messages.MAX_NAME,
    "MAX_EXPRESSION": messages.MAX_EXPRESSION,
    "MAX_TIMINGS": messages.MAX_TIMINGS,
    "MAX_ERROR_TEXT": messages.MAX_ERROR_TEXT,
}


def numbers(text: str, pattern: str) -> dict[str, int]:
    """NAME: number of a list in `text`; camel case as upper case with underscores."""
    found = re.findall(r"(\w+)\s*[:=]\s*(0x[0-9a-f]+|\d+)", re.search(pattern, text, re.DOTALL)[1])
    return {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper(): int(value, 0) for name, value in found}


def table(enum) -> dict[str, int]:
    return {member.name: int(member) for member in enum}


@pytest.fixture(scope="module")
def generate():
    """clients/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate_clients", CLIENTS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_the_script_writes(generate):
    assert {p.relative_to(CLIENTS).as_posix() for p in generate.FILES} == set(WRITTEN)
    for path, text in generate.FILES.items():
        assert path.read_text(encoding="utf-8") == text(), "run python clients/generate.py"
        assert "Written by clients/generate.py" in text().splitlines()[0]


def test_check_tells_and_writes_nothing(tmp_path):
    """The script as people run it, on a copy of the folder."""
    copy = tmp_path / "clients"
    shutil.copytree(CLIENTS, copy)
    command = [sys.executable, str(copy / "generate.py")]
    assert subprocess.run([*command, "--check"], capture_output=True, cwd=tmp_path).returncode == 0
    target = copy / WRITTEN[0]
    right = target.read_text()
    target.write_text(right.replace("HELLO: 1", "HELLO: 2"))
    told = subprocess.run([*command, "--check"], capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode == 1 and WRITTEN[0] in told.stdout and WRITTEN[1] not in told.stdout
    assert "HELLO: 2" in target.read_text()
    assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == 0
    assert target.read_text() == right


def test_javascript():
    text = (CLIENTS / "javascript" / "constants.js").read_text()
    for enum in (ErrorCode, BlockType, MessageType):
        assert numbers(text, rf"const {enum.__name__} = Object.freeze\(\{{(.*?)\}}\)") == table(enum)
    plain = numbers(text, r"(// Colour.*)")
    assert {name: plain[name] for name in ENCODINGS} == ENCODINGS
    assert {name: plain[name] for name in LIMITS} == LIMITS


def test_csharp():
    text = (CLIENTS / "csharp" / "DinarConstants.cs").read_text()
    assert numbers(text, r"enum ErrorCode : uint\s*\{(.*?)\}") == table(ErrorCode)
    assert numbers(text, r"enum MessageType : ushort\s*\{(.*?)\}") == table(MessageType)
    assert numbers(text, r"class BlockType\s*\{(.*?)\}") == table(BlockType)
    assert numbers(text, r"class PlaneEncoding\s*\{(.*?)\}") == ENCODINGS
    plain = numbers(text, r"class Wire\s*\{(.*?)\}")
    assert {name: plain[name] for name in LIMITS} == LIMITS


@pytest.mark.parametrize("folder", ["clients/javascript", "clients/csharp", "runtime/viewer/page"])
def test_no_second_table(folder):
    """The magic number and the tables stand in the written files only; the page has none of its own."""
    for path in sorted((ROOT / folder).glob("*")):
        if path.suffix in (".js", ".cs") and path.name not in ("constants.js", "DinarConstants.cs"):
            text = path.read_text(encoding="utf-8")
            assert "4c524e44" not in text.lower(), path
            assert not re.search(r"\b(SUPERSEDED|Superseded)\s*[:=]\s*\d", text), path
