"""`short_repr`: what a dataclass of arrays looks like in a terminal or a notebook: shapes, not numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_VALUES = 4
"""Arrays of one axis with no more values than this are written out."""
MAX_ITEMS = 6
MAX_TEXT = 60


def short_repr(self: Any) -> str:
    """One line: the fields of a dataclass that its `repr` shows, each as `brief` writes it. For a class body:
    `__repr__ = short_repr`."""
    shown = (f"{f.name}={brief(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__name__}({', '.join(shown)})"


def brief(value: Any) -> str:
    """A value in a few words: `float32[55, 3]` for an array, `bytes[1994632]`, `('a', 'b', 98 more)`."""
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and 0 < value.size <= MAX_VALUES:
            return f"[{', '.join(f'{v:.4g}' for v in value.tolist())}]"
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"bytes[{len(value)}]"
    if isinstance(value, Mapping):
        items = [f"{brief(key)}: {brief(value[key])}" for key in list(value)[:MAX_ITEMS]]
        return f"{{{', '.join(_with_rest(items, len(value)))}}}"
    if type(value) in (tuple, list):
        items = _with_rest([brief(item) for item in value[:MAX_ITEMS]], len(value))
        inside = ", ".join(items) + ("," if len(value) == 1 and isinstance(value, tuple) else "")
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    text = repr(value)
    return text if dataclasses.is_dataclass(value) or len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def _with_rest(items: list[str], count: int) -> list[str]:
    return [*items, f"{count - len(items)} more"] if count > len(items) else items
