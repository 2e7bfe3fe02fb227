"""The weights that ship with the package: found, checked against their hash, and not read otherwise."""

from __future__ import annotations

import hashlib
import json
import pathlib

from dinar_live.runtime.core.errors import InputError

FOLDER = pathlib.Path(__file__).parent / "weights"
MODEL, CARD = "completion.onnx", "completion.json"
MAX_BYTES = 64 << 20


def shipped(folder: pathlib.Path = FOLDER) -> bool:
    """Whether this installation has the weights."""
    return (folder / MODEL).is_file() and (folder / CARD).is_file()


def read_weights(folder: pathlib.Path = FOLDER) -> bytes:
    """The shipped ONNX file. Raises InputError where it is missing or not the file that its card names."""
    path = folder / MODEL
    if not shipped(folder):
        raise InputError(
            f"{path}: the completion network's weights are not in this installation; install the package again, give your own "
            f"(--weights FILE.onnx), or do without (--method outline)"
        )
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise InputError(
            f"{path}: sha256 {found[:16]}..., expected {card['sha256'][:16]}...: damaged or replaced; install the package again"
        )
    return data


def read_file(path) -> bytes:
    """An ONNX file that a user trained (docs/completion.md). Raises InputError."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(
            f"--weights {path}: no such file; expected the .onnx that write_onnx makes (docs/completion.md)"
        )
    if not 0 < path.stat().st_size <= MAX_BYTES:
        raise InputError(f"--weights {path}: {path.stat().st_size} bytes, expected 1..{MAX_BYTES}")
    return path.read_bytes()


def write_card(data: bytes, folder: pathlib.Path, made: str) -> None:
    """Write the ONNX bytes and their card into `folder`. made: how they were trained, one line."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(data)
    card = {"file": MODEL, "sha256": hashlib.sha256(data).hexdigest(), "licence": "Apache-2.0", "made": made}
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
