"""The numbers in the clients are the protocol's."""

import pathlib
import re

from dinar_live.runtime.stream.protocol import wire
from dinar_live.runtime.stream.protocol.wire import BlockType, ErrorCode, MessageType

CLIENTS = pathlib.Path(__file__).parents[2] / "clients"


def numbers(text: str, pattern: str) -> dict[str, int]:
    """NAME: number of a list in `text`; camel case as upper case with underscores."""
    found = re.findall(r"(\w+)\s*[:=]\s*(\d+)", re.search(pattern, text, re.DOTALL)[1])
    return {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper(): int(value) for name, value in found}


def table(enum) -> dict[str, int]:
    return {member.name: int(member) for member in enum}


def test_javascript():
    text = (CLIENTS / "javascript" / "dinar.js").read_text()
    assert numbers(text, r"const Code = Object.freeze\(\{(.*?)\}\)") == table(ErrorCode)
    assert numbers(text, r"const BLOCK = Object.freeze\(\{(.*?)\}\)") == table(BlockType)
    names = re.findall(r'"(\w*)"', re.search(r"const TYPES = \[(.*?)\]", text, re.DOTALL)[1])
    assert {name.upper(): i for i, name in enumerate(names) if name} == table(MessageType)
    assert f"HEADER_SIZE = {wire.HEADER_SIZE}" in text and f"MAX_BLOCKS = {wire.MAX_BLOCKS}" in text


def test_csharp():
    messages, codec = ((CLIENTS / "csharp" / f"Dinar{name}.cs").read_text() for name in ("Messages", "Codec"))
    assert numbers(messages, r"enum ErrorCode : uint\s*\{(.*?)\}") == table(ErrorCode)
    assert numbers(messages, r"enum MessageType : ushort\s*\{(.*?)\}") == table(MessageType)
    blocks = numbers(codec, r"const ushort (Json.*?);")
    blocks = {
        {"CAMERA_BLOCK": "CAMERA", "POSE_BLOCK": "POSE"}.get(name, name): value
        for name, value in blocks.items()
    }
    assert blocks == table(BlockType)
