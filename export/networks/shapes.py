"""Checks of what callers hand to a network."""

from __future__ import annotations

from torch import Tensor

from dinar_live.runtime.core.errors import InputError


def expect(name: str, x: Tensor, shape: tuple[int | None, ...]) -> None:
    """InputError naming `name` unless x has `shape` (None = any size)."""
    if x.ndim != len(shape) or any(s is not None and s != n for s, n in zip(shape, x.shape, strict=True)):
        expected = "[" + ",".join("n" if s is None else str(s) for s in shape) + "]"
        raise InputError(f"{name}: got shape {list(x.shape)}, expected {expected}")
