"""Writes the protocol's numbers for the clients: javascript/constants.js and csharp/DinarConstants.cs.

python clients/generate.py            # after a change of the protocol's tables in runtime/stream/protocol
python clients/generate.py --check    # writes nothing; fails where a file is not what it would write
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from enum import IntEnum

from dinar_live.runtime.stream.protocol import fields, frame_message, messages, render_message, wire

HERE = pathlib.Path(__file__).resolve().parent
JAVASCRIPT = HERE / "javascript" / "constants.js"
CSHARP = HERE / "csharp" / "DinarConstants.cs"

_NOTICE = (
    "Written by clients/generate.py from runtime/stream/protocol. Do not edit: change it there and run that."
)
_WIDTH = 120

ENUMS: tuple[tuple[type[IntEnum], str], ...] = (
    (wire.MessageType, "What a message is."),
    (wire.BlockType, "What a block of a message holds."),
    (wire.ErrorCode, "Why a server refused something."),
)

# How planes are written, by the clients' names for them.
ENCODINGS: tuple[tuple[str, dict[str, int]], ...] = (
    ("Colour.", {"JPEG": messages.JPEG, "RAW": messages.RAW}),
    (
        "Alpha and depth: a byte or a float for each pixel, as they are or deflated.",
        {"NONE": messages.NO_PLANE, "PLAIN": messages.RAW_PLANE, "DEFLATE": messages.DEFLATE_PLANE},
    ),
    (
        "Alpha with one byte for 2 x 2 pixels.",
        {"HALF": messages.HALF_RAW, "HALF_DEFLATE": messages.HALF_DEFLATE},
    ),
    (
        "Depth as near, far and 16 bits of inverse depth.",
        {"INVERSE": messages.INVERSE_RAW, "INVERSE_DEFLATE": messages.INVERSE_DEFLATE},
    ),
)

NUMBERS: tuple[tuple[str, dict[str, int]], ...] = (
    ("The start of every message.", {"MAGIC": wire.MAGIC, "PROTOCOL": wire.VERSION}),
    (
        "Bytes of the header, and of what comes before the data of each block.",
        {"HEADER_SIZE": wire.HEADER_SIZE, "BLOCK_SIZE": wire.BLOCK.size},
    ),
    (
        "Bytes of blocks, and floats of the two kinds of camera.",
        {
            "FORMAT_SIZE": render_message.FORMAT_LAYOUT.size,
            "LONG_FORMAT_SIZE": render_message.LONG_FORMAT_LAYOUT.size,
            "SOURCE_SIZE": render_message.SOURCE_LAYOUT.size,
            "RECT_SIZE": frame_message.RECT_LAYOUT.size,
            "BACKGROUND_SIZE": frame_message.BACKGROUND_LAYOUT.size,
            "SOURCE_TIME_SIZE": frame_message.SOURCE_TIME_LAYOUT.size,
            "SCALE_SIZE": frame_message.SCALE_LAYOUT.size,
            "TIMING_SIZE": frame_message.TIMING_LAYOUT.size,
            "TIMING_NAME_SIZE": frame_message.TIMING_NAME_SIZE,
            "NEAR_FAR_SIZE": frame_message.NEAR_FAR.size,
            "MATRIX_CAMERA_FLOATS": fields.MATRIX_CAMERA_FLOATS,
            "OPENXR_CAMERA_FLOATS": fields.OPENXR_CAMERA_FLOATS,
            "JOINTS": render_message.JOINTS,
        },
    ),
    (
        "Formats of blocks: of those with one format, of CAMERA and of FORMAT.",
        {
            "ONLY_FORMAT": wire.ONLY_FORMAT,
            "MATRIX_CAMERA": wire.MATRIX_CAMERA,
            "OPENXR_CAMERA": wire.OPENXR_CAMERA,
            "SHORT_FORMAT": wire.SHORT_FORMAT,
            "LONG_FORMAT": wire.LONG_FORMAT,
        },
    ),
    (
        "Flags: of FRAME and FORMAT, of FORMAT, of SOURCE.",
        {"STRAIGHT": wire.STRAIGHT, "HAS_BACKGROUND": wire.HAS_BACKGROUND, "FOLLOW": wire.FOLLOW},
    ),
    (
        "The most of each: blocks, cameras, coefficients, entries; bytes of names, JSON and error texts.",
        {
            "MAX_BLOCKS": wire.MAX_BLOCKS,
            "MAX_CAMERAS": messages.MAX_CAMERAS,
            "MAX_EXPRESSION": messages.MAX_EXPRESSION,
            "MAX_TIMINGS": messages.MAX_TIMINGS,
            "MAX_NAME": messages.MAX_NAME,
            "MAX_JSON": messages.MAX_JSON,
            "MAX_ERROR_TEXT": messages.MAX_ERROR_TEXT,
        },
    ),
)


def camel(name: str) -> str:
    """HELLO_REQUIRED as HelloRequired."""
    return "".join(part.capitalize() for part in name.split("_"))


def number(name: str, value: int) -> str:
    return f"{value:#010x}" if name == "MAGIC" else str(value)


def wrapped(entries: list[str], indent: str) -> str:
    """The entries with commas between them, in lines of at most _WIDTH characters."""
    lines = [indent]
    for i, entry in enumerate(entries):
        entry += "," if i + 1 < len(entries) else ""
        if lines[-1] != indent and len(lines[-1]) + 1 + len(entry) > _WIDTH:
            lines.append(indent)
        lines[-1] += entry if lines[-1] == indent else f" {entry}"
    return "\n".join(lines)


def javascript() -> str:
    """The text of constants.js."""
    parts = [f"// {_NOTICE}"]
    for enum, meaning in ENUMS:
        entries = "".join(f"  {member.name}: {member.value},\n" for member in enum)
        parts.append(f"/** {meaning} */\nexport const {enum.__name__} = Object.freeze({{\n{entries}}});")
    for meaning, numbers in (*ENCODINGS, *NUMBERS):
        lines = [f"export const {name} = {number(name, value)};" for name, value in numbers.items()]
        parts.append("\n".join((f"// {meaning}", *lines)))
    return "\n\n".join(parts) + "\n"


def csharp() -> str:
    """The text of DinarConstants.cs."""
    bases = {"MessageType": "ushort", "ErrorCode": "uint"}
    parts = []
    for enum, meaning in ENUMS:
        entries = [f"{camel(member.name)} = {member.value}" for member in enum]
        if enum.__name__ in bases:
            head, body = f"enum {enum.__name__} : {bases[enum.__name__]}", wrapped(entries, " " * 8)
        else:  # numbers that a message may have more of
            head = f"static class {enum.__name__}"
            body = f"        public const ushort\n{wrapped(entries, ' ' * 12)};"
        parts.append(f"    /// <summary>{meaning}</summary>\n    public {head}\n    {{\n{body}\n    }}")
    parts.append(_csharp_class("PlaneEncoding", "How planes are written.", "public", "ushort", ENCODINGS))
    parts.append(_csharp_class("Wire", "Sizes, formats, flags and limits.", "internal", "int", NUMBERS))
    inside = "\n\n".join(parts)
    return f"// {_NOTICE}\nnamespace DinarLive\n{{\n{inside}\n}}\n"


def _csharp_class(name: str, meaning: str, access: str, kind: str, groups) -> str:
    lines = [f"    /// <summary>{meaning}</summary>", f"    {access} static class {name}", "    {"]
    for text, numbers in groups:
        lines.append(f"        // {text}")
        for key, value in numbers.items():
            lines.append(f"        public const {kind} {camel(key)} = {number(key, value)};")
    return "\n".join((*lines, "    }"))


FILES = {JAVASCRIPT: javascript, CSHARP: csharp}


def main(arguments: list[str] | None = None) -> int:
    """Writes the files, or with --check compares them; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check = parser.parse_args(arguments).check
    stale = []
    for path, text in FILES.items():
        wanted = text()
        if path.is_file() and path.read_text(encoding="utf-8") == wanted:
            continue
        stale.append(path)
        if not check:
            path.write_text(wanted, encoding="utf-8", newline="\n")
    for path in stale:
        state = "is not what the protocol says: run python clients/generate.py" if check else "written"
        print(f"{path.relative_to(HERE.parent).as_posix()}: {state}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
