"""Offline avatar makers (photo projection needs no torch, everything else does)."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checkpoint import load_checkpoint, save_checkpoint

_LAZY = {"load_checkpoint": "checkpoint", "save_checkpoint": "checkpoint"}

__all__ = ["load_checkpoint", "save_checkpoint"]


def __getattr__(name: str):
    if name in _LAZY:  # torch is loaded when somebody asks for what needs it
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
